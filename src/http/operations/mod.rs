//! What the people and machines that run this installation ask and do. Here: is it alive, is it ready, how do the channels stand, do the books
//! hold. Beside it: `overrides.rs` (switching a channel), `timeline.rs` (what happened just now), `doubt.rs` (what is not known, and asking
//! again), `resolve.rs` (a person says what an outcome was), `records.rs` (providers' messages, the audit).
//!
//! Who may do what is one table, in `routes.rs`. Nothing is written here: switching goes through the [`Switchboard`], what touches a payment
//! through the router.
//!
//! [`Switchboard`]: crate::router::operator::Switchboard

pub mod doubt;
pub mod overrides;
pub mod records;
pub mod resolve;
pub mod timeline;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::page::{Page, Query};
use super::problem::{Problem, ProblemCode};
use super::{Api, answers, key, refusal, render};
use crate::router::operator::Operator;
use crate::router::{FlowError, Router};
use crate::store::StoreError;
use crate::store::account::OperatorRow;

/// Characters of a reason or a note, at most.
pub(in crate::http) const WORDS: usize = 500;
/// How much longer than usual an act of an operator's may take before it counts as a fault of ours.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

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

/// Who acts, as the audit names them.
fn acting(operator: OperatorRow) -> Operator {
    Operator { who: format!("operator:{}", operator.name), role: operator.role }
}

/// Sends the router an order of an operator's, and waits for what came of it.
///
/// # Errors
/// What the flow refused, as a problem.
async fn ask<M, T>(api: &Api, order: M) -> Result<T, Problem>
where
    M: actix::Message<Result = Result<T, FlowError>> + Send + 'static,
    T: Send + 'static,
    Router: actix::Handler<M>,
    <Router as actix::Actor>::Context: actix::dev::ToEnvelope<Router, M>,
{
    match api.router.send(order).timeout(PATIENCE).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(refusal::problem(&error, refusal::Asked::default())),
        Err(error) => {
            tracing::error!(%error, "the router did not answer an operator");
            Err(Problem::internal())
        }
    }
}

/// Runs an act at the switchboard where the database's connections live, to its end even if the client goes away.
///
/// # Errors
/// The problem to answer with.
async fn at_switchboard<T, F>(api: &Api, act: F) -> Result<T, Problem>
where
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
    T: Send + 'static,
{
    match api.runtime.spawn(act).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(refusal::store_problem(&error)),
        Err(error) => {
            tracing::error!(%error, "an act at the switchboard did not end");
            Err(Problem::internal())
        }
    }
}
