//! A plain HTTP client for the command line's own errands (the sample traffic, the sandbox's control routes): one request, one connection.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use thiserror::Error;

/// The largest answer that is read: the sandbox's book after a long run, some two hundred bytes an entry.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
/// How long an errand may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why an errand failed.
#[derive(Debug, Error)]
#[error("{url}: {why}")]
pub struct ClientError {
    url: String,
    why: String,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Sends one request to an `http://host:port/…` address and reads the whole answer.
///
/// # Errors
/// [`ClientError`] names the address and what went wrong.
pub async fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer, ClientError> {
    match tokio::time::timeout(PATIENCE, exchange(method, url, headers, body)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(why)) => Err(ClientError { url: url.to_owned(), why: why.to_string() }),
        Err(_) => Err(ClientError { url: url.to_owned(), why: format!("no answer within {} s", PATIENCE.as_secs()) }),
    }
}

async fn exchange(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let uri: http::Uri = url.parse()?;
    let authority = uri.authority().ok_or("the address has no host")?.clone();
    let stream = tokio::net::TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut request = http::Request::builder().method(method).uri(path).header("host", authority.as_str());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?).await?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_MAX).collect().await?.to_bytes();
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
}
