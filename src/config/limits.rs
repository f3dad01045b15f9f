//! `[limits]`: how much may be in flight in this process, and how much one merchant, channel or address may ask of it.

use super::section::Section;

const MILLION: u32 = 1_000_000;

/// `[limits]`: what may be in flight in this process (beyond it the answer is 503 with `Retry-After`, and nothing was written), and how much one
/// merchant, channel or address may ask of it (beyond it 429, and nothing was read or written).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Payments, captures and cancels; default 4096, 1 to 65,536. Too low refuses while channels are merely slow; too high lets a stall fill
    /// memory, some 20 KiB a flow.
    pub payment_flows: usize,
    /// Refunds; default 1024, 1 to 65,536. Its own, so that a rush of payments never keeps money from going back.
    pub refund_flows: usize,
    /// Queries of the poller; default 256, 1 to 4096. A channel has its part of them, a quarter at least. Too low resolves unknowns slowly; too high
    /// lets them crowd the channels' room for resolving.
    pub inquiries: usize,
    /// Reads of one merchant in this process, a second; default 2000, 1 to 1,000,000. Beyond it the answer is 429. Too low refuses merchants who
    /// behave; too high lets one of them take all connections to the database.
    pub merchant_reads_per_second: u32,
    /// How many reads may come at once; default 4000, 1 to 1,000,000. Below a merchant's own burst it refuses what the average allows.
    pub merchant_reads_burst: u32,
    /// Everything else of one merchant, which is what moves money, a second; default 1000, 1 to 1,000,000. Refused requests wrote nothing.
    pub merchant_writes_per_second: u32,
    /// How many of these may come at once; default 2000, 1 to 1,000,000.
    pub merchant_writes_burst: u32,
    /// Notifications for one channel, a second; default 1000, 1 to 1,000,000. Counted before their signature is looked at. Too low makes providers
    /// repeat them for hours; payments are then resolved by asking.
    pub notifications_per_second: u32,
    /// How many of these may come at once; default 2000, 1 to 1,000,000.
    pub notifications_burst: u32,
    /// Failures of one address, a minute, each kind for itself: keys and tokens that are not known, and for each channel notifications with a wrong
    /// signature; default 60, 1 to 1,000,000. An address that fails more often is answered 429 unseen until it may fail again. Too low shuts
    /// out an office in which one key was mistyped; too high lets guesses and forgeries cost work.
    pub failures_per_minute: u32,
    /// How many failures may come at once; default 100, 1 to 1,000,000.
    pub failures_burst: u32,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            payment_flows: 4_096,
            refund_flows: 1_024,
            inquiries: 256,
            merchant_reads_per_second: 2_000,
            merchant_reads_burst: 4_000,
            merchant_writes_per_second: 1_000,
            merchant_writes_burst: 2_000,
            notifications_per_second: 1_000,
            notifications_burst: 2_000,
            failures_per_minute: 60,
            failures_burst: 100,
        }
    }
}

impl LimitSettings {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = LimitSettings::default();
        let settings = LimitSettings {
            payment_flows: section.number("payment_flows", default.payment_flows, 1, 65_536),
            refund_flows: section.number("refund_flows", default.refund_flows, 1, 65_536),
            inquiries: section.number("inquiries", default.inquiries, 1, 4_096),
            merchant_reads_per_second: section.number("merchant_reads_per_second", default.merchant_reads_per_second, 1, MILLION),
            merchant_reads_burst: section.number("merchant_reads_burst", default.merchant_reads_burst, 1, MILLION),
            merchant_writes_per_second: section.number("merchant_writes_per_second", default.merchant_writes_per_second, 1, MILLION),
            merchant_writes_burst: section.number("merchant_writes_burst", default.merchant_writes_burst, 1, MILLION),
            notifications_per_second: section.number("notifications_per_second", default.notifications_per_second, 1, MILLION),
            notifications_burst: section.number("notifications_burst", default.notifications_burst, 1, MILLION),
            failures_per_minute: section.number("failures_per_minute", default.failures_per_minute, 1, MILLION),
            failures_burst: section.number("failures_burst", default.failures_burst, 1, MILLION),
        };
        section.end();
        settings
    }
}
