//! Signatures: SHA-256 with RSA, PKCS#1 v1.5, over lines that each end in a line feed, the last one too.
//! <https://pay.weixin.qq.com/doc/v3/merchant/4012365342>
//!
//! Ours are made over method, path with query, seconds, nonce and body, and stand in `Authorization`. Theirs are made over seconds, nonce and body
//! *as they came*, and stand in four headers, in an answer as in a notification; `Wechatpay-Serial` says with which of the account's platform keys.
//! Some that WeChat Pay sends are wrong on purpose (`WECHATPAY/SIGNTEST/…`), to see whether anybody looks: they fail like every other.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;

use crate::keys::{PrivateKey, PublicKey};
use crate::provider::{Account, Call};

/// The one scheme, as it is named in both directions.
const SCHEME: &str = "WECHATPAY2-SHA256-RSA2048";

/// How far a signed time may be from ours, in seconds. Documented: 5 minutes.
const TOLERANCE_S: i64 = 300;

/// The longest base64 of a signature: RSA of 8192 bits.
const SIGNATURE_MAX: usize = 1_368;

/// What begins the name of a platform key that is no certificate's: then every request says which key its answer should be signed with.
const PUBLIC_KEY_ID: &str = "PUB_KEY_ID_";

/// Why a signature of theirs is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// There is none, or in another form.
    Unsigned,
    /// It is nobody's that the account knows.
    Forged,
    /// Made too long ago, or in the future.
    Stale,
}

/// `lines`, each with its line feed.
pub(super) fn message(lines: &[&str]) -> String {
    let mut message = String::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        message.push_str(line);
        message.push('\n');
    }
    message
}

/// Signs lines with the merchant's key, in base64. `None` when the system refuses to sign.
pub(super) fn sign(lines: &[&str], key: &PrivateKey) -> Option<String> {
    key.sign_sha256(message(lines).as_bytes()).ok().map(|signature| BASE64.encode(signature))
}

/// `Authorization` for one request. `None` when it cannot be signed.
pub(super) fn authorization(method: &str, path: &str, body: &str, moment: &Stamp, account: &Account) -> Option<String> {
    let Stamp { seconds, nonce } = moment;
    let signature = sign(&[method, path, seconds, nonce, body], account.private_key("private_key")?)?;
    let (mchid, serial) = (account.text("mchid"), account.text("serial_no"));
    Some(format!(r#"{SCHEME} mchid="{mchid}",serial_no="{serial}",timestamp="{seconds}",nonce_str="{nonce}",signature="{signature}""#))
}

/// `Wechatpay-Serial` of a request, where the account's platform key has an id instead of a certificate.
pub(super) fn wanted_key(account: &Account) -> Option<&str> {
    account.optional_text("platform_serial").filter(|serial| serial.starts_with(PUBLIC_KEY_ID))
}

/// When something of ours is signed, and a text that no other has.
pub(super) struct Stamp {
    pub(super) seconds: String,
    pub(super) nonce: String,
}

impl Stamp {
    /// Of one exchange. A provider has no chance of its own: the nonce follows from the attempt's key, which nobody could guess, from what is asked
    /// and from the moment, so that no two exchanges share one.
    pub(super) fn of(call: &Call, about: &str) -> Self {
        let origin = format!("{} {} {about} {}", call.key, call.verb.as_str(), call.now.as_nanosecond());
        let hash = digest::digest(&digest::SHA256, origin.as_bytes());
        let nonce = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02X}")).collect();
        Self { seconds: call.now.as_second().to_string(), nonce }
    }
}

/// What WeChat's script in its own browser wants for the order that `prepay_id` names. `None` when it cannot be signed.
pub(super) fn script_parameters(prepay_id: &str, moment: &Stamp, account: &Account) -> Option<BTreeMap<String, String>> {
    let package = format!("prepay_id={prepay_id}");
    let appid = account.text("appid");
    let signature = sign(&[appid, &moment.seconds, &moment.nonce, &package], account.private_key("private_key")?)?;
    let parameters = [
        ("appId", appid.to_owned()),
        ("timeStamp", moment.seconds.clone()),
        ("nonceStr", moment.nonce.clone()),
        ("package", package),
        ("signType", "RSA".to_owned()),
        ("paySign", signature),
    ];
    Some(parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Verifies that `body`, as it came, is WeChat Pay's own and of about now.
pub(super) fn verify(headers: &http::HeaderMap, body: &[u8], account: &Account, now: Timestamp) -> Result<(), Doubt> {
    let header = |name: &str| only(headers, name).ok_or(Doubt::Unsigned);
    let (seconds, nonce) = (header("wechatpay-timestamp")?, header("wechatpay-nonce")?);
    let (signature, serial) = (header("wechatpay-signature")?, header("wechatpay-serial")?);
    if headers.contains_key("wechatpay-signature-type") && header("wechatpay-signature-type")? != SCHEME {
        return Err(Doubt::Unsigned);
    }
    let key = platform_key(account, serial).ok_or(Doubt::Forged)?;
    let signature = Some(signature).filter(|text| text.len() <= SIGNATURE_MAX).and_then(|text| BASE64.decode(text).ok()).ok_or(Doubt::Forged)?;
    let signed = [message(&[seconds, nonce]).as_bytes(), body, b"\n"].concat();
    if !key.verifies_sha256(&signed, &signature) {
        return Err(Doubt::Forged);
    }
    let signed_at: i64 = seconds.parse().map_err(|_| Doubt::Stale)?;
    if now.as_second().abs_diff(signed_at) > TOLERANCE_S.unsigned_abs() { Err(Doubt::Stale) } else { Ok(()) }
}

/// A header that is there once; twice would leave open which of the two was signed.
fn only<'a>(headers: &'a http::HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

/// The platform key of that name; while they rotate, the account has two. Serial numbers are hexadecimal in either case.
fn platform_key<'a>(account: &'a Account, serial: &str) -> Option<&'a PublicKey> {
    [("platform_serial", "platform_key"), ("second_platform_serial", "second_platform_key")].into_iter().find_map(|(name, key)| {
        let known = account.optional_text(name)?;
        if known.eq_ignore_ascii_case(serial) { account.public_key(key) } else { None }
    })
}
