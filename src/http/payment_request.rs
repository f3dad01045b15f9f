//! The body of a create, parsed into what the domain asks for.
//!
//! Two kinds of fault are told apart. What is wrong with the *body* is refused at once. What is wrong with the body *now* (its expiry is past,
//! its channel was taken out of the settings) is an objection: a repeat of a request that was once accepted must be answered as a repeat,
//! however late it comes, so the caller looks the key up before it raises the objection.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::body::quoted;
use super::card::passes_luhn;
use super::directory::ChannelDirectory;
use super::field::{Fields, refuse_card_number};
use super::key::Merchant;
use super::problem::{Problem, ProblemCode};
use crate::domain::method::RedirectFlow;
use crate::domain::{CaptureMethod, Currency, MethodKind, PaymentMethod, PaymentRequest, Wallet};
use crate::provider::CardData;

const FIELDS: [&str; 10] =
    ["amount", "currency", "merchant_order_id", "payment_method", "capture_method", "channel", "description", "metadata", "return_url", "expires_at"];

/// Characters of an order's name, at most.
const ORDER: usize = 64;
/// Characters of a description, at most.
const DESCRIPTION: usize = 500;
/// Characters of an address to return to, at most.
const RETURN_URL: usize = 2_048;
/// How long a customer has, unless the request says otherwise.
const EXPIRES_AFTER: SignedDuration = SignedDuration::from_mins(15);
/// The longest that a request may give them.
const EXPIRES_AT_MOST: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A create, parsed.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What is asked for.
    pub request: PaymentRequest,
    /// The card, for a payment by one.
    pub card: Option<CardData>,
    /// Why it cannot be accepted now, unless it was accepted before.
    pub objection: Option<Problem>,
}

/// Parses the body of a create, at `now`. A payment may go to another channel until `deadline` after that.
///
/// # Errors
/// 400 for its form, 422 for its meaning, each with the field's name.
pub fn parse(
    body: &Map<String, Value>,
    merchant: Merchant,
    channels: &dyn ChannelDirectory,
    deadline: Duration,
    now: Timestamp,
) -> Result<Parsed, Problem> {
    let fields = Fields::of(body, &FIELDS)?;
    let currency = currency(&fields)?;
    let amount = fields.amount("amount", Some(currency))?.ok_or_else(|| fields.missing("amount"))?;
    let order = fields.visible("merchant_order_id", ORDER)?.to_owned();
    let (method, card) = method(&fields, merchant, channels, now)?;
    let capture_method = fields.one_of("capture_method", &["automatic", "manual"], CaptureMethod::parse)?.unwrap_or(CaptureMethod::Automatic);
    let description = fields.free_text("description", DESCRIPTION)?;
    let metadata = fields.metadata("metadata")?;
    let return_url = return_url(&fields)?;
    let (expires_at, late) = expires_at(&fields, now)?;
    let pinned_channel = fields.text("channel")?.map(str::to_owned);
    let nowhere = pinned_channel
        .as_deref()
        .filter(|channel| !channels.open_to(channel, merchant.id))
        .map(|channel| Problem::new(ProblemCode::UnknownChannel, format!("This installation has no channel {}.", quoted(channel))).about("channel"));
    let deadline = SignedDuration::try_from(deadline).unwrap_or(SignedDuration::from_secs(30));
    let request = PaymentRequest {
        merchant: merchant.id,
        livemode: merchant.livemode,
        order,
        amount,
        currency,
        method,
        capture_method,
        pinned_channel,
        description,
        metadata,
        return_url,
        expires_at,
        deadline_at: now.checked_add(deadline).unwrap_or(now),
    };
    Ok(Parsed { request, card, objection: late.or(nowhere) })
}

fn currency(fields: &Fields<'_>) -> Result<Currency, Problem> {
    let code = fields.required_text("currency")?;
    Currency::parse(code).ok_or_else(|| {
        let detail = "currency must be an ISO 4217 code in capitals, such as CNY, of a currency with a minor unit.";
        Problem::new(ProblemCode::UnknownCurrency, detail).about("currency")
    })
}

fn method(
    fields: &Fields<'_>,
    merchant: Merchant,
    channels: &dyn ChannelDirectory,
    now: Timestamp,
) -> Result<(PaymentMethod, Option<CardData>), Problem> {
    const KINDS: &str = "must be one of qr, barcode, redirect, card_token, card";
    let object = fields.map("payment_method")?.ok_or_else(|| fields.missing("payment_method"))?;
    let kind = match object.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        None | Some(Value::Null) => {
            return Err(Problem::new(ProblemCode::MissingField, "payment_method.type is required.").about("payment_method.type"));
        }
        Some(_) => return Err(fields.wrong("payment_method.type", KINDS)),
    };
    let known: &[&str] = match kind {
        "qr" => &["type", "wallet"],
        "barcode" => &["type", "code"],
        "redirect" => &["type", "wallet", "flow", "openid", "client_ip"],
        "card_token" => &["type", "token"],
        "card" if !channels.any_takes(MethodKind::Card, merchant.id, merchant.livemode) => {
            let detail = "No bank channel in this installation takes card numbers: send the token that your card form made, as card_token.";
            return Err(Problem::new(ProblemCode::UnsupportedPaymentMethod, detail).about("payment_method.type"));
        }
        "card" => &["type", "number", "exp_month", "exp_year", "cvc", "holder"],
        _ => return Err(fields.wrong("payment_method.type", KINDS)),
    };
    let Some(method) = fields.object("payment_method", known)? else { return Err(fields.missing("payment_method")) };
    let method = match kind {
        "card" => return card(&method, now),
        "qr" => PaymentMethod::Qr { wallet: wallet(&method)? },
        "barcode" => PaymentMethod::Barcode { code: barcode(&method)? },
        "redirect" => PaymentMethod::Redirect {
            wallet: wallet(&method)?,
            flow: flow(&method)?,
            openid: optional_name(&method, "openid", 128)?,
            client_ip: client_ip(&method)?,
        },
        _ => PaymentMethod::CardToken { token: token(&method)? },
    };
    Ok((method, None))
}

/// A card: what a row keeps, and what only this payment's flow may hold. No refusal repeats a digit of it.
fn card(method: &Fields<'_>, now: Timestamp) -> Result<(PaymentMethod, Option<CardData>), Problem> {
    let number = method.required_text("number")?;
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || !(12..=19).contains(&number.len()) || !passes_luhn(number.bytes().map(|byte| byte - b'0')) {
        return Err(method.wrong("number", "must be a card number: 12 to 19 digits without blanks, whose last is their check digit"));
    }
    let exp_month = whole(method, "exp_month", 1, 12)?;
    let exp_year = whole(method, "exp_year", 2_000, 2_099)?;
    // The card is good until the last day of its month, wherever on earth that day ends last.
    let ended = jiff::civil::date(exp_year, i8::try_from(exp_month).unwrap_or(12), 1)
        .last_of_month()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .is_ok_and(|last| now.duration_since(last.timestamp()) > SignedDuration::from_hours(48));
    if ended {
        let name = method.name("exp_year");
        return Err(Problem::new(ProblemCode::InvalidExpiry, format!("{name} is past: the card has expired.")).about(name));
    }
    let security_code = match method.text("cvc")? {
        None => None,
        Some(code) if (3..=4).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_digit()) => Some(SecretString::from(code)),
        Some(_) => return Err(method.wrong("cvc", "must be the 3 or 4 digits of the security code")),
    };
    let holder = method.free_text("holder", 45)?;
    let (exp_month, exp_year) = (u8::try_from(exp_month).unwrap_or(12), u16::try_from(exp_year).unwrap_or(2_000));
    let (first_six, last_four) = (number[..6].to_owned(), number[number.len() - 4..].to_owned());
    let kept = PaymentMethod::Card { first_six, last_four, exp_month, exp_year, holder: holder.clone() };
    Ok((kept, Some(CardData { number: SecretString::from(number), exp_month, exp_year, holder, security_code })))
}

/// A whole number within bounds, required.
fn whole(method: &Fields<'_>, field: &str, low: i16, high: i16) -> Result<i16, Problem> {
    let Some(value) = method.value(field) else { return Err(method.missing(field)) };
    let number = value.as_i64().and_then(|number| i16::try_from(number).ok()).filter(|number| (low..=high).contains(number));
    number.ok_or_else(|| method.wrong(field, &format!("must be a whole number from {low} to {high}")))
}

fn wallet(method: &Fields<'_>) -> Result<Option<Wallet>, Problem> {
    method.one_of("wallet", &["alipay", "wechatpay", "unionpay"], |name| match name {
        "alipay" => Some(Wallet::Alipay),
        "wechatpay" => Some(Wallet::Wechatpay),
        "unionpay" => Some(Wallet::Unionpay),
        _ => None,
    })
}

fn flow(method: &Fields<'_>) -> Result<RedirectFlow, Problem> {
    let flow = method.one_of("flow", &["page", "h5", "jsapi", "app"], |name| match name {
        "page" => Some(RedirectFlow::Page),
        "h5" => Some(RedirectFlow::H5),
        "jsapi" => Some(RedirectFlow::Jsapi),
        "app" => Some(RedirectFlow::App),
        _ => None,
    })?;
    flow.ok_or_else(|| method.missing("flow"))
}

/// Wallets' payment codes have 16 to 24 digits.
fn barcode(method: &Fields<'_>) -> Result<String, Problem> {
    let code = method.required_text("code")?;
    let fits = (16..=24).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_digit());
    if fits { Ok(code.to_owned()) } else { Err(method.wrong("code", "must be the 16 to 24 digits of the customer's payment code")) }
}

/// A token is stored in clear: digits that could be a card number are refused, whatever the field is called.
fn token(method: &Fields<'_>) -> Result<String, Problem> {
    let token = method.visible("token", 255)?;
    let fits = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let digits = token.bytes().filter(u8::is_ascii_digit).count();
    if !fits || digits == token.len() {
        return Err(method.wrong("token", "must be a token such as pm_1Abc, not a card number"));
    }
    refuse_card_number(token, method.name("token"))?;
    Ok(token.to_owned())
}

fn optional_name(method: &Fields<'_>, field: &str, longest: usize) -> Result<Option<String>, Problem> {
    method.value(field).map(|_| method.visible(field, longest).map(str::to_owned)).transpose()
}

fn client_ip(method: &Fields<'_>) -> Result<Option<String>, Problem> {
    let Some(text) = method.text("client_ip")? else { return Ok(None) };
    let address: std::net::IpAddr = text.parse().map_err(|_| method.wrong("client_ip", "must be an IPv4 or IPv6 address"))?;
    Ok(Some(address.to_string()))
}

fn return_url(fields: &Fields<'_>) -> Result<Option<String>, Problem> {
    let Some(text) = fields.text("return_url")? else { return Ok(None) };
    let wrong = || fields.wrong("return_url", &format!("must be an http or https URL of at most {RETURN_URL} characters"));
    let plain = text.len() <= RETURN_URL && text.bytes().all(|byte| byte.is_ascii_graphic());
    let uri: http::Uri = if plain { text.split('#').next().unwrap_or(text).parse().map_err(|_| wrong())? } else { return Err(wrong()) };
    let addressed = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
    if addressed { Ok(Some(text.to_owned())) } else { Err(wrong()) }
}

/// The expiry, and the objection that it is past.
fn expires_at(fields: &Fields<'_>, now: Timestamp) -> Result<(Timestamp, Option<Problem>), Problem> {
    let Some(text) = fields.text("expires_at")? else { return Ok((now.checked_add(EXPIRES_AFTER).unwrap_or(now), None)) };
    let given: Timestamp =
        text.parse().map_err(|_| fields.wrong("expires_at", "must be an RFC 3339 time with its offset, such as 2026-11-21T23:01:14Z"))?;
    // Rows keep microseconds.
    let given = Timestamp::from_microsecond(given.as_microsecond()).unwrap_or(given);
    let refused = |detail: &'static str| Problem::new(ProblemCode::InvalidExpiry, detail).about("expires_at");
    if given.duration_since(now) > EXPIRES_AT_MOST {
        return Err(refused("expires_at is more than 7 days away."));
    }
    Ok((given, (given <= now).then(|| refused("expires_at is past."))))
}

#[cfg(test)]
mod tests;
