//! The words of each condition: one place, so that every alert reads alike and none is without what to do next.

use std::time::Duration;

use jiff::Timestamp;

use super::condition::{Condition, Override};
use super::story::{Story, lasted};
use crate::domain::Money;

/// Sums that a headline has room for: a text message is its headline.
const SUMS_IN_HEADLINE: usize = 2;

impl Condition {
    /// Its words.
    pub fn story(&self) -> Story {
        match self {
            Self::BreakerOpened { channel, reason, calls, failures, others } => breaker_opened(channel, reason, *calls, *failures, others),
            Self::QueriesPaced { channel, reason } => Story {
                headline: format!("{channel}: it does not answer queries"),
                impact: vec![format!("What is in doubt at {channel} is settled late; captures, releases and cancels there wait, too.")],
                cause: vec![format!("The breaker of queries opened: {reason}.")],
                done: vec!["A few queries a round are still sent, and all that is in doubt is asked after at once when one is answered.".to_owned()],
                next: vec![
                    "See how it stands, with the next probe: GET /ops/v1/channels".to_owned(),
                    "See what is in doubt: GET /ops/v1/unknowns".to_owned(),
                ],
            },
            Self::ChannelRestarted { channel, generation } => Story {
                headline: format!("{channel}: its worker was lost and replaced"),
                impact: vec!["Calls that were under way on it may have ended unknown; each is on disk and is being asked after.".to_owned()],
                cause: vec![format!("A panic or a freeze in the channel's own code; it is worker number {generation} of this process now.")],
                done: vec!["A new worker with new connections took over; other channels were not touched.".to_owned()],
                next: vec![
                    format!("Find the reason in the log: an error line with channel={channel} just before {channel}'s actor was lost."),
                    "See that nothing stays in doubt: GET /ops/v1/unknowns".to_owned(),
                ],
            },
            Self::UnknownOld { age, channels, at_risk } => unknown_old(*age, channels, at_risk),
            Self::PollerStalled { silent } => Story {
                headline: format!("nobody has looked for due attempts for {}", lasted(*silent)),
                impact: vec![
                    "Payments in doubt stay in doubt, queued refunds wait, holds are not released in time. New payments are taken as usual."
                        .to_owned(),
                ],
                cause: vec![format!("The last sweep that succeeded ended {} ago.", lasted(*silent))],
                done: vec!["Nothing by itself: a watch outside the poller saw it. Another process's poller takes over what is due.".to_owned()],
                next: vec![
                    "See whether the database answers: GET /readyz".to_owned(),
                    "Find the reason in the log: lines that begin with \"a sweep of the poller\".".to_owned(),
                    "Restart this process: what is in flight is on disk and goes on.".to_owned(),
                ],
            },
            Self::AttemptsSetAside { attempts } => Story {
                headline: format!("{attempts} attempts are set aside: looking at them fails"),
                impact: vec!["What became of their money is not asked after any more; all others are.".to_owned()],
                cause: vec![
                    "A fault of ours, five times in a row: a row that cannot be read, a change that the database refuses, a panic.".to_owned(),
                ],
                done: vec!["They were taken out of the poller's batches, so that they hold up nothing else.".to_owned()],
                next: vec![
                    "See which they are, by set_aside_at: GET /ops/v1/unknowns".to_owned(),
                    "Find the reason in the log: \"a look at a due attempt failed\", with the payment's id.".to_owned(),
                    "When it is mended, have them asked after again: POST /ops/v1/unknowns/requery".to_owned(),
                ],
            },
            Self::NotificationsSetAside { channel, messages } => Story {
                headline: format!("{channel}: {} set aside, and not applied", counted(*messages, "notification is", "notifications are")),
                impact: vec![
                    "What they tell of payments that we ask after is learned by asking. Refunds and disputes that happened at the channel by \
                     themselves are told of by nothing else."
                        .to_owned(),
                ],
                cause: vec![
                    "A fault of ours, five times: a message or a row that cannot be read, a change that the database refuses, a panic.".to_owned(),
                    "Or the channel is not in the settings any more, and they have waited for two hours.".to_owned(),
                    "Or a message cannot be read with the keys of today, or the channel, asked for an hour, does not say how much it gave back."
                        .to_owned(),
                ],
                done: vec!["They were quarantined as they came, so that they hold up no others.".to_owned()],
                next: vec![
                    format!("See which they are, by their note: GET /ops/v1/notifications?state=quarantined&channel={channel}"),
                    "Find the reason of a fault in the log: \"a notification could not be applied yet\", with the event's id.".to_owned(),
                    format!("When it is mended, or {channel} answers, have them applied: breakwater notifications retry --channel {channel}"),
                ],
            },
            Self::MoneyMoved { channel, refunds, returned, opened, closed } => money_moved(channel, [*refunds, *returned, *opened, *closed]),
            Self::MoneyDoesNotFit { channel, messages } => Story {
                headline: format!("{channel}: {} not fit our books", counted(*messages, "message about money does", "messages about money do")),
                impact: vec!["Money may have moved that no payment here shows; its merchant was told nothing.".to_owned()],
                cause: vec![
                    "A refund or dispute that happened at the channel by itself, and is more than its payment has, or in another currency."
                        .to_owned(),
                    "Or word of a payment in another amount or currency than was asked for, or against what is known of it.".to_owned(),
                    "Or word of a refund that the channel, asked about it, does not have.".to_owned(),
                ],
                done: vec![
                    "A message is kept as it came; nothing was booked.".to_owned(),
                    "Money that was taken in another amount is on its way back.".to_owned(),
                ],
                next: vec![
                    "See what it says: GET /ops/v1/notifications?state=quarantined".to_owned(),
                    format!("Compare the payment with {channel}'s own back office, and see that our books hold: GET /ops/v1/integrity"),
                ],
            },
            Self::NotifierStalled { silent } => Story {
                headline: format!("no webhook has been sent for {}", lasted(*silent)),
                impact: vec![
                    "No merchant is told of anything by this process; payments are not affected, and reading them tells the truth.".to_owned(),
                ],
                cause: vec![format!("The notifier's last round that succeeded ended {} ago.", lasted(*silent))],
                done: vec!["Nothing by itself: a watch outside the notifier saw it. Another process's notifier delivers everything.".to_owned()],
                next: vec![
                    "See whether the database answers: GET /readyz".to_owned(),
                    "Find the reason in the log: lines that begin with \"a round of the notifier\".".to_owned(),
                    "Restart this process: what waits is on disk, in order, and is delivered.".to_owned(),
                ],
            },
            Self::OverrideHolds { channel, held } => override_holds(channel, held),
            Self::WebhooksUndelivered { age, waiting, endpoints } => Story {
                headline: format!("webhooks have waited for {}", lasted(*age)),
                impact: vec![format!("{waiting} webhooks to {endpoints} endpoints are not delivered; payments are not affected.")],
                cause: vec![format!("The oldest has waited for {}: its endpoint does not answer with success.", lasted(*age))],
                done: vec!["They are kept in order and tried again; other endpoints are not held up.".to_owned()],
                next: vec![
                    "See which endpoint it is, and what it answered, in the delivery log.".to_owned(),
                    "Tell the merchant; when it answers again everything is delivered by itself.".to_owned(),
                ],
            },
        }
    }
}

fn breaker_opened(channel: &str, reason: &str, calls: u64, failures: u64, others: &[String]) -> Story {
    let share = (failures * 100).checked_div(calls).map_or_else(String::new, |percent| format!("{percent} % technical failures, "));
    let (headline, impact, done) = match others {
        [] => (
            format!("{channel}: {share}no channel left for its payments"),
            "New payments are refused: no other channel takes them.".to_owned(),
            "New charges are kept away from it; there is nowhere to send them. It is probed again by itself.".to_owned(),
        ),
        [first, ..] => (
            format!("{channel}: {share}traffic moved to {first}"),
            format!("New payments go to {} instead. Payments that only {channel} can take are refused.", others.join(", ")),
            format!("New charges are kept away from {channel}; it is probed again by itself and taken back when the probes succeed."),
        ),
    };
    Story {
        headline,
        impact: vec![impact],
        cause: vec![format!("Its breaker opened: {reason}. {failures} of the last {calls} calls failed.")],
        done: vec![done, "Attempts whose outcome is unknown are being asked after; none of them is sent to another channel.".to_owned()],
        next: vec![
            "See how it stands, with the breaker's reason and next probe: GET /ops/v1/channels".to_owned(),
            format!("Look at the provider's status page, and call them if {channel} is not listed there."),
            "See what is in doubt: GET /ops/v1/unknowns".to_owned(),
        ],
    }
}

fn money_moved(channel: &str, [refunds, returned, opened, closed]: [u64; 4]) -> Story {
    let parts = [
        (refunds, "refund was made there", "refunds were made there"),
        (returned, "refund came back", "refunds came back"),
        (opened, "dispute was opened", "disputes were opened"),
        (closed, "dispute was decided", "disputes were decided"),
    ];
    let seen: Vec<String> = parts.iter().filter(|(count, ..)| *count > 0).map(|&(count, one, many)| counted(count, one, many)).collect();
    let mut next = vec!["See which, by source or type: GET /ops/v1/notifications, and the payment's events".to_owned()];
    if opened > 0 {
        next.push("A dispute has a date until which the provider takes evidence: answer it in the provider's own pages.".to_owned());
    }
    if returned > 0 {
        next.push("A payer whose refund came back has to be given the money another way: tell the merchant.".to_owned());
    }
    Story {
        headline: format!("{channel}: {}", seen.join(", ")),
        impact: vec!["What may still be refunded of these payments has changed; no other payment is affected.".to_owned()],
        cause: vec!["It happened without us: on the channel's own pages, or at a payer's bank.".to_owned()],
        done: vec!["It was booked with its payment, and the merchant's endpoints are told.".to_owned()],
        next,
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn override_holds(channel: &str, held: &[Override]) -> Story {
    let modes: Vec<String> = held.iter().map(|held| format!("{} {}", held.operation, held.mode)).collect();
    let last = held.iter().map(|held| held.until).max().map_or_else(String::new, |until| format!(" until {}", told_time(until)));
    Story {
        headline: format!("{channel}: an operator's override holds: {}", modes.join(", ")),
        impact: held.iter().map(|held| format!("{}: {}", held.operation, does(held.mode, channel))).collect(),
        cause: held
            .iter()
            .map(|held| {
                format!("{} put {} for {} until {}: {}", held.author, held.mode, held.operation, told_time(held.until), one_line(&held.reason))
            })
            .collect(),
        done: vec![format!("Every process obeys it{last}; then it ends by itself, and the breaker probes before it closes.")],
        next: vec![
            "See what stands: GET /ops/v1/overrides".to_owned(),
            format!("End it sooner: breakwater channels on {channel}, or DELETE /ops/v1/channels/{channel}/override"),
        ],
    }
}

fn does(mode: &str, channel: &str) -> String {
    match mode {
        "forced_closed" => format!("{channel} gets every call, however it fails."),
        "drain" => format!("{channel} gets no new call; what is under way ends."),
        _ => format!("{channel} gets no call."),
    }
}

fn told_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// What a person wrote, in a line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn unknown_old(age: Duration, channels: &[(String, i64)], at_risk: &[Money]) -> Story {
    let total: i64 = channels.iter().map(|(_, count)| count).sum();
    let list: Vec<String> = channels.iter().map(|(channel, count)| format!("{channel} {count}")).collect();
    let mut impact = vec![format!("{total} customers or merchants do not know whether money moved: {}.", list.join(", "))];
    let sums: Vec<String> = at_risk.iter().map(|money| money.in_words()).collect();
    if !sums.is_empty() {
        impact.push(format!("{} at risk.", enumerated(&sums)));
    }
    let in_short = match sums.len() {
        0 => String::new(),
        1..=SUMS_IN_HEADLINE => format!(": {} at risk", enumerated(&sums)),
        many => format!(": money in {many} currencies at risk"),
    };
    Story {
        headline: format!("{} unknown, the oldest for {}{in_short}", counted(total.unsigned_abs(), "outcome", "outcomes"), lasted(age)),
        impact,
        cause: vec!["The channel does not answer queries about them, or answers that they are still under way.".to_owned()],
        done: vec!["Each is asked after again and again, at growing intervals; none is charged again elsewhere.".to_owned()],
        next: vec![
            "See which channel and operation they are: GET /ops/v1/unknowns".to_owned(),
            "Look up the oldest in the provider's own back office, by the attempt's key.".to_owned(),
        ],
    }
}

/// One after the other, as in a sentence.
fn enumerated(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::condition::Severity;
    use super::super::story::{Links, Told};
    use super::*;
    use crate::domain::Currency;

    #[test]
    fn what_stays_unknown_is_told_with_the_money_at_risk_in_each_currency() {
        let money = |amount, code| Money { amount, currency: Currency::parse(code).expect("a currency") };
        let story = |count, at_risk: &[Money]| {
            let channels = vec![("stripe_main".to_owned(), count)];
            Condition::UnknownOld { age: Duration::from_secs(960), channels, at_risk: at_risk.to_vec() }.story()
        };
        let two = story(3, &[money(1_250, "CNY"), money(3_000, "JPY")]);
        let told = Told {
            id: uuid::Uuid::nil(),
            kind: super::super::AlertKind::UnknownOld,
            severity: Severity::Page,
            story: &two,
            raised_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
        };
        let mail = told.firing(&Links::default(), Timestamp::UNIX_EPOCH, false);
        assert_eq!(mail.subject, "[PAGE] 3 outcomes unknown, the oldest for 16 min: 12.50 CNY and 3,000 JPY at risk (#0000)");
        assert!(mail.body.contains("\n  12.50 CNY and 3,000 JPY at risk.\n"), "{}", mail.body);
        assert_eq!(told.sms(), "#0000 3 outcomes unknown, the oldest for 16 min: 12.50 CNY and 3,000 JPY at risk");

        assert_eq!(story(1, &[money(5, "CNY")]).headline, "1 outcome unknown, the oldest for 16 min: 0.05 CNY at risk");
        let three = story(3, &[money(1, "CNY"), money(2, "JPY"), money(3, "KWD")]);
        assert_eq!(three.headline, "3 outcomes unknown, the oldest for 16 min: money in 3 currencies at risk");
        assert_eq!(three.impact[1], "0.01 CNY, 2 JPY and 0.003 KWD at risk.");
    }

    #[test]
    fn money_that_moved_by_itself_is_told_in_words_with_what_to_do_about_it() {
        let moved = |refunds, returned, opened| Condition::MoneyMoved { channel: "stripe_main".to_owned(), refunds, returned, opened, closed: 0 };
        assert_eq!(moved(0, 1, 0).story().headline, "stripe_main: 1 refund came back");
        assert_eq!(moved(2, 0, 1).story().headline, "stripe_main: 2 refunds were made there, 1 dispute was opened");
        assert!(moved(0, 0, 1).story().next.iter().any(|step| step.contains("evidence")));
        let odd = Condition::MoneyDoesNotFit { channel: "stripe_main".to_owned(), messages: 1 };
        assert_eq!(odd.story().headline, "stripe_main: 1 message about money does not fit our books");
        assert_eq!((odd.channel(), odd.kind().severity()), ("stripe_main", Severity::Page));
        let poison = |messages| Condition::NotificationsSetAside { channel: "stripe_main".to_owned(), messages };
        assert_eq!(poison(1).story().headline, "stripe_main: 1 notification is set aside, and not applied");
        assert_eq!(poison(2).story().headline, "stripe_main: 2 notifications are set aside, and not applied");
        assert_eq!((poison(2).channel(), poison(2).kind().severity()), ("stripe_main", Severity::Page));
    }

    #[test]
    fn an_override_is_told_with_who_why_and_until_when() {
        let held = Override {
            operation: "pay",
            mode: "forced_open",
            author: "operator:ada".to_owned(),
            reason: "the bank\nsays so".to_owned(),
            until: Timestamp::UNIX_EPOCH,
        };
        let story = Condition::OverrideHolds { channel: "bank_a".to_owned(), held: vec![held] }.story();
        assert_eq!(story.headline, "bank_a: an operator's override holds: pay forced_open");
        assert_eq!(story.cause, ["operator:ada put forced_open for pay until 1970-01-01 00:00:00 UTC: the bank says so"]);
        assert_eq!(story.impact, ["pay: bank_a gets no call."]);
    }

    #[test]
    fn an_open_breaker_says_where_the_traffic_went_or_that_it_went_nowhere() {
        let opened = |others: &[&str]| Condition::BreakerOpened {
            channel: "alipay_main".to_owned(),
            reason: "failures",
            calls: 39,
            failures: 16,
            others: others.iter().map(|&other| other.to_owned()).collect(),
        };
        assert_eq!(opened(&["wechat_main"]).story().headline, "alipay_main: 41 % technical failures, traffic moved to wechat_main");
        assert!(opened(&[]).story().impact[0].contains("refused"));
    }
}
