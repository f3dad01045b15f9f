//! `Prefer: wait=N` (RFC 7240, 4.3): how long a client wants to be kept waiting for the end of what it asked for. Without it, as long as the
//! settings say.
//!
//! A preference is a wish: one that cannot be read is passed over, as the RFC wants it, and one that is longer than we keep anybody waiting is
//! cut. What was applied is told in `Preference-Applied`; a wish that was passed over is not.

use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};

/// The longest wait, in seconds: beyond it proxies between us and the client give up, and a stop of the process would wait for it.
const LONGEST: u64 = 60;
/// Characters of the header that are read.
const READ: usize = 1_024;

/// How long the answer may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long.
    pub wait: Duration,
    /// The seconds that the client asked for, as they were applied.
    applied: Option<u64>,
}

impl Patience {
    /// What the request prefers, or `usual`.
    pub fn of(request: &HttpRequest, usual: Duration) -> Self {
        let values = request.headers().get_all("prefer").filter_map(|value| value.to_str().ok());
        // A preference that is given twice counts as it was given first (RFC 7240, 2).
        let wished = values.flat_map(|value| value.get(..READ).unwrap_or(value).split(',')).find_map(wait);
        let applied = wished.flatten().map(|seconds| seconds.min(LONGEST));
        Self { wait: applied.map_or(usual, Duration::from_secs), applied }
    }

    /// The answer, which tells what was applied.
    pub fn told(self, mut answer: HttpResponse) -> HttpResponse {
        if let Some(seconds) = self.applied
            && let Ok(value) = HeaderValue::from_str(&format!("wait={seconds}"))
        {
            answer.headers_mut().insert(HeaderName::from_static("preference-applied"), value);
        }
        answer
    }
}

/// `Some` when this preference is `wait`, with its seconds if they can be read. Parameters behind a semicolon mean nothing here.
fn wait(preference: &str) -> Option<Option<u64>> {
    let (name, value) = preference.split(';').next().unwrap_or("").split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("wait") {
        return None;
    }
    let value = value.trim();
    let digits = value.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(value);
    let sound = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // More digits than a number holds are a very long time.
    Some(sound.then(|| digits.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn read(values: &[&str]) -> Patience {
        let request = values.iter().fold(TestRequest::default(), |request, value| request.append_header(("Prefer", *value)));
        Patience::of(&request.to_http_request(), Duration::from_secs(10))
    }

    fn told(values: &[&str]) -> Option<String> {
        let answer = read(values).told(HttpResponse::Ok().finish());
        answer.headers().get("preference-applied").map(|value| value.to_str().expect("ASCII").to_owned())
    }

    #[test]
    fn a_wait_is_read_wherever_it_stands_and_told_back() {
        for value in ["wait=3", "WAIT = 3", "respond-async, wait=3", "wait=\"3\"", "wait=3; foo=bar, handling=lenient"] {
            assert_eq!(read(&[value]).wait, Duration::from_secs(3), "{value}");
            assert_eq!(told(&[value]).as_deref(), Some("wait=3"), "{value}");
        }
        assert_eq!(read(&["respond-async", "wait=3"]).wait, Duration::from_secs(3), "in the second header");
        assert_eq!(read(&["wait=0"]).wait, Duration::ZERO);
    }

    #[test]
    fn a_wish_that_is_too_long_is_cut_and_the_cut_is_told() {
        for value in ["wait=61", "wait=99999999999999999999999999"] {
            assert_eq!(read(&[value]).wait, Duration::from_secs(60), "{value}");
            assert_eq!(told(&[value]).as_deref(), Some("wait=60"), "{value}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_passed_over_and_not_told() {
        for value in ["wait", "wait=", "wait=-1", "wait=1.5", "wait=soon", "respond-async", ""] {
            assert_eq!(read(&[value]).wait, Duration::from_secs(10), "{value}");
            assert_eq!(told(&[value]), None, "{value}");
        }
        assert_eq!(told(&[]), None);
    }

    #[test]
    fn of_two_waits_the_first_counts() {
        assert_eq!(told(&["wait=1, wait=2"]).as_deref(), Some("wait=1"));
        assert_eq!(told(&["wait=1", "wait=2"]).as_deref(), Some("wait=1"));
        assert_eq!(told(&["wait=soon, wait=2"]), None, "even if it cannot be read");
    }
}
