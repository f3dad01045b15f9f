//! `GET /v1/payment_intents`: what the account has, newest first. Unlike the search it does not lag behind; like every list it proves nothing about
//! what is not on it (<https://docs.stripe.com/api/payment_intents/list>).

use super::object::{Intent, Page as Intents, Reading};
use super::{reply, request};
use crate::domain::CallClass;
use crate::provider::{Credentials, HttpRequest, HttpResponse, Listed, Page, PageWanted, Reply};

/// Intents on a page. Stripe gives up to 100; with its charge an intent takes some 6 KiB, and an answer is read up to 256 KiB.
const PAGE: u32 = 30;

/// The request for one page.
pub(super) fn page_request(wanted: &PageWanted, credentials: &Credentials) -> HttpRequest {
    let limit = PAGE.to_string();
    let (since, until) = (wanted.since.as_second().to_string(), wanted.until.as_second().to_string());
    let mut query = vec![("limit", limit.as_str()), ("created[gte]", since.as_str()), ("created[lte]", until.as_str())];
    query.push(("expand[]", "data.latest_charge"));
    if let Some(after) = &wanted.after {
        query.push(("starting_after", after));
    }
    request::list(&query, credentials)
}

/// What the page lists: those that carry a key of ours.
pub(super) fn page(response: &HttpResponse) -> Result<Page, CallClass> {
    let intents: Intents<Intent> = reply::listed(response)?;
    let last = intents.data.last().filter(|intent| intent.is_named()).map(|intent| intent.id.clone());
    let found = intents.data.iter().filter_map(listed).collect();
    Ok(Page { found, next: last.filter(|_| intents.has_more) })
}

fn listed(intent: &Intent) -> Option<Listed> {
    let key = intent.metadata.as_ref().and_then(|metadata| metadata.attempt.clone())?;
    let reply = match intent.read() {
        Reading::News(news) => Reply::News { news, class: CallClass::Success },
        Reading::Unpaid => Reply::Unpaid { reference: intent.id.clone() },
        Reading::Unclear => return None,
    };
    Some(Listed { key, reference: intent.id.clone(), reply })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::super::sample::{KEY, answer, credentials, error, intent, response};
    use super::*;
    use crate::domain::Fact;

    fn of(intents: &[Value], more: bool) -> HttpResponse {
        answer(200, &json!({"object": "list", "url": "/v1/payment_intents", "has_more": more, "data": intents}))
    }

    fn named(mut intent: Value, id: &str, metadata: Value) -> Value {
        intent["id"] = json!(id);
        intent["metadata"] = metadata;
        intent
    }

    #[test]
    fn a_page_is_asked_for_by_its_span_and_by_what_it_follows() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let wanted = PageWanted { since: at(100), until: at(200), after: Some("pi_9".to_owned()) };
        let request = page_request(&wanted, &credentials(&[]));
        let (path, query) = request.path.split_once('?').expect("a query");
        assert_eq!((request.method.as_str(), path, request.body.len()), ("GET", "/v1/payment_intents", 0));
        let fields = super::super::request::decoded(query);
        assert_eq!((fields["created[gte]"].as_str(), fields["created[lte]"].as_str()), ("100", "200"));
        assert_eq!((fields["starting_after"].as_str(), fields["expand[]"].as_str()), ("pi_9", "data.latest_charge"));
        assert!(!page_request(&PageWanted { after: None, ..wanted }, &credentials(&[])).path.contains("starting_after"));
    }

    #[test]
    fn what_is_ours_and_understood_is_told_as_a_query_tells_it_and_the_rest_is_left_out() {
        let ours = |key: &str| json!({"attempt": key});
        let page = page(&of(
            &[
                intent("succeeded"),
                named(intent("requires_confirmation"), "pi_2", ours("second")),
                named(intent("of_another_kind"), "pi_3", ours("third")),
                named(intent("succeeded"), "pi_4", json!({})),
            ],
            true,
        ))
        .expect("a page");
        assert_eq!(page.next.as_deref(), Some("pi_4"));
        assert_eq!(
            page.found.iter().map(|listed| (listed.key.as_str(), listed.reference.as_str())).collect::<Vec<_>>(),
            [(KEY, "pi_1"), ("second", "pi_2")]
        );
        assert!(matches!(&page.found[0].reply, Reply::News { news, .. } if news.fact == Fact::Approved && news.money.is_some()));
        assert_eq!(page.found[1].reply, Reply::Unpaid { reference: "pi_2".to_owned() });
    }

    #[test]
    fn the_last_page_has_no_next_and_what_is_no_page_says_how_the_channel_is() {
        assert_eq!(page(&of(&[intent("succeeded")], false)).expect("a page").next, None);
        assert_eq!(page(&answer(429, &error("rate_limit", None))), Err(CallClass::RateLimited));
        assert_eq!(page(&answer(500, &error("api_error", None))), Err(CallClass::FailSoft));
        assert_eq!(page(&answer(401, &error("invalid_request_error", None))), Err(CallClass::FailSoft));
        assert_eq!(page(&response(200, "<html>")), Err(CallClass::FailHard));
    }
}
