//! The channels, as this floor may know them: whoever wires the process implements [`ChannelDirectory`] over its actors, breakers and settings.

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::domain::{MethodKind, OperationClass, Wallet};

/// What answers questions about this installation's channels. Called on every create, so it must not wait.
pub trait ChannelDirectory: Send + Sync {
    /// Every channel as it now stands, in the order of the settings.
    fn channels(&self) -> Vec<ChannelView>;
    /// Whether there is a channel of that id.
    fn known(&self, id: &str) -> bool;
    /// Whether there is a channel of that id that this merchant's payments may go through. To them, a channel of others is not there.
    fn open_to(&self, id: &str, merchant: Uuid) -> bool;
    /// Whether any channel that this merchant's payments may go through takes this kind of payment.
    fn any_takes(&self, method: MethodKind, merchant: Uuid, livemode: bool) -> bool;
}

/// One channel.
#[derive(Clone, Debug, Serialize)]
pub struct ChannelView {
    /// Its id in the settings.
    pub id: String,
    /// The protocol it speaks.
    pub provider: &'static str,
    /// `live` when real money moves, else `test`.
    #[serde(rename = "mode", serialize_with = "mode")]
    pub livemode: bool,
    /// How its customers can pay.
    pub methods: Vec<MethodKind>,
    /// Whose codes and pages it has.
    pub wallets: Vec<Wallet>,
    /// ISO 4217 codes that its account takes; empty for any.
    pub currencies: Vec<String>,
    /// How its actor is.
    pub health: ChannelHealth,
    /// How its three guards stand, by class of operation.
    #[serde(serialize_with = "by_class")]
    pub breaker: Vec<BreakerView>,
    /// The operator's override that holds now, if there is one; that of pay, where several classes have one.
    pub r#override: Option<OverrideView>,
}

/// How a channel's actor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelHealth {
    /// It answers its supervisor.
    Up,
    /// It is being rebuilt.
    Restarting,
    /// It does not answer.
    Down,
}

/// How one class of operations stands at a channel.
#[derive(Clone, Debug, Serialize)]
pub struct BreakerView {
    /// Whose.
    #[serde(skip)]
    pub class: OperationClass,
    /// `closed`, `open`, `half_open`, `forced_open`, `forced_closed`.
    pub state: &'static str,
    /// What brought it there; none before its first transition.
    pub reason: Option<&'static str>,
    /// Until a call may pass by time alone, in milliseconds; none when an operator shut it.
    pub retry_after_ms: Option<u64>,
    /// Calls in its window.
    pub calls: u64,
    /// Failures in its window.
    pub failures: u64,
    /// Calls in flight.
    pub in_flight: u32,
    /// Calls that this process may have in flight at the channel now, all classes together.
    pub limit: u32,
    /// Calls of this class that may be: it adapts to how the channel answers.
    pub class_limit: u32,
    /// Calls of this class that this process may make in a second, its part of the channel's contract; none for as many as one likes.
    pub rate_per_second: Option<u32>,
}

/// An operator's override that holds now. All that stand, planned ones too, are at `/ops/v1/overrides`.
#[derive(Clone, Debug, Serialize)]
pub struct OverrideView {
    /// Its id.
    pub id: String,
    /// The class of operations that it is about: `pay`, `resolve` or `refund`.
    pub operation: &'static str,
    /// `forced_open`, `forced_closed` or `drain`.
    pub mode: &'static str,
    /// Who put it.
    pub author: String,
    /// Why, in the operator's words.
    pub reason: String,
    /// When it ends by itself; what recurs, for this time.
    #[serde(serialize_with = "super::render::time")]
    pub expires_at: Timestamp,
    /// The window, where it recurs.
    pub recurs: Option<String>,
}

fn mode<S: Serializer>(livemode: &bool, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(if *livemode { "live" } else { "test" })
}

fn by_class<S: Serializer>(breakers: &[BreakerView], out: S) -> Result<S::Ok, S::Error> {
    out.collect_map(breakers.iter().map(|breaker| (breaker.class.as_str(), breaker)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_shown_with_its_guards_by_class() {
        let view = ChannelView {
            id: "stripe_main".to_owned(),
            provider: "stripe",
            livemode: false,
            methods: vec![MethodKind::CardToken],
            wallets: vec![],
            currencies: vec!["USD".to_owned()],
            health: ChannelHealth::Up,
            breaker: vec![BreakerView {
                class: OperationClass::Pay,
                state: "open",
                reason: Some("consecutive"),
                retry_after_ms: Some(1500),
                calls: 12,
                failures: 5,
                in_flight: 0,
                limit: 20,
                class_limit: 14,
                rate_per_second: Some(70),
            }],
            r#override: None,
        };
        insta::assert_snapshot!(serde_json::to_string(&view).expect("JSON"), @r#"{"id":"stripe_main","provider":"stripe","mode":"test","methods":["card_token"],"wallets":[],"currencies":["USD"],"health":"up","breaker":{"pay":{"state":"open","reason":"consecutive","retry_after_ms":1500,"calls":12,"failures":5,"in_flight":0,"limit":20,"class_limit":14,"rate_per_second":70}},"override":null}"#);
    }
}
