//! The merchants' webhook receiver: one socket that takes everything, and remembers which payments it heard about and of what kind. It verifies no
//! signature (`tests/spec/webhooks.rs` does): here it only matters that a crash makes no webhook vanish.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// The largest webhook that is read.
const WEBHOOK_MAX: usize = 1024 * 1024;

/// What merchants were told: a payment and an event's type. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Heard(Arc<Mutex<BTreeSet<(String, String)>>>);

impl Heard {
    /// Whether an event of this type of this payment was delivered, once or more.
    pub fn has(&self, payment: &str, kind: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&(payment.to_owned(), kind.to_owned()))
    }

    /// How many different ones were.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn note(&self, body: &[u8]) -> Option<()> {
        let message: Value = serde_json::from_slice(body).ok()?;
        let object = &message["data"]["object"];
        let payment = object.get("payment_id").unwrap_or(&object["id"]).as_str()?;
        let told = (payment.to_owned(), message["type"].as_str()?.to_owned());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(told);
        Some(())
    }
}

/// Starts it on `runtime`, where it ends too: its address, and what it hears.
///
/// # Errors
/// A sentence, when no port can be had.
pub fn start(runtime: &Runtime) -> Result<(SocketAddr, Heard), String> {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).map_err(|error| format!("no port can be had: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let heard = Heard::default();
    let own = heard.clone();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let heard = own.clone();
            let take = service_fn(move |request| take(heard.clone(), request));
            // A connection that breaks is a process that died: it comes again.
            tokio::spawn(async move { http1::Builder::new().serve_connection(TokioIo::new(stream), take).await.is_ok() });
        }
    });
    Ok((address, heard))
}

async fn take(heard: Heard, request: http::Request<Incoming>) -> Result<http::Response<Empty<Bytes>>, Infallible> {
    let body = Limited::new(request.into_body(), WEBHOOK_MAX).collect().await;
    let noted = body.ok().and_then(|body| heard.note(&body.to_bytes()));
    let mut answer = http::Response::new(Empty::new());
    *answer.status_mut() = if noted.is_some() { http::StatusCode::NO_CONTENT } else { http::StatusCode::BAD_REQUEST };
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refunds_webhook_is_about_its_payment() {
        let heard = Heard::default();
        let body = br#"{"type": "refund.succeeded", "data": {"object": {"id": "ref_1", "payment_id": "pay_1"}}}"#;
        assert!(heard.note(body).is_some() && heard.note(body).is_some());
        assert!(heard.note(br#"{"type": "payment.failed", "data": {"object": {"id": "pay_2"}}}"#).is_some());
        assert!(heard.note(b"[]").is_none() && heard.note(b"{}").is_none());
        assert!(heard.has("pay_1", "refund.succeeded") && heard.has("pay_2", "payment.failed") && !heard.has("pay_1", "payment.failed"));
        assert_eq!(heard.count(), 2);
    }
}
