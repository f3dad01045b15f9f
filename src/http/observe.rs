//! What every request passes through: it gets its id, is counted and timed, is turned away when too many are in flight, and leaves one log line.
//! A problem gets its last members here, and a panic becomes one: it costs its own request and nothing else.
//!
//! The log line names ids, never a body, a key, or an address's query.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, ResponseError as _, web};
use futures_util::FutureExt as _;
use tracing::Instrument as _;

use super::Api;
use super::ask::{About, Theirs};
use super::limit::Standing;
use super::problem::{Problem, ProblemCode};
use super::routes::ROUTES;
use crate::domain::RequestId;

const REQUESTS: &str = "breakwater_http_requests_total";
const DURATION: &str = "breakwater_http_request_duration_seconds";
const IN_FLIGHT: &str = "breakwater_http_requests_in_flight";

/// Creates the series of every route at 0, with the code that it usually answers and the one that alerts look at: a rate never shows the first
/// count of a series that begins with it. Call it once the recorder is installed; the catalogue describes them.
pub fn create_series_at_zero() {
    for (route, methods) in ROUTES {
        let _ = metrics::histogram!(DURATION, "route" => *route);
        for (method, usual) in *methods {
            for code in [*usual, "500"] {
                metrics::counter!(REQUESTS, "route" => *route, "method" => *method, "code" => code).increment(0);
            }
        }
    }
}

/// The middleware. Wrapped around every route.
///
/// # Errors
/// A problem, complete, for a handler that panicked.
pub async fn observe(
    api: web::Data<Api>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = api.clock.boot();
    let id = RequestId::new(api.clock.wall());
    let method = method_label(request.method());
    let _flying = Flying::take_off(&api);
    let moves_money = request.path().starts_with("/v1/");
    let crowded = moves_money && api.memory.in_flight.load(Ordering::Relaxed) > api.settings.max_requests;

    let answered = if crowded {
        Ok(Ok(request
            .into_response(Problem::new(ProblemCode::Overloaded, "Too many requests are in flight. Nothing was sent.").error_response())
            .map_into_boxed_body()))
    } else {
        // What is logged on the way, in this task, carries the request's id.
        let span = tracing::error_span!("request", request_id = %id);
        let answer = async { next.call(request).await.map(ServiceResponse::map_into_boxed_body) };
        AssertUnwindSafe(answer.instrument(span)).catch_unwind().await
    };
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(last_resort(error.as_error::<Problem>().cloned(), id, &api)),
        Err(_) => {
            // The panic's own message and place were written by the hook; the request itself is gone with it.
            tracing::error!(request_id = %id, method, "a handler panicked");
            count("unmatched", method, 500, api.clock.boot().since(started));
            return Err(last_resort(None, id, &api));
        }
    };

    let fault = response.response().error().map(|error| match error.as_error::<Problem>() {
        Some(problem) => problem.clone(),
        None => foreign(&error.as_response_error().status_code()),
    });
    if let Some(problem) = &fault {
        let complete = problem.clone().answering(id, &api.settings.problem_base).error_response();
        response = response.into_response(complete);
    }

    let taken = api.clock.boot().since(started);
    let (about, theirs, standing) = {
        let extensions = response.request().extensions();
        (extensions.get::<About>().copied(), extensions.get::<Theirs>().copied(), extensions.get::<Standing>().copied())
    };
    let route = route_label(&response);
    let status = response.status().as_u16();
    let on_money = route.starts_with("/v1/payments") || route.starts_with("/v1/refunds");
    let overhead = on_money.then(|| taken.saturating_sub(theirs.map_or(Duration::ZERO, |theirs| theirs.0)));
    stamp(response.headers_mut(), id, overhead);
    if let Some(standing) = standing {
        standing.write(response.headers_mut());
    }
    count(route, method, status, taken);
    tracing::info!(
        method,
        route,
        status,
        code = fault.as_ref().map(|problem| problem.code().as_str()),
        request_id = %id,
        payment = about.map(|about| tracing::field::display(about.0)),
        taken_us = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX),
        "answered a request"
    );
    Ok(response)
}

/// The problem for an error that no handler of ours made: the framework's own, of which only the status is trusted.
fn foreign(status: &actix_web::http::StatusCode) -> Problem {
    match status.as_u16() {
        404 => Problem::new(ProblemCode::UnknownRoute, "There is nothing at this address."),
        413 => Problem::new(ProblemCode::BodyTooLarge, "The body is too large."),
        400..=499 => Problem::new(ProblemCode::InvalidRequest, "The request cannot be read."),
        _ => Problem::internal(),
    }
}

/// A problem that leaves without a response to hang it on.
fn last_resort(problem: Option<Problem>, id: RequestId, api: &Api) -> Error {
    problem.unwrap_or_else(Problem::internal).answering(id, &api.settings.problem_base).into()
}

fn stamp(headers: &mut HeaderMap, id: RequestId, overhead: Option<Duration>) {
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(HeaderName::from_static("request-id"), value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(overhead) = overhead {
        let micros = u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX);
        headers.insert(HeaderName::from_static("breakwater-overhead-us"), HeaderValue::from(micros));
    }
}

fn count(route: &'static str, method: &'static str, status: u16, taken: Duration) {
    metrics::counter!(REQUESTS, "route" => route, "method" => method, "code" => status.to_string()).increment(1);
    metrics::histogram!(DURATION, "route" => route).record(taken.as_secs_f64());
}

fn route_label(response: &ServiceResponse) -> &'static str {
    let pattern = response.request().match_pattern();
    pattern.and_then(|pattern| ROUTES.iter().map(|(template, _)| *template).find(|template| *template == pattern)).unwrap_or("unmatched")
}

/// Methods are a client's free choice: only those that exist become a label.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// One request in flight, until it is answered, panics, or its client goes away.
struct Flying(web::Data<Api>);

impl Flying {
    fn take_off(api: &web::Data<Api>) -> Self {
        api.memory.in_flight.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!(IN_FLIGHT).increment(1.0);
        Self(api.clone())
    }
}

impl Drop for Flying {
    fn drop(&mut self) {
        self.0.memory.in_flight.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!(IN_FLIGHT).decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_a_client_made_up_is_no_label() {
        assert_eq!(method_label(&Method::POST), "POST");
        assert_eq!(method_label(&Method::from_bytes(b"BREW").expect("a token")), "other");
    }

    #[test]
    fn an_error_of_the_framework_keeps_only_its_status() {
        assert_eq!(foreign(&actix_web::http::StatusCode::NOT_FOUND).code(), ProblemCode::UnknownRoute);
        assert_eq!(foreign(&actix_web::http::StatusCode::BAD_GATEWAY).code(), ProblemCode::InternalFault);
    }
}
