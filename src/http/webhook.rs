//! `/v1/webhook_endpoints`: where a merchant wants to be told what happens. Secrets are answered when they are made, and never again.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};

use super::body::{self, kind};
use super::field::Fields;
use super::key::Merchant;
use super::page::{Page, Query};
use super::problem::{Problem, ProblemCode};
use super::{Api, answers, key, render};
use crate::domain::WebhookEndpointId;
use crate::domain::topic::{TOPICS, topic};
use crate::notifier::desk::{Asker, Wish};
use crate::notifier::signature::Secret;
use crate::store::webhook::delivery::{DeliveryRow, DeliveryState};
use crate::store::webhook::endpoint::{EndpointChange, EndpointRow};

const LIST: &str = "webhook_endpoints";
const LOG: &str = "webhook_deliveries";
/// Characters of a description, at most.
const DESCRIPTION: usize = 500;

/// `POST /v1/webhook_endpoints`. The answer holds the secret, this once.
pub async fn create(request: HttpRequest, payload: web::Payload, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    Query::of(&request, &[])?;
    let body = body::object(&request, payload, api.settings.body_limit, false).await?;
    let fields = Fields::of(&body, &["url", "types", "description"])?;
    let wish = Wish {
        url: fields.required_text("url")?.to_owned(),
        description: fields.free_text("description", DESCRIPTION)?,
        types: types(&fields)?.unwrap_or_default(),
        secret: None,
    };
    let asker = asker(merchant);
    let (endpoint, secret) = api.at_desk(move |desk| async move { desk.create(asker, wish).await }).await?;
    Ok(answers::json(StatusCode::CREATED, &with_secret(&endpoint, &secret)))
}

/// `GET /v1/webhook_endpoints`.
pub async fn list(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    let query = Query::of(&request, &["cursor", "limit"])?;
    let limit = query.limit()?;
    let before = query.cursor(&api.fingerprint_secret, LIST)?;
    let endpoints = api.read(move |store| async move { store.endpoints_of(merchant.id, before, limit + 1).await }).await?;
    let rows = endpoints.iter().map(|endpoint| (endpoint.id.0, shown(endpoint))).collect();
    Ok(answers::json(StatusCode::OK, &Page::of(rows, limit, &api.fingerprint_secret, LIST)))
}

/// `GET /v1/webhook_endpoints/{id}`.
pub async fn read(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    Query::of(&request, &[])?;
    let endpoint = find(&api, merchant, endpoint_id(&request)?).await?;
    Ok(answers::json(StatusCode::OK, &shown(&endpoint)))
}

/// `PATCH /v1/webhook_endpoints/{id}`: what is left out stays; an explicit null takes the description away.
pub async fn change(request: HttpRequest, payload: web::Payload, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    Query::of(&request, &[])?;
    let id = endpoint_id(&request)?;
    let body = body::object(&request, payload, api.settings.body_limit, false).await?;
    let change = wanted_change(&body)?;
    let asker = asker(merchant);
    let endpoint = api.at_desk(move |desk| async move { desk.change(asker, id, change).await }).await?;
    Ok(answers::json(StatusCode::OK, &shown(&endpoint)))
}

/// `DELETE /v1/webhook_endpoints/{id}`.
pub async fn delete(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    Query::of(&request, &[])?;
    let id = endpoint_id(&request)?;
    let asker = asker(merchant);
    api.at_desk(move |desk| async move { desk.delete(asker, id).await }).await?;
    Ok(answers::json(StatusCode::OK, &json!({"id": id.to_string(), "object": "webhook_endpoint", "deleted": true})))
}

/// `POST /v1/webhook_endpoints/{id}/rotate_secret`. The answer holds the new secret, this once; the old one signs too for 24 hours.
pub async fn rotate_secret(request: HttpRequest, payload: web::Payload, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    Query::of(&request, &[])?;
    let id = endpoint_id(&request)?;
    let body = body::object(&request, payload, api.settings.body_limit, true).await?;
    Fields::of(&body, &[])?;
    let asker = asker(merchant);
    let (endpoint, secret) = api.at_desk(move |desk| async move { desk.rotate_secret(asker, id).await }).await?;
    Ok(answers::json(StatusCode::OK, &with_secret(&endpoint, &secret)))
}

/// `GET /v1/webhook_endpoints/{id}/deliveries`: the log, newest event first.
pub async fn deliveries(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    let query = Query::of(&request, &["state", "cursor", "limit"])?;
    let limit = query.limit()?;
    let before = query.cursor(&api.fingerprint_secret, LOG)?;
    let states = DeliveryState::ALL.map(DeliveryState::as_str).join(", ");
    let state = query.parsed("state", &format!("one of {states}"), DeliveryState::parse)?;
    let id = endpoint_id(&request)?;
    find(&api, merchant, id).await?;
    let log = api.read_list(move |store| async move { store.delivery_log(merchant.id, id, before, state, limit + 1).await }).await?;
    let rows = log.iter().map(|row| (row.event.0, delivery(row))).collect();
    Ok(answers::json(StatusCode::OK, &Page::of(rows, limit, &api.fingerprint_secret, LOG)))
}

/// `POST /v1/webhook_endpoints/{id}/replay`: what happened from `from` on and before `to`, again.
pub async fn replay(request: HttpRequest, payload: web::Payload, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let merchant = key::merchant(&api, &request).await?;
    Query::of(&request, &[])?;
    let id = endpoint_id(&request)?;
    let body = body::object(&request, payload, api.settings.body_limit, false).await?;
    let fields = Fields::of(&body, &["from", "to"])?;
    let (from, to) = (super::page::ceiling(time(&fields, "from")?), super::page::ceiling(time(&fields, "to")?));
    if to <= from {
        return Err(fields.wrong("to", "must be later than from"));
    }
    let asker = asker(merchant);
    let replayed = api.at_desk(move |desk| async move { desk.replay(asker, id, from, to).await }).await?;
    let answer = json!({
        "object": "replay",
        "endpoint": id.to_string(),
        "from": render::rfc3339(from),
        "to": render::rfc3339(to),
        "queued": replayed.queued,
        "last_event": replayed.more_after.map(|event| event.to_string()),
        "has_more": replayed.more_after.is_some(),
    });
    Ok(answers::json(StatusCode::ACCEPTED, &answer))
}

async fn find(api: &Api, merchant: Merchant, id: WebhookEndpointId) -> Result<EndpointRow, Problem> {
    let found = api.read(move |store| async move { store.endpoint_of(merchant.id, id).await }).await?;
    found.ok_or_else(no_such_endpoint)
}

fn wanted_change(body: &Map<String, Value>) -> Result<EndpointChange, Problem> {
    let fields = Fields::of(body, &["url", "types", "description", "enabled"])?;
    let enabled = match fields.value("enabled") {
        None => None,
        Some(Value::Bool(enabled)) => Some(*enabled),
        Some(other) => return Err(fields.wrong("enabled", &format!("must be a boolean, not {}", kind(other)))),
    };
    Ok(EndpointChange {
        url: fields.text("url")?.map(str::to_owned),
        description: body.contains_key("description").then(|| fields.free_text("description", DESCRIPTION)).transpose()?,
        types: types(&fields)?,
        enabled,
    })
}

/// The event types of a request: a list, in which each may stand once. An empty list means all.
fn types(fields: &Fields<'_>) -> Result<Option<Vec<String>>, Problem> {
    let list = match fields.value("types") {
        None => return Ok(None),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(fields.wrong("types", &format!("must be a list, not {}", kind(other)))),
    };
    let mut types: Vec<String> = Vec::with_capacity(list.len().min(TOPICS.len()));
    for value in list {
        let known = value.as_str().and_then(topic).ok_or_else(|| fields.wrong("types", &format!("must hold only these: {}", TOPICS.join(", "))))?;
        if types.iter().any(|earlier| earlier == known) {
            return Err(fields.wrong("types", &format!("has {known} twice")));
        }
        types.push(known.to_owned());
    }
    Ok(Some(types))
}

fn time(fields: &Fields<'_>, field: &str) -> Result<jiff::Timestamp, Problem> {
    let text = fields.required_text(field)?;
    text.parse().map_err(|_| fields.wrong(field, "must be an RFC 3339 time such as 2026-11-21T23:01:14Z"))
}

fn shown(endpoint: &EndpointRow) -> Value {
    json!({
        "id": endpoint.id.to_string(),
        "object": "webhook_endpoint",
        "url": endpoint.url,
        "description": endpoint.description,
        "types": endpoint.types,
        "enabled": endpoint.enabled,
        "disabled_reason": endpoint.disabled_reason,
        "failures_in_a_row": endpoint.failures,
        "paused_until": endpoint.shut_until.map(render::rfc3339),
        "previous_secret_until": endpoint.previous_until.map(render::rfc3339),
        "created_at": render::rfc3339(endpoint.created_at),
        "updated_at": render::rfc3339(endpoint.updated_at),
    })
}

fn with_secret(endpoint: &EndpointRow, secret: &Secret) -> Value {
    let mut object = shown(endpoint);
    object["secret"] = Value::String(secret.text());
    object
}

/// One line of an endpoint's log.
pub(super) fn delivery(row: &DeliveryRow) -> Value {
    let due_at = Some(row.due_at).filter(|_| row.state == DeliveryState::Pending);
    json!({
        "object": "webhook_delivery",
        "event_id": row.event.to_string(),
        "endpoint": row.key.endpoint.to_string(),
        "type": row.kind,
        "payment_id": row.key.payment.to_string(),
        "sequence": row.key.sequence,
        "state": row.state.as_str(),
        "attempts": row.attempts,
        "due_at": due_at.map(render::rfc3339),
        "last_status": row.last_status,
        "last_error": row.last_error,
        "last_tried_at": row.last_tried_at.map(render::rfc3339),
        "delivered_at": row.delivered_at.map(render::rfc3339),
        "queued_at": render::rfc3339(row.queued_at),
        "created_at": render::rfc3339(row.created_at),
    })
}

pub(super) const fn asker(merchant: Merchant) -> Asker {
    Asker { merchant: merchant.id, livemode: merchant.livemode }
}

/// The endpoint in the address. What is not an id is nobody's endpoint.
fn endpoint_id(request: &HttpRequest) -> Result<WebhookEndpointId, Problem> {
    request.match_info().get("id").and_then(|id| id.parse().ok()).ok_or_else(no_such_endpoint)
}

pub(super) fn no_such_endpoint() -> Problem {
    Problem::new(ProblemCode::NotFound, "There is no such webhook endpoint.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(body: &str) -> Result<EndpointChange, (ProblemCode, Option<String>)> {
        let object = body::parse(body.as_bytes()).expect("JSON");
        wanted_change(&object).map_err(|problem| (problem.code(), problem.param().map(str::to_owned)))
    }

    #[test]
    fn what_is_left_out_of_a_change_stays_and_null_takes_the_description_away() {
        let change = wanted("{}").expect("a change");
        assert!(change.url.is_none() && change.description.is_none() && change.types.is_none() && change.enabled.is_none());
        let change = wanted(r#"{"description":null,"enabled":false,"types":["payment.succeeded"]}"#).expect("a change");
        assert_eq!((change.description, change.enabled), (Some(None), Some(false)));
        assert_eq!(change.types, Some(vec!["payment.succeeded".to_owned()]));
    }

    #[test]
    fn a_type_that_merchants_are_not_told_about_is_refused() {
        for list in [r#"["attempt.sent"]"#, r#"["payment.created"]"#, "[7]", r#"["refund.failed","refund.failed"]"#, r#""refund.failed""#] {
            let refused = wanted(&format!("{{\"types\":{list}}}")).expect_err(list);
            assert_eq!(refused, (ProblemCode::InvalidRequest, Some("types".to_owned())), "{list}");
        }
    }
}
