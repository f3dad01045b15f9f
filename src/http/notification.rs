//! `POST /v1/notifications/{channel}`: what providers tell us. The bytes go to the router as they came, because they were signed as they came;
//! the answer is the provider's own form of acknowledgement. How many a channel takes is limited before their signature, or even their body, is
//! looked at: checking one costs more than sending one.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use super::problem::{Problem, ProblemCode};
use super::refusal::{self, Asked};
use super::{Api, body, origin};
use crate::provider::NotificationError;
use crate::router::{FlowError, Notify};

/// Bytes of a notification, at most. More than a merchant's request may have: a provider's events carry whole objects, and one that is
/// refused for its size comes again for days.
const LIMIT: usize = 256 * 1024;

/// Takes a notification in.
pub async fn receive(request: HttpRequest, payload: web::Payload, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let channel = request.match_info().get("channel").unwrap_or_default().to_owned();
    if !api.channels.known(&channel) {
        return Err(Problem::new(ProblemCode::NotFound, "There is no such channel."));
    }
    let address = origin::address(&request, &api.settings.trusted_proxies);
    api.limits.notification(&channel, address)?;
    let body = body::read(&request, payload, LIMIT).await?;
    let message = Notify { channel: channel.clone(), headers: headers(&request), body };
    match api.router.send(message).await {
        Ok(Ok(acknowledgement)) => Ok(HttpResponse::build(StatusCode::from_u16(acknowledgement.status).unwrap_or(StatusCode::OK))
            .content_type(acknowledgement.content_type)
            .body(acknowledgement.body)),
        Ok(Err(error)) => {
            // One that is signed and not understood is the provider's.
            if matches!(&error, FlowError::Notification(why) if *why != NotificationError::Malformed) {
                api.limits.forged(&channel, address);
            }
            Err(refusal::problem(&error, Asked::default()))
        }
        Err(error) => {
            tracing::error!(%error, "the router did not answer");
            Err(Problem::internal())
        }
    }
}

/// The server speaks another version of the `http` crate than the floors below.
fn headers(request: &HttpRequest) -> http::HeaderMap {
    let mut headers = http::HeaderMap::with_capacity(request.headers().len());
    for (name, value) in request.headers() {
        let name = http::HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, http::HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn every_header_reaches_the_provider_with_every_value() {
        let request = TestRequest::default().append_header(("Stripe-Signature", "t=1,v1=a")).append_header(("X", "1")).append_header(("X", "2"));
        let headers = headers(&request.to_http_request());
        assert_eq!(headers.get("stripe-signature").map(http::HeaderValue::as_bytes), Some(&b"t=1,v1=a"[..]));
        assert_eq!(headers.get_all("x").iter().count(), 2);
    }
}
