//! Alerts, as operators see them: what fired, what was sent about it to whom and with what result, and the word that somebody takes care.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use uuid::Uuid;

use super::page::{Page, Query};
use super::problem::{Problem, ProblemCode};
use super::{Api, answers, key, refusal, render};
use crate::alert::Acknowledge;
use crate::store::alert::{AlertRow, DeliveryRow};

/// Alerts in the list: the newest.
const LISTED: i64 = 100;

/// `GET /ops/v1/alerts`: the newest hundred, newest first.
pub async fn list(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    key::operator(&api, &request).await?;
    Query::of(&request, &[])?;
    let (alerts, deliveries) = api.read(|store| async move { store.newest_alerts(LISTED).await }).await?;
    let rows: Vec<Value> = alerts.iter().map(|alert| shown(alert, &deliveries)).collect();
    Ok(answers::json(StatusCode::OK, &Page::whole(rows)))
}

/// `POST /ops/v1/alerts/{id}/acknowledge`: the asking operator takes care of it. Said again it changes nothing: who was first stays.
pub async fn acknowledge(request: HttpRequest, api: web::Data<Api>, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    let operator = key::operator(&api, &request).await?;
    Query::of(&request, &[])?;
    let unknown = || Problem::new(ProblemCode::NotFound, "There is no alert of this id.");
    let alert: Uuid = path.parse().map_err(|_| unknown())?;
    let answer = api.alerts.send(Acknowledge { alert, by: operator.name }).await.map_err(|error| {
        tracing::error!(error = %error, "the alerter does not answer");
        Problem::internal()
    })?;
    let row = answer.map_err(|error| refusal::store_problem(&error))?.ok_or_else(unknown)?;
    Ok(answers::json(StatusCode::OK, &shown(&row, &[])))
}

fn shown(alert: &AlertRow, deliveries: &[DeliveryRow]) -> Value {
    let time = |time: Option<jiff::Timestamp>| time.map(render::rfc3339);
    // Another version's words that this one cannot read are shown as they are.
    let story: Value = serde_json::from_str(&alert.story).unwrap_or_else(|_| Value::String(alert.story.clone()));
    let sent: Vec<Value> = deliveries
        .iter()
        .filter(|delivery| delivery.alerts.contains(&alert.id))
        .map(|delivery| {
            json!({
                "transport": delivery.transport, "purpose": delivery.purpose, "recipient": delivery.recipient, "state": delivery.state,
                "tries": delivery.tries, "created_at": render::rfc3339(delivery.created_at), "sent_at": time(delivery.sent_at),
                "result": delivery.result,
            })
        })
        .collect();
    json!({
        "object": "alert", "id": alert.id.to_string(), "kind": alert.kind, "severity": alert.severity,
        "channel": (!alert.channel.is_empty()).then_some(&alert.channel),
        "status": if alert.ended_at.is_some() { "resolved" } else { "firing" },
        "story": story, "raised_at": render::rfc3339(alert.raised_at), "seen_at": render::rfc3339(alert.seen_at),
        "resolved_at": time(alert.ended_at), "acknowledged_at": time(alert.acknowledged_at), "acknowledged_by": alert.acknowledged_by,
        "deliveries": sent,
    })
}
