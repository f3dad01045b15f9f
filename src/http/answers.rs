//! Successful answers, as JSON.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Serialize;

use super::problem::Problem;
use super::render;
use crate::router::Answer;

/// An object.
pub fn json(status: StatusCode, object: &impl Serialize) -> HttpResponse {
    match serde_json::to_vec(object) {
        Ok(bytes) => HttpResponse::build(status).content_type("application/json").body(bytes),
        Err(error) => HttpResponse::from_error(unwritable(&error)),
    }
}

/// What a flow made, with the status code of what it is now.
pub fn money(answer: &Answer, object: &impl Serialize) -> HttpResponse {
    let status = StatusCode::from_u16(render::status_code(&answer.payment, answer.subject)).unwrap_or(StatusCode::OK);
    let mut response = json(status, object);
    if answer.replayed {
        use actix_web::http::header::{HeaderName, HeaderValue};
        response.headers_mut().insert(HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"));
    }
    response
}

fn unwritable(error: &serde_json::Error) -> Problem {
    tracing::error!(%error, "an answer cannot be written as JSON");
    Problem::internal()
}
