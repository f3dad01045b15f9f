//! The words of an alert, in the order in which a tired person needs them: impact now, cause with evidence, what was done by itself, what to do
//! next (numbered), links, how to silence.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::condition::{AlertKind, Severity};
use super::sms::one_part;

/// What there is to say about a condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    /// One line: the channel, the figure, what follows from it.
    pub headline: String,
    /// What customers and merchants feel now.
    pub impact: Vec<String>,
    /// Why, with evidence.
    pub cause: Vec<String>,
    /// What was done by itself.
    pub done: Vec<String>,
    /// What to do next, in order.
    pub next: Vec<String>,
}

/// Where a mail may point to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Where operators reach `/ops`, without a slash at the end.
    pub console_url: Option<String>,
    /// The runbook; an alert's kind is an anchor in it.
    pub runbook_url: Option<String>,
}

/// An alert, as its texts need it.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// Its id.
    pub id: Uuid,
    /// Its kind.
    pub kind: AlertKind,
    /// How soon somebody must look.
    pub severity: Severity,
    /// Its words.
    pub story: &'a Story,
    /// When it was first seen.
    pub raised_at: Timestamp,
    /// When it was last seen, once it has ended.
    pub ended_at: Option<Timestamp>,
}

/// A mail's subject and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The subject: one line.
    pub subject: String,
    /// The body, lines ended by `\n`.
    pub body: String,
}

impl Told<'_> {
    /// The last four digits of the id: what people call it by.
    fn tag(&self) -> String {
        let id = self.id.simple().to_string();
        format!("#{}", &id[id.len() - 4..])
    }

    /// How long it lasted, or has lasted until `now`.
    fn duration(&self, now: Timestamp) -> Duration {
        Duration::try_from(self.ended_at.unwrap_or(now).duration_since(self.raised_at)).unwrap_or_default()
    }

    /// The first mail about it, or a repeat of it.
    pub fn firing(&self, links: &Links, now: Timestamp, repeat: bool) -> Text {
        let level = if self.severity == Severity::Page { "PAGE" } else { "TICKET" };
        let still = if repeat { format!(" (still, after {})", lasted(self.duration(now))) } else { String::new() };
        Text { subject: format!("[{level}] {}{still} ({})", self.story.headline, self.tag()), body: self.body(links) }
    }

    /// The mail that says that it is over.
    pub fn resolved(&self, links: &Links, now: Timestamp) -> Text {
        let duration = lasted(self.duration(now));
        let mut body =
            format!("It is over: not seen any more. It lasted {duration}, from {} to {}.\n\n", at(self.raised_at), at(self.ended_at.unwrap_or(now)));
        body.push_str(&self.body(links));
        Text { subject: format!("[RESOLVED] {} after {duration} ({})", self.story.headline, self.tag()), body }
    }

    /// One part of a text message.
    pub fn sms(&self) -> String {
        one_part(&format!("{} {}", self.tag(), self.story.headline))
    }

    fn body(&self, links: &Links) -> String {
        let Story { impact, cause, done, next, .. } = self.story;
        let mut text = String::new();
        for (title, lines) in [("IMPACT NOW", impact), ("CAUSE", cause), ("DONE BY ITSELF", done)] {
            text.push_str(title);
            text.push('\n');
            for line in lines {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "  {line}");
            }
            text.push('\n');
        }
        text.push_str("WHAT TO DO NEXT\n");
        for (number, line) in (1..).zip(next) {
            let _ = writeln!(text, "  {number}. {line}");
        }
        text.push_str("\nLINKS\n");
        let console = links.console_url.as_deref().unwrap_or("");
        let _ = writeln!(text, "  Alerts: GET {console}/ops/v1/alerts");
        if let Some(runbook) = &links.runbook_url {
            let _ = writeln!(text, "  Runbook: {runbook}#{}", self.kind.as_str());
        }
        let _ = writeln!(
            text,
            "\nHOW TO SILENCE\n  POST {console}/ops/v1/alerts/{}/acknowledge with an operator's token: no text message is sent then.",
            self.id
        );
        let _ = writeln!(
            text,
            "  It is mailed again every few hours while it lasts, and once when it is over.\n\nFirst seen {} ({}).",
            at(self.raised_at),
            self.tag()
        );
        text
    }
}

/// Many at once, as one mail.
pub fn digest(alerts: &[Told<'_>], links: &Links, now: Timestamp) -> Text {
    let firing = alerts.iter().filter(|alert| alert.ended_at.is_none()).count();
    let over = alerts.len() - firing;
    let level = if alerts.iter().any(|alert| alert.ended_at.is_none() && alert.severity == Severity::Page) { "PAGE" } else { "TICKET" };
    let level = if firing == 0 { "RESOLVED" } else { level };
    let mut body = format!("Many alerts at once; this mail tells of all of them.\n\nIMPACT NOW\n  {firing} are firing, {over} are over.\n\n");
    for alert in alerts {
        let state = if alert.ended_at.is_some() { "over, lasted" } else { "firing for" };
        let _ = writeln!(body, "  {} {} ({state} {})", alert.tag(), alert.story.headline, lasted(alert.duration(now)));
    }
    let console = links.console_url.as_deref().unwrap_or("");
    let _ = writeln!(
        body,
        "\nWHAT TO DO NEXT\n  1. See all of them with their words: GET {console}/ops/v1/alerts\n  2. Look for what they have in common: the network, the database, one provider."
    );
    let _ = writeln!(body, "\nHOW TO SILENCE\n  POST {console}/ops/v1/alerts/ID/acknowledge, for each.");
    Text { subject: format!("[{level}] {} alerts at once: {firing} firing, {over} over", alerts.len()), body }
}

/// Many at once, as one part of a text message.
pub fn sms_digest(alerts: &[Told<'_>]) -> String {
    let first = alerts.first().map_or("", |alert| alert.story.headline.as_str());
    one_part(&format!("{} alerts firing: {first}", alerts.len()))
}

/// A duration for people: its two largest units.
pub fn lasted(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) if minutes < 10 && !seconds.is_multiple_of(60) => format!("{minutes} min {} s", seconds % 60),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, 0) => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, 0, _) => format!("{days} d"),
        _ => format!("{days} d {hours} h"),
    }
}

fn at(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::condition::Condition;

    fn told(story: &Story) -> Told<'_> {
        Told {
            id: "01890000-0000-7000-8000-00000000a1f3".parse().expect("an id"),
            kind: AlertKind::BreakerOpened,
            severity: Severity::Page,
            story,
            raised_at: "2026-11-20T03:00:00Z".parse().expect("a time"),
            ended_at: None,
        }
    }

    fn story() -> Story {
        let others = vec!["wechat_main".to_owned()];
        Condition::BreakerOpened { channel: "alipay_main".to_owned(), reason: "failures", calls: 39, failures: 16, others }.story()
    }

    #[test]
    fn a_mails_body_has_its_parts_in_their_order() {
        let story = story();
        let links = Links { console_url: Some("https://ops.example".to_owned()), runbook_url: Some("https://runbook.example/".to_owned()) };
        let text = told(&story).firing(&links, told(&story).raised_at, false);
        assert_eq!(text.subject, "[PAGE] alipay_main: 41 % technical failures, traffic moved to wechat_main (#a1f3)");
        let parts = [
            "IMPACT NOW",
            "CAUSE",
            "DONE BY ITSELF",
            "WHAT TO DO NEXT",
            "  1. ",
            "  2. ",
            "LINKS",
            "HOW TO SILENCE",
            "First seen 2026-11-20 03:00:00 UTC",
        ];
        let places: Vec<usize> = parts.iter().map(|part| text.body.find(part).unwrap_or_else(|| panic!("{part} in {}", text.body))).collect();
        assert!(places.is_sorted(), "{}", text.body);
        assert!(text.body.contains("https://runbook.example/#breaker_opened"), "{}", text.body);
        assert!(text.body.contains("POST https://ops.example/ops/v1/alerts/01890000-0000-7000-8000-00000000a1f3/acknowledge"), "{}", text.body);
    }

    #[test]
    fn resolved_says_how_long_it_lasted() {
        let story = story();
        let mut told = told(&story);
        told.ended_at = Some("2026-11-20T04:12:09Z".parse().expect("a time"));
        let text = told.resolved(&Links::default(), "2026-11-20T05:00:00Z".parse().expect("a time"));
        assert!(text.subject.starts_with("[RESOLVED] alipay_main") && text.subject.ends_with("after 1 h 12 min (#a1f3)"), "{}", text.subject);
        assert!(text.body.starts_with("It is over"), "{}", text.body);
    }

    #[test]
    fn durations_are_said_in_their_two_largest_units() {
        let said: Vec<String> = [0, 59, 60, 61, 600, 3_600, 4_329, 86_400, 90_000].map(|seconds| lasted(Duration::from_secs(seconds))).to_vec();
        assert_eq!(said, ["0 s", "59 s", "1 min", "1 min 1 s", "10 min", "1 h", "1 h 12 min", "1 d", "1 d 1 h"]);
    }

    #[test]
    fn a_digest_names_every_alert_and_counts_them() {
        let story = story();
        let mut over = told(&story);
        over.ended_at = Some(over.raised_at);
        let text = digest(&[told(&story), over], &Links::default(), over.raised_at);
        assert_eq!(text.subject, "[PAGE] 2 alerts at once: 1 firing, 1 over");
        assert_eq!(text.body.matches("#a1f3").count(), 2);
    }
}
