//! What the people and machines that run this installation ask: is it alive, is it ready, how do the channels stand, do the books hold.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::page::{Page, Query};
use super::problem::{Problem, ProblemCode};
use super::{Api, answers, key, render};

/// Marks the operators' own listener, which only those reach who may read the metrics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Apart;

/// `GET /livez`: the process runs and its event loop turns.
pub async fn livez() -> HttpResponse {
    answers::json(StatusCode::OK, &json!({"status": "alive"}))
}

/// `GET /readyz`: whether it should be given traffic; if not, 503 with every reason. It asks nobody: a probe must be answered at once, above all
/// when the database is slow.
pub async fn readyz(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let reasons = api.readiness.reasons();
    if reasons.is_empty() {
        return Ok(answers::json(StatusCode::OK, &json!({"status": "ready"})));
    }
    let detail = format!("Not ready: {}.", reasons.join("; "));
    Err(Problem::new(ProblemCode::NotReady, detail).with("reasons", json!(reasons)))
}

/// `GET /version`.
pub async fn version() -> HttpResponse {
    let revision = option_env!("BREAKWATER_REVISION").unwrap_or("unknown");
    answers::json(StatusCode::OK, &json!({"name": "breakwater", "version": env!("CARGO_PKG_VERSION"), "revision": revision}))
}

/// `GET /metrics`, in the text form that Prometheus reads.
pub async fn metrics(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let open = request.app_data::<Apart>().is_some() || !api.settings.metrics_need_token;
    if !open {
        key::operator(&api, &request).await?;
    }
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body((api.metrics)()))
}

/// `GET /ops/v1/channels`.
pub async fn channels(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    key::operator(&api, &request).await?;
    Query::of(&request, &[])?;
    Ok(answers::json(StatusCode::OK, &Page::whole(api.channels.channels())))
}

/// `GET /ops/v1/unknowns`: what is in doubt, by channel and operation.
pub async fn unknowns(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    key::operator(&api, &request).await?;
    Query::of(&request, &[])?;
    let summary = api.read(|store| async move { store.unknown_summary().await }).await?;
    let rows: Vec<Value> = summary
        .iter()
        .map(|row| {
            json!({
                "channel": row.channel,
                "operation": row.operation,
                "count": row.count,
                "oldest": render::rfc3339(row.oldest),
                "amount_minor": row.amount_minor,
            })
        })
        .collect();
    Ok(answers::json(StatusCode::OK, &Page::whole(rows)))
}

/// `GET /ops/v1/integrity`: 200 when the books hold, else 409 with where they do not.
pub async fn integrity(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    key::operator(&api, &request).await?;
    Query::of(&request, &[])?;
    let differences = api.read(|store| async move { store.integrity().await }).await?;
    if differences.is_empty() {
        let checked_at = render::rfc3339(api.clock.wall());
        return Ok(answers::json(StatusCode::OK, &json!({"object": "integrity", "holds": true, "differences": [], "checked_at": checked_at})));
    }
    tracing::error!(differences = differences.len(), "the books do not hold");
    let rows: Vec<Value> =
        differences.iter().map(|one| json!({"payment_id": one.payment.to_string(), "check": one.check, "found": one.found})).collect();
    let detail = format!("{} differences were found; each check shows at most 100.", rows.len());
    Err(Problem::new(ProblemCode::BooksDoNotHold, detail).with("differences", json!(rows)))
}
