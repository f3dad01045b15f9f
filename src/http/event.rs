//! `/v1/events`: what happened, as webhooks tell it: list, read, and have it delivered again.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::field::Fields;
use super::page::{AFTER, BEFORE, FROM, Page, Query, UNTIL};
use super::problem::{Problem, ProblemCode};
use super::webhook::{asker, delivery};
use super::{Api, answers, body, key, render};
use crate::domain::topic::{TOPICS, topic};
use crate::domain::{EventId, PaymentId};
use crate::store::webhook::{MerchantEvent, PageOfEvents};

const LIST: &str = "events";

/// `GET /v1/events`.
pub async fn list(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    let query = Query::of(&request, &["type", "payment_id", "channel", "merchant_order_id", FROM, AFTER, BEFORE, UNTIL, "cursor", "limit"])?;
    let limit = query.limit()?;
    let page = PageOfEvents {
        before: query.cursor(&api.fingerprint_secret, LIST)?,
        since: query.since()?,
        until: query.until()?,
        topic: query.parsed("type", &format!("one of {}", TOPICS.join(", ")), topic)?,
        payment: query.parsed("payment_id", "a payment's id", |text| text.parse::<PaymentId>().ok())?,
        channel: query.name("channel")?,
        order: query.name("merchant_order_id")?,
        limit: limit + 1,
    };
    let events = api
        .read_list(move |store| {
            let page = page.clone();
            async move { store.events_of(merchant.id, &page).await }
        })
        .await?;
    let rows = events.iter().map(|event| (event.row.id.0, shown(event))).collect();
    Ok(answers::json(StatusCode::OK, &Page::of(rows, limit, &api.fingerprint_secret, LIST)))
}

/// `GET /v1/events/{id}`.
pub async fn read(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    Query::of(&request, &[])?;
    let id = event_id(&request)?;
    let found = api.read(move |store| async move { store.event_of(merchant.id, id).await }).await?;
    Ok(answers::json(StatusCode::OK, &shown(&found.ok_or_else(no_such_event)?)))
}

/// `POST /v1/events/{id}/redeliver`: to one endpoint, or to all that want it. Asking twice queues it once.
pub async fn redeliver(request: HttpRequest, payload: web::Payload, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    Query::of(&request, &[])?;
    let id = event_id(&request)?;
    let body = body::object(&request, payload, api.settings.body_limit, true).await?;
    let endpoint = Fields::of(&body, &["endpoint"])?.text("endpoint")?;
    let endpoint = endpoint.map(|text| text.parse().map_err(|_| super::webhook::no_such_endpoint().about("endpoint"))).transpose()?;
    let asker = asker(merchant);
    let queued = api.at_desk(move |desk| async move { desk.redeliver(asker, id, endpoint).await }).await?;
    Ok(answers::json(StatusCode::ACCEPTED, &Page::whole(queued.iter().map(delivery).collect())))
}

fn shown(event: &MerchantEvent) -> Value {
    let data: Value = serde_json::from_str(&event.row.body).unwrap_or(Value::Null);
    json!({
        "id": event.row.id.to_string(),
        "object": "event",
        "type": event.row.kind,
        "payment_id": event.payment.to_string(),
        "sequence": event.row.sequence,
        "data": data,
        "created_at": render::rfc3339(event.row.created_at),
    })
}

fn event_id(request: &HttpRequest) -> Result<EventId, Problem> {
    request.match_info().get("id").and_then(|id| id.parse().ok()).ok_or_else(no_such_event)
}

fn no_such_event() -> Problem {
    Problem::new(ProblemCode::NotFound, "There is no such event.")
}
