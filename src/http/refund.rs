//! `/v1/refunds`: create, read, list.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value};

use super::ask::{self, Asking};
use super::field::Fields;
use super::page::{AFTER, BEFORE, FROM, Page, Query, UNTIL};
use super::payment::no_such_payment;
use super::preference::Patience;
use super::problem::{Problem, ProblemCode};
use super::{Api, answers, body, idempotency, key, render};
use crate::domain::{PaymentId, RefundId, RefundRequest, RefundStatus, Subject};
use crate::router::{Refresh, Refund};
use crate::store::payment::PageOfRefunds;

const LIST: &str = "refunds";
/// Characters of a refund's name, at most.
const NAME: usize = 64;
/// What the names of refunds that we make ourselves begin with.
const OURS: &str = "breakwater:";
/// Characters of a reason, at most.
const REASON: usize = 500;

/// `POST /v1/refunds`.
pub async fn create(request: HttpRequest, payload: web::Payload, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    Query::of(&request, &[])?;
    let key = idempotency::key(&request)?;
    let patience = Patience::of(&request, api.settings.answer_within);
    let body = body::object(&request, payload, api.settings.body_limit, false).await?;
    let (payment, asked) = parse(&body)?;
    let claim = idempotency::claim(&api.fingerprint_secret, merchant.id, &key, "POST", "/v1/refunds", &body);
    let asking = Asking { api: &api, request: &request, key: &key, amount: asked.amount, wait: patience.wait };
    let answer = ask::router(asking, Refund { merchant: merchant.id, payment, request: asked, claim, wait: patience.wait }).await?;
    let made = match answer.subject {
        Subject::Refund(n) => answer.payment.refund(n),
        Subject::Payment | Subject::Capture(_) | Subject::Cancel => None,
    };
    let Some(made) = made else {
        tracing::error!(payment = %answer.payment.id, "a refund was answered without a refund");
        return Err(Problem::internal());
    };
    Ok(patience.told(answers::money(&answer, &render::refund(&answer.payment, made).at(api.clock.wall()))))
}

/// `GET /v1/refunds/{id}`; with `sync=true` its channel is asked first, if it is not final.
pub async fn read(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    let query = Query::of(&request, &["sync"])?;
    let sync = query.flag("sync")?;
    let patience = Patience::of(&request, api.settings.answer_within);
    let id: RefundId = request.match_info().get("id").and_then(|id| id.parse().ok()).ok_or_else(no_such_refund)?;
    let found = api
        .read(move |store| async move {
            let Some(known) = store.refund_of_id(id).await? else { return Ok(None) };
            Ok(store.payment_of(merchant.id, known.payment).await?.map(|payment| (payment, known.n)))
        })
        .await?;
    let (payment, n) = found.ok_or_else(no_such_refund)?;
    ask::remember(&request, payment.id);
    let payment = if sync {
        let question = Refresh { merchant: merchant.id, payment: payment.id, subject: Subject::Refund(n), wait: patience.wait };
        ask::refresh(&api, &request, question).await?.payment
    } else {
        Arc::new(payment)
    };
    let refund = payment.refund(n).ok_or_else(no_such_refund)?;
    let answer = answers::json(StatusCode::OK, &render::refund(&payment, refund).at(api.clock.wall()));
    Ok(if sync { patience.told(answer) } else { answer })
}

/// `GET /v1/refunds`.
pub async fn list(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    let known = ["status", "channel", "payment_id", "merchant_order_id", "merchant_refund_id", FROM, AFTER, BEFORE, UNTIL, "cursor", "limit"];
    let query = Query::of(&request, &known)?;
    let limit = query.limit()?;
    let statuses = RefundStatus::ALL.iter().map(|status| status.as_str()).collect::<Vec<_>>().join(", ");
    let page = PageOfRefunds {
        before: query.cursor(&api.fingerprint_secret, LIST)?,
        since: query.since()?,
        until: query.until()?,
        status: query.parsed("status", &format!("one of {statuses}"), RefundStatus::parse)?,
        channel: query.name("channel")?,
        payment: query.parsed("payment_id", "a payment's id", |text| text.parse().ok())?,
        order: query.name("merchant_order_id")?,
        name: query.name("merchant_refund_id")?,
        limit: limit + 1,
    };
    let refunds = api
        .read_list(move |store| {
            let page = page.clone();
            async move { store.refunds(merchant.id, &page).await }
        })
        .await?;
    let now = api.clock.wall();
    let rows =
        refunds.iter().filter_map(|(payment, n)| payment.refund(*n).map(|refund| (refund.id.0, render::refund(payment, refund).at(now)))).collect();
    Ok(answers::json(StatusCode::OK, &Page::of(rows, limit, &api.fingerprint_secret, LIST)))
}

fn parse(body: &Map<String, Value>) -> Result<(PaymentId, RefundRequest), Problem> {
    let fields = Fields::of(body, &["payment_id", "merchant_refund_id", "amount", "reason", "metadata"])?;
    let payment = fields.required_text("payment_id")?.parse().map_err(|_| no_such_payment().about("payment_id"))?;
    let merchant_refund_id = fields.visible("merchant_refund_id", NAME)?.to_owned();
    if merchant_refund_id.starts_with(OURS) {
        return Err(fields.wrong("merchant_refund_id", &format!("must not begin with {OURS}, which names the refunds that Breakwater makes itself")));
    }
    let amount = fields.amount("amount", None)?;
    let reason = fields.free_text("reason", REASON)?;
    let metadata = fields.metadata("metadata")?;
    Ok((payment, RefundRequest { merchant_refund_id, amount, reason, metadata }))
}

fn no_such_refund() -> Problem {
    Problem::new(ProblemCode::NotFound, "There is no such refund.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYMENT: &str = "pay_0190a8b4c6d2700080000000000000ff";

    fn refused(body: &str) -> (ProblemCode, Option<String>) {
        let object = body::parse(body.as_bytes()).expect("JSON");
        let problem = parse(&object).expect_err("must be refused");
        (problem.code(), problem.param().map(str::to_owned))
    }

    #[test]
    fn a_refund_needs_a_payment_and_a_name_and_nothing_else() {
        let object = body::parse(format!(r#"{{"payment_id":"{PAYMENT}","merchant_refund_id":"R-1"}}"#).as_bytes()).expect("JSON");
        let (payment, asked) = parse(&object).expect("a refund");
        assert_eq!(payment.to_string(), PAYMENT);
        assert_eq!((asked.amount, asked.reason), (None, None));
    }

    #[test]
    fn each_fault_is_told_by_its_field() {
        assert_eq!(refused(r#"{"merchant_refund_id":"R-1"}"#), (ProblemCode::MissingField, Some("payment_id".to_owned())));
        assert_eq!(refused(&format!(r#"{{"payment_id":"{PAYMENT}"}}"#)), (ProblemCode::MissingField, Some("merchant_refund_id".to_owned())));
        assert_eq!(refused(r#"{"payment_id":"nobody","merchant_refund_id":"R-1"}"#), (ProblemCode::NotFound, Some("payment_id".to_owned())));
        let with = |more: &str| format!(r#"{{"payment_id":"{PAYMENT}","merchant_refund_id":"R-1",{more}}}"#);
        assert_eq!(refused(&with(r#""amount":0"#)), (ProblemCode::InvalidAmount, Some("amount".to_owned())));
        assert_eq!(refused(&with(r#""reason":"card 4242424242424242""#)), (ProblemCode::CardNumberRefused, Some("reason".to_owned())));
        assert_eq!(refused(&with(r#""currency":"CNY""#)), (ProblemCode::UnknownField, Some("currency".to_owned())));
    }

    #[test]
    fn the_names_of_our_own_refunds_are_not_for_merchants() {
        let body = format!(r#"{{"payment_id":"{PAYMENT}","merchant_refund_id":"breakwater:cancel"}}"#);
        assert_eq!(refused(&body), (ProblemCode::InvalidRequest, Some("merchant_refund_id".to_owned())));
    }
}
