//! `/v1/payments`: create, read, list, capture, cancel. Each handler is one script: who asks, which key, what is asked, ask the router, render.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value};

use super::ask::{self, Asking};
use super::field::Fields;
use super::key::Merchant;
use super::page::{AFTER, BEFORE, FROM, Page, Query, UNTIL};
use super::preference::Patience;
use super::problem::{Problem, ProblemCode};
use super::render::{self, Include};
use super::{Api, answers, body, idempotency, key, payment_request};
use crate::domain::{PaymentId, PaymentStatus, Subject};
use crate::router::{Authorize, Capture, Claim, Refresh, Void};
use crate::store::payment::PageOfPayments;

const LIST: &str = "payments";

/// `POST /v1/payments`.
pub async fn create(request: HttpRequest, payload: web::Payload, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    Query::of(&request, &[])?;
    let key = idempotency::key(&request)?;
    let patience = Patience::of(&request, api.settings.answer_within);
    let body = body::object(&request, payload, api.settings.body_limit, false).await?;
    let now = api.clock.wall();
    let parsed = payment_request::parse(&body, merchant, &*api.channels, api.settings.deadline, now)?;
    let claim = claim(&api, merchant, &key, "/v1/payments", &body);
    if let Some(objection) = parsed.objection {
        // What was accepted once is answered again, though it would not be accepted now.
        let known = api.read(move |store| async move { store.known_key(claim.digest).await }).await?;
        if known.is_none() {
            return Err(objection);
        }
    }
    let asking = Asking { api: &api, request: &request, key: &key, amount: Some(parsed.request.amount), wait: patience.wait };
    let answer = ask::router(asking, Authorize { request: parsed.request, card: parsed.card, claim, wait: patience.wait }).await?;
    Ok(patience.told(answers::money(&answer, &render::payment(&answer.payment).at(api.clock.wall()))))
}

/// `POST /v1/payments/{id}/capture`.
pub async fn capture(request: HttpRequest, payload: web::Payload, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    Query::of(&request, &[])?;
    let payment = payment_id(&request)?;
    let key = idempotency::key(&request)?;
    let patience = Patience::of(&request, api.settings.answer_within);
    let body = body::object(&request, payload, api.settings.body_limit, true).await?;
    let amount = Fields::of(&body, &["amount"])?.amount("amount", None)?;
    let claim = claim(&api, merchant, &key, &format!("/v1/payments/{payment}/capture"), &body);
    let asking = Asking { api: &api, request: &request, key: &key, amount, wait: patience.wait };
    let answer = ask::router(asking, Capture { merchant: merchant.id, payment, amount, claim, wait: patience.wait }).await?;
    Ok(patience.told(answers::money(&answer, &render::payment_for(&answer.payment, answer.subject).at(api.clock.wall()))))
}

/// `POST /v1/payments/{id}/cancel`.
pub async fn cancel(request: HttpRequest, payload: web::Payload, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    Query::of(&request, &[])?;
    let payment = payment_id(&request)?;
    let key = idempotency::key(&request)?;
    let patience = Patience::of(&request, api.settings.answer_within);
    let body = body::object(&request, payload, api.settings.body_limit, true).await?;
    Fields::of(&body, &[])?;
    let claim = claim(&api, merchant, &key, &format!("/v1/payments/{payment}/cancel"), &body);
    let asking = Asking { api: &api, request: &request, key: &key, amount: None, wait: patience.wait };
    let answer = ask::router(asking, Void { merchant: merchant.id, payment, claim, wait: patience.wait }).await?;
    Ok(patience.told(answers::money(&answer, &render::payment(&answer.payment).at(api.clock.wall()))))
}

/// `GET /v1/payments/{id}`; with `sync=true` its channel is asked first, if it is not final.
pub async fn read(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    let query = Query::of(&request, &["include", "sync"])?;
    let include = include(&query)?;
    let id = payment_id(&request)?;
    let patience = Patience::of(&request, api.settings.answer_within);
    let sync = query.flag("sync")?;
    let payment = if sync {
        let question = Refresh { merchant: merchant.id, payment: id, subject: Subject::Payment, wait: patience.wait };
        ask::refresh(&api, &request, question).await?.payment
    } else {
        let found = api.read(move |store| async move { store.payment_of(merchant.id, id).await }).await?;
        Arc::new(found.ok_or_else(no_such_payment)?)
    };
    ask::remember(&request, id);
    let events = if include.events { api.read(move |store| async move { store.events(id).await }).await? } else { Vec::new() };
    let answer = answers::json(StatusCode::OK, &render::payment_with(&payment, include, &events).at(api.clock.wall()));
    Ok(if sync { patience.told(answer) } else { answer })
}

/// `GET /v1/payments`.
pub async fn list(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    let query = Query::of(&request, &["status", "channel", "merchant_order_id", FROM, AFTER, BEFORE, UNTIL, "cursor", "limit"])?;
    let limit = query.limit()?;
    let statuses = PaymentStatus::ALL.iter().map(|status| status.as_str()).collect::<Vec<_>>().join(", ");
    let page = PageOfPayments {
        before: query.cursor(&api.fingerprint_secret, LIST)?,
        since: query.since()?,
        until: query.until()?,
        status: query.parsed("status", &format!("one of {statuses}"), PaymentStatus::parse)?,
        order: query.name("merchant_order_id")?,
        channel: query.name("channel")?,
        limit: limit + 1,
    };
    let payments = api
        .read_list(move |store| {
            let page = page.clone();
            async move { store.payments(merchant.id, &page).await }
        })
        .await?;
    let now = api.clock.wall();
    let rows = payments.iter().map(|payment| (payment.id.0, render::payment(payment).at(now))).collect();
    Ok(answers::json(StatusCode::OK, &Page::of(rows, limit, &api.fingerprint_secret, LIST)))
}

fn include(query: &Query) -> Result<Include, Problem> {
    let mut include = Include::default();
    for name in query.text("include").into_iter().flat_map(|names| names.split(',')) {
        match name.trim() {
            "attempts" => include.attempts = true,
            "refunds" => include.refunds = true,
            "events" => include.events = true,
            _ => {
                return Err(Problem::new(
                    ProblemCode::InvalidRequest,
                    "include must be made of attempts, refunds, events, with commas between them.",
                )
                .about("include"));
            }
        }
    }
    Ok(include)
}

/// The claim of a POST on `route`: written from what was parsed, so that an address that is encoded otherwise is the same.
fn claim(api: &Api, merchant: Merchant, key: &str, route: &str, body: &Map<String, Value>) -> Claim {
    idempotency::claim(&api.fingerprint_secret, merchant.id, key, "POST", route, body)
}

/// The payment in the address. What is not an id is nobody's payment.
fn payment_id(request: &HttpRequest) -> Result<PaymentId, Problem> {
    request.match_info().get("id").and_then(|id| id.parse().ok()).ok_or_else(no_such_payment)
}

pub(super) fn no_such_payment() -> Problem {
    Problem::new(ProblemCode::NotFound, "There is no such payment.")
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn an_unknown_include_is_refused_by_what_is_known() {
        let read = |text: &str| include(&Query::of(&TestRequest::with_uri(&format!("/x?{text}")).to_http_request(), &["include"]).expect("known"));
        assert_eq!(read("include=events,attempts").expect("known"), Include { attempts: true, refunds: false, events: true });
        assert_eq!(read("").expect("nothing"), Include::default());
        assert_eq!(read("include=everything").expect_err("unknown").param(), Some("include"));
    }
}
