//! Floor 2: alerts. What somebody must know of now, told by mail and by text message, without anything but the database and the other side's
//! server: it must work where there is no Prometheus.
//!
//! Whoever sees a condition says so ([`Raise`], through a [`Bell`]), again and again while it lasts, and says when it is over ([`Resolve`]). From
//! there on:
//!
//! * one open alert for each kind and channel, however many processes see it and however often; it has ended when nobody has seen it for a
//!   while, so that a breaker that opens, probes and opens again is one alert and not ten;
//! * one process at a time decides (a lease in the database), and writes what is to be sent in the same transaction as its decision; it is sent
//!   from there, with retries, every send under a timeout of its own;
//! * a mail at once, at most one in 30 s about a kind and channel, again every 4 h while it lasts; a text message when nobody has
//!   acknowledged within 5 min, or sooner when mails do not get through; RESOLVED in the same thread with how long it lasted;
//! * many at once are one digest; what was not sent by itself is counted, with the reason.
//!
//! ```text
//! condition.rs  what may be wrong, with its figures: Condition, AlertKind
//! story.rs      the words: subject, body in their fixed order, one part of a text message
//! plan.rs       the timing and the grouping, pure: what is to be done now, with time passed in
//! alerter.rs    the Alerter actor, its messages, and the Bell that the floors above hold
//! round.rs      one round of it: note, decide, send
//! mail.rs       a message, and the SMTP dialogue that hands it over
//! sms/          one part of text; Twilio's and Alibaba Cloud's requests and answers, pure
//! ```
//!
//! What it does not do yet: alert while the database is away for longer than the process lives (conditions wait in memory, bounded, and are
//! told when it is back), rotas, and updates in mail between the first and the repeats.

pub mod alerter;
pub mod condition;
pub mod mail;
pub mod plan;
mod round;
pub mod sms;
pub mod story;
mod telling;

pub use self::alerter::{Acknowledge, Alerter, AlerterSettings, Bell, Raise, Resolve};
pub use self::condition::{AlertKind, Condition, Override, Severity};
pub use self::mail::{MailSettings, Security};
pub use self::plan::Rules;
pub use self::sms::{SmsProvider, SmsSettings};
