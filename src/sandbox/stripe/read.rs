//! Questions: retrieve, list and search. Nothing here changes anything.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::error::StripeError;
use super::form::Form;
use super::ledger::{Intent, Ledger};
use super::refund::intent_of_charge;
use super::render;

const PAGE_MAX: i64 = 100;
const PAGE_USUAL: i64 = 10;

/// What the answers need to know of their surroundings.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Where the account is served.
    pub base_url: &'a str,
    /// The time.
    pub now: Timestamp,
    /// How old an intent must be before search finds it, in milliseconds.
    pub search_lag_ms: u64,
}

/// Answers `GET path?query`.
///
/// # Errors
/// `resource_missing`, an unknown route, a malformed parameter.
pub fn answer(ledger: &Ledger, path: &str, query: &Form, around: Surroundings<'_>) -> Result<Value, StripeError> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["v1", "balance"] => Ok(json!({"object": "balance", "available": [], "pending": [], "livemode": false})),
        ["v1", "payment_intents"] => list_intents(ledger, query, around),
        ["v1", "payment_intents", "search"] => search(ledger, query, around),
        ["v1", "payment_intents", id] => {
            let intent = ledger.intent(id).ok_or_else(|| StripeError::no_such("payment_intent", id))?;
            Ok(render::intent(intent, around.base_url, expands_charge(query)))
        }
        ["v1", "charges", id] => {
            let intent = intent_of_charge(id).and_then(|intent| ledger.intent(&intent));
            let charge = intent.and_then(|intent| intent.charge.as_ref().filter(|charge| charge.id == *id).map(|charge| (intent, charge)));
            let (intent, charge) = charge.ok_or_else(|| StripeError::no_such("charge", id))?;
            Ok(render::charge(intent, charge))
        }
        ["v1", "refunds"] => list_refunds(ledger, query),
        ["v1", "refunds", id] => {
            let refund = ledger.refund(id).ok_or_else(|| StripeError::no_such("refund", id))?;
            Ok(render::refund(refund))
        }
        _ => Err(StripeError::no_route("GET", path)),
    }
}

/// Whether `expand[]` asks for the latest charge.
pub fn expands_charge(form: &Form) -> bool {
    form.members("expand").any(|(_, what)| matches!(what, "latest_charge" | "data.latest_charge"))
}

fn page_size(query: &Form) -> Result<usize, StripeError> {
    let limit = query.integer("limit")?.unwrap_or(PAGE_USUAL);
    match usize::try_from(limit) {
        Ok(size) if (1..=PAGE_MAX).contains(&limit) => Ok(size),
        _ => Err(StripeError::invalid("limit", "limit must be between 1 and 100.")),
    }
}

/// Newest first, as Stripe lists. The intents lie in the order of their creation, so the walk ends at the first that is too old.
fn list_intents(ledger: &Ledger, query: &Form, around: Surroundings<'_>) -> Result<Value, StripeError> {
    let size = page_size(query)?;
    let from = query.integer("created[gte]")?.or(query.integer("created[gt]")?.map(|second| second + 1)).unwrap_or(i64::MIN);
    let until = query.integer("created[lt]")?.or(query.integer("created[lte]")?.map(|second| second + 1)).unwrap_or(i64::MAX);
    let end = match query.text("starting_after") {
        None => ledger.intents().len(),
        Some(id) => ledger.position(id).ok_or_else(|| StripeError::no_such("payment_intent", id))?,
    };
    let customer = query.text("customer");
    let mut found = ledger.intents()[..end]
        .iter()
        .rev()
        .take_while(|intent| intent.created.as_second() >= from)
        .filter(|intent| intent.created.as_second() < until)
        .filter(|intent| customer.is_none_or(|customer| intent.customer.as_deref() == Some(customer)));
    let expand = expands_charge(query);
    let data = found.by_ref().take(size).map(|intent| render::intent(intent, around.base_url, expand)).collect();
    Ok(render::list("list", "/v1/payment_intents", data, found.next().is_some()))
}

fn list_refunds(ledger: &Ledger, query: &Form) -> Result<Value, StripeError> {
    let size = page_size(query)?;
    let intent = match (query.text("payment_intent"), query.text("charge")) {
        (Some(id), _) => Some(id.to_owned()),
        (None, Some(charge)) => Some(intent_of_charge(charge).ok_or_else(|| StripeError::no_such("charge", charge))?),
        (None, None) => None,
    };
    let mut all: Box<dyn Iterator<Item = &super::ledger::Refund>> = match &intent {
        None => Box::new(ledger.refunds().iter().rev()),
        Some(id) => {
            let intent = ledger.intent(id).ok_or_else(|| StripeError::no_such("payment_intent", id))?;
            Box::new(intent.refunds.iter().rev().filter_map(|id| ledger.refund(id)))
        }
    };
    if let Some(after) = query.text("starting_after") {
        all.by_ref().find(|refund| refund.id == after).ok_or_else(|| StripeError::no_such("refund", after))?;
    }
    let data = all.by_ref().take(size).map(render::refund).collect();
    Ok(render::list("list", "/v1/refunds", data, all.next().is_some()))
}

/// `metadata['key']:'value'` and `status:'value'`, joined by ` AND `. An intent is found only once it is older than the lag of the index, because
/// Stripe's own index lags by up to a minute: "not found" is no proof.
fn search(ledger: &Ledger, query: &Form, around: Surroundings<'_>) -> Result<Value, StripeError> {
    let size = page_size(query)?;
    let text = query.text("query").ok_or_else(|| StripeError::missing("query"))?;
    let clauses: Vec<Clause<'_>> = text.split(" AND ").map(clause).collect::<Option<_>>().ok_or_else(|| {
        StripeError::invalid("query", "We were unable to parse your search query. Try using the format `metadata[\"key\"]:\"value\"`.")
    })?;
    let newest = around.now.as_millisecond().saturating_sub(i64::try_from(around.search_lag_ms).unwrap_or(i64::MAX));
    let fits = |intent: &&Intent| {
        intent.created.as_millisecond() <= newest
            && clauses.iter().all(|clause| match clause {
                Clause::Metadata { key, value } => intent.metadata.get(*key).is_some_and(|have| have == value),
                Clause::Status(status) => intent.status.as_str() == *status,
            })
    };
    let attempt = clauses.iter().find_map(|clause| match clause {
        Clause::Metadata { key: "attempt", value } => Some(*value),
        _ => None,
    });
    let mut found: Box<dyn Iterator<Item = &Intent>> = match attempt {
        Some(attempt) => Box::new(ledger.intents_of_attempt(attempt).rev().filter(fits)),
        None => Box::new(ledger.intents().iter().rev().filter(fits)),
    };
    let expand = expands_charge(query);
    let data = found.by_ref().take(size).map(|intent| render::intent(intent, around.base_url, expand)).collect();
    Ok(render::list("search_result", "/v1/payment_intents/search", data, found.next().is_some()))
}

enum Clause<'a> {
    Metadata { key: &'a str, value: &'a str },
    Status(&'a str),
}

fn clause(text: &str) -> Option<Clause<'_>> {
    let (field, value) = text.trim().split_once(':')?;
    let value = unquote(value)?;
    if field == "status" {
        return Some(Clause::Status(value));
    }
    let key = unquote(field.strip_prefix("metadata[")?.strip_suffix(']')?)?;
    Some(Clause::Metadata { key, value })
}

fn unquote(text: &str) -> Option<&str> {
    let text = text.trim();
    ['\'', '"'].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
}
