//! `/ops/v1/unknowns`: what is not known, how much money that is, and having the channels asked again now.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::body;
use super::super::field::Fields;
use super::super::page::{Page, Query};
use super::super::problem::{Problem, ProblemCode};
use super::super::{Api, answers, key, render};
use super::{WORDS, acting, ask};
use crate::domain::PaymentId;
use crate::router::operator::AskAgain;
use crate::store::doubt::{DoubtTotal, DoubtfulPayment, REQUERY_MOST, Requery};

const LIST: &str = "unknowns";
/// Payments that one request may name.
pub(in crate::http) const NAMED: usize = 100;

/// `GET /ops/v1/unknowns`: in `totals` the money at risk, by channel, operation and currency; in `data` the payments, oldest first.
pub async fn list(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    key::operator(&api, &request).await?;
    let query = Query::of(&request, &["channel", "cursor", "limit"])?;
    let limit = query.limit()?;
    let channel = query.name("channel")?;
    let after = query.cursor(&api.fingerprint_secret, LIST)?;
    let wanted = channel.clone();
    let (totals, payments) = api
        .read(move |store| async move { Ok((store.doubt_totals().await?, store.doubtful_payments(after, wanted.as_deref(), limit + 1).await?)) })
        .await?;
    let now = api.clock.wall();
    let rows = payments.iter().map(|payment| (payment.payment.0, shown(payment))).collect();
    let mut answer = json!(Page::of(rows, limit, &api.fingerprint_secret, LIST));
    let totals = totals.iter().filter(|total| channel.as_ref().is_none_or(|channel| *channel == total.channel));
    let totals: Vec<&DoubtTotal> = totals.collect();
    answer["totals"] = totals.iter().map(|total| told(total, now)).collect();
    answer["oldest_age_seconds"] = json!(totals.iter().map(|total| age_s(total.oldest, now)).max().unwrap_or(0));
    Ok(answers::json(StatusCode::OK, &answer))
}

/// `POST /ops/v1/unknowns/requery` `{payment_ids? | channel? | since?, reason?}`: what is open there is asked after at once.
pub async fn requery(request: HttpRequest, payload: web::Payload, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let operator = key::operator(&api, &request).await?;
    Query::of(&request, &[])?;
    let body = body::object(&request, payload, api.settings.body_limit, false).await?;
    let fields = Fields::of(&body, &["payment_ids", "channel", "since", "reason"])?;
    let what = wanted(&fields, &api)?;
    let why = fields.free_text("reason", WORDS)?;
    let due = ask(&api, AskAgain { what, why, operator: acting(operator) }).await?;
    let answer = json!({"object": "requery", "attempts_due": due, "has_more": due >= REQUERY_MOST});
    Ok(answers::json(StatusCode::ACCEPTED, &answer))
}

fn wanted(fields: &Fields<'_>, api: &Api) -> Result<Requery, Problem> {
    let must = format!("must be a list of 1 to {NAMED} payment ids, pay_…");
    let payments = match fields.value("payment_ids") {
        None => None,
        Some(Value::Array(ids)) if (1..=NAMED).contains(&ids.len()) => {
            let ids: Option<Vec<PaymentId>> = ids.iter().map(|id| id.as_str()?.parse().ok()).collect();
            Some(ids.ok_or_else(|| fields.wrong("payment_ids", &must))?)
        }
        Some(_) => return Err(fields.wrong("payment_ids", &must)),
    };
    let channel = fields.text("channel")?.map(str::to_owned);
    if channel.as_ref().is_some_and(|channel| !api.channels.known(channel)) {
        return Err(Problem::new(ProblemCode::UnknownChannel, "This installation has no channel of this id.").about("channel"));
    }
    let since = match fields.text("since")? {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| fields.wrong("since", "must be an RFC 3339 time such as 2026-11-21T23:01:14Z"))?),
    };
    if payments.is_none() && channel.is_none() && since.is_none() {
        let detail = "Say what is to be asked after: payment_ids, channel or since.";
        return Err(Problem::new(ProblemCode::MissingField, detail).about("payment_ids"));
    }
    Ok(Requery { payments, channel, since })
}

fn told(total: &DoubtTotal, now: Timestamp) -> Value {
    json!({
        "channel": total.channel, "operation": total.operation, "currency": total.currency, "count": total.count,
        "amount_minor": total.amount_minor, "oldest": render::rfc3339(total.oldest), "oldest_age_seconds": age_s(total.oldest, now),
    })
}

fn age_s(since: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(since).as_secs().max(0)
}

fn shown(payment: &DoubtfulPayment) -> Value {
    let attempts: Vec<Value> = payment
        .attempts
        .iter()
        .map(|attempt| {
            json!({
                "n": attempt.n, "operation": attempt.operation, "channel": attempt.channel, "amount": attempt.amount, "state": attempt.state,
                "key": attempt.key, "channel_reference": attempt.reference, "since": render::rfc3339(attempt.created_at),
                "asked_next_at": render::rfc3339(attempt.due_at), "asked": attempt.tries,
                "set_aside_at": attempt.set_aside_at.map(render::rfc3339),
            })
        })
        .collect();
    json!({
        "object": "unknown", "payment_id": payment.payment.to_string(), "merchant_id": payment.merchant, "livemode": payment.livemode,
        "merchant_order_id": payment.order, "status": payment.status, "amount": payment.amount, "currency": payment.currency,
        "attempts": attempts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::document::tests::assert_fields;
    use crate::store::doubt::DoubtfulAttempt;

    #[test]
    fn what_is_in_doubt_is_shown_as_the_document_says() {
        let (then, now) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(90).expect("a time"));
        let attempt = DoubtfulAttempt {
            n: 1,
            operation: "pay".to_owned(),
            channel: "a".to_owned(),
            amount: 1250,
            state: "unknown".to_owned(),
            key: "k".to_owned(),
            reference: None,
            created_at: then,
            due_at: now,
            set_aside_at: None,
            tries: 3,
        };
        let payment = DoubtfulPayment {
            payment: PaymentId(uuid::Uuid::nil()),
            merchant: uuid::Uuid::nil(),
            livemode: false,
            order: "A-1".to_owned(),
            status: "processing".to_owned(),
            amount: 1250,
            currency: "CNY".to_owned(),
            attempts: vec![attempt],
        };
        let shown = shown(&payment);
        assert_fields(&shown, "Unknown");
        assert_fields(&shown["attempts"][0], "UnknownAttempt");
        let (channel, operation, currency) = ("a".to_owned(), "pay".to_owned(), "CNY".to_owned());
        let total = told(&DoubtTotal { channel, operation, currency, count: 1, amount_minor: 1250, oldest: then }, now);
        assert_fields(&total, "UnknownTotal");
        assert_eq!(total["oldest_age_seconds"], 90);
        assert_eq!(age_s(now, then), 0, "a clock that went back makes no negative age");
    }
}
