//! WeChat Pay's notifications: what one says, and how it is signed each time it is sent. What is sent again is the same message, id included; the
//! signature is of the moment.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::keys::Keys;
use super::moment::Moment;
use super::reply;
use crate::sandbox::book;
use crate::sandbox::notify::{Sealed, Stamp};

/// What is told: `inside` sealed with the account's APIv3 key. A notification that the sandbox cannot write is empty, and nobody will believe it.
pub fn of(kind: &str, inside: &Value, keys: &Keys) -> Bytes {
    let original = if kind.starts_with("REFUND") { "refund" } else { "transaction" };
    let nonce: String = uuid::Uuid::new_v4().simple().to_string().chars().take(12).collect();
    let bytes: [u8; 12] = nonce.as_bytes().try_into().unwrap_or_default();
    let resource = json!({
        "original_type": original, "algorithm": "AEAD_AES_256_GCM", "ciphertext": keys.seal(bytes, original, inside.to_string().as_bytes()),
        "associated_data": original, "nonce": nonce,
    });
    let notice = json!({
        "id": uuid::Uuid::new_v4(), "create_time": super::order::time(book::now()), "resource_type": "encrypt-resource", "event_type": kind,
        "summary": "通知", "resource": resource,
    });
    notice.to_string().into()
}

/// How an account signs its notifications.
#[derive(Debug)]
pub struct Seal {
    /// The account's keys.
    pub keys: Arc<Keys>,
    /// The platform key's name.
    pub serial: String,
    /// What time it is for the merchant.
    pub moment: Arc<Moment>,
}

impl Stamp for Seal {
    fn sealed(&self, message: &Bytes, forged: bool) -> Sealed {
        let mut headers = reply::signature(message, &self.keys, &self.serial, self.moment.now(), forged);
        headers.push(("content-type", "application/json".to_owned()));
        headers.push(("user-agent", "Mozilla/4.0".to_owned()));
        Sealed { headers, body: message.clone() }
    }

    fn is_acknowledged(&self, status: StatusCode, _: &[u8]) -> bool {
        matches!(status, StatusCode::OK | StatusCode::NO_CONTENT)
    }
}
