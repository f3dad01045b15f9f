//! `breakwater payments get`: one payment as the database has it, for whoever was asked "where is my money?". Beside it: `requery` has the channels
//! asked again now, `resolve` tells a running process what a person knows.
//!
//! `get` reads and never acts: no channel is asked. Everything fits 100 columns, amounts are minor units of the payment's currency, times are UTC.

mod requery;
mod resolve;

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::database::DatabaseArgs;
use super::{fail, print, table};
use crate::clock::Clock;
use crate::domain::{Attempt, Payment, PaymentId};
use crate::store::administration::Found;
use crate::store::payment::EventRow;

/// The widest line.
const WIDTH: usize = 100;
/// What stands before the rest of a line that is wider.
const BELOW: &str = "             ";

/// Look at a payment, have what is in doubt asked again, or resolve it
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater payments get pay_0193a1b2c3d47e5f80123456789abcde --timeline
  breakwater payments requery --since 2026-11-21T22:00:00Z
  breakwater payments resolve pay_0193a1b2c3d47e5f80123456789abcde --outcome approved --note \"…\" --evidence \"…\"")]
pub struct PaymentsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Get(Get),
    Requery(requery::Requery),
    Resolve(resolve::Resolve),
}

/// Show a payment with its attempts and refunds
///
/// Reads the database and asks no channel.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater payments get pay_0193a1b2c3d47e5f80123456789abcde --timeline
  breakwater payments get pay_0193a1b2c3d47e5f80123456789abcde --timeline --json")]
struct Get {
    /// The payment's id
    id: PaymentId,
    /// Every event too, in order, with the time between them
    #[arg(long)]
    timeline: bool,
    /// Print one line of JSON: {"payment","attempts","refunds","events"}; events with --timeline only
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Does as asked.
pub fn run(args: &PaymentsArgs) -> ExitCode {
    let done = match &args.command {
        Command::Get(get) => get.run(),
        Command::Requery(requery) => requery.run(),
        Command::Resolve(resolve) => resolve.run(),
    };
    done.unwrap_or_else(|why| fail(&why))
}

impl Get {
    fn run(&self) -> Result<ExitCode, String> {
        let (runtime, store) = self.database.open()?;
        let (payment, merchant, events) = runtime
            .block_on(async {
                let Some(payment) = store.payment(self.id).await? else { return Ok(None) };
                let id = payment.request.merchant.to_string();
                let merchant = match store.find_merchant(&id, None, Clock::system().wall()).await? {
                    Found::One(merchant) => merchant.name,
                    _ => id,
                };
                // Read after the payment: it may be newer than the state above it, and is never older.
                Ok(Some((payment, merchant, store.events(self.id).await?)))
            })
            .map_err(|error: crate::store::StoreError| format!("{error}; breakwater doctor looks for the reason"))?
            .ok_or_else(|| format!("this database has no payment {}; is it the right one, and the right mode?", self.id))?;
        let shown = if self.timeline { events.as_slice() } else { &[] };
        if self.json {
            return Ok(print(&format!("{}\n", in_json(&payment, &merchant, &events, self.timeline))));
        }
        let mut text = head(&payment, &merchant);
        text.push_str(&attempts(&payment, &events));
        text.push_str(&refunds(&payment));
        text.push_str(&timeline(shown));
        Ok(print(&fitted(&text)))
    }
}

fn head(payment: &Payment, merchant: &str) -> String {
    let request = &payment.request;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}  {}, {}", payment.id, payment.status, payment.outcome);
    let mode = table::mode(request.livemode);
    let capture = request.capture_method;
    let _ = writeln!(text, "  {} {} minor units, {mode}, capture {capture}", request.amount, request.currency.code());
    let _ = writeln!(text, "  merchant  {merchant}, order {}", request.order);
    let _ = writeln!(text, "  captured {}, refunded {}, disputed {}", payment.captured, payment.refunded, payment.disputed);
    let _ = writeln!(text, "  created {}, changed {}, sequence {}", exact(payment.created_at), exact(payment.updated_at), payment.sequence);
    if payment.cancel_requested {
        text.push_str("  a cancel was asked for\n");
    }
    if let Some(next) = payment.superseded_by {
        let _ = writeln!(text, "  its order was paid again by {next}");
    }
    text
}

fn attempts(payment: &Payment, events: &[EventRow]) -> String {
    if payment.attempts.is_empty() {
        return "\nNo attempt.\n".to_owned();
    }
    let rows: Vec<Vec<String>> = payment
        .attempts
        .iter()
        .map(|attempt| {
            vec![
                attempt.n.to_string(),
                attempt.operation.as_str().to_owned(),
                attempt.channel.clone(),
                attempt.state.as_str().to_owned(),
                attempt.amount.to_string(),
                latency(attempt, events).map_or("-".to_owned(), |ms| format!("{ms} ms")),
                attempt.reference.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        })
        .collect();
    let lines = table::columns(&["ATTEMPT", "DOES", "CHANNEL", "STATE", "AMOUNT", "REPLY", "REFERENCE"], &rows);
    let mut lines = lines.lines();
    let mut text = format!("\n{}\n", lines.next().unwrap_or_default());
    for (line, attempt) in lines.zip(&payment.attempts) {
        let _ = writeln!(text, "{line}\n         key {}, chosen: {}", attempt.key, attempt.reason);
        if !attempt.passed_over.is_empty() {
            let others: Vec<String> = attempt.passed_over.iter().map(|other| format!("{} ({})", other.channel, other.reason)).collect();
            let _ = writeln!(text, "         passed over: {}", others.join(", "));
        }
        if let Some(failure) = &attempt.failure {
            let code = json!(failure.code);
            let theirs = failure.channel_code.as_deref().map_or(String::new(), |code| format!(" ({code})"));
            let _ = writeln!(text, "         failed: {}{theirs}: {}", code.as_str().unwrap_or_default(), failure.message);
        }
        if let Some(due) = attempt.due_at {
            let _ = writeln!(text, "         asked about next at {}, {} times so far", exact(due), attempt.tries);
        }
    }
    text
}

fn refunds(payment: &Payment) -> String {
    if payment.refunds.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = payment
        .refunds
        .iter()
        .map(|refund| {
            vec![
                refund.id.to_string(),
                refund.status.to_string(),
                refund.outcome.to_string(),
                refund.amount.to_string(),
                refund.source.to_string(),
                refund.merchant_refund_id.clone(),
            ]
        })
        .collect();
    format!("\n{}", table::columns(&["REFUND", "STATUS", "OUTCOME", "AMOUNT", "SOURCE", "MERCHANT'S ID"], &rows))
}

fn timeline(events: &[EventRow]) -> String {
    let Some(first) = events.first().map(|event| event.created_at) else { return String::new() };
    let mut before: Option<Timestamp> = None;
    let rows: Vec<Vec<String>> = events
        .iter()
        .map(|event| {
            let delta = before.replace(event.created_at).map_or("-".to_owned(), |before| since(event.created_at.duration_since(before)));
            vec![event.sequence.to_string(), of_day(event.created_at, first), delta, event.kind.clone(), told(&event.body)]
        })
        .collect();
    format!("\n{}", table::columns(&["#", "TIME", "AFTER", "EVENT", "WHAT"], &rows))
}

/// An event's body in words: the fields that are there, in the order in which a reader asks for them.
fn told(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let word = |field: &str| match body.get(field) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let mut parts = Vec::new();
    for (field, before) in [("attempt", "attempt "), ("refund", "refund "), ("operation", ""), ("channel", ""), ("amount", "amount ")] {
        parts.extend(word(field).map(|text| format!("{before}{text}")));
    }
    match (word("from"), word("to")) {
        (Some(from), Some(to)) if from == to => parts.push(to),
        (Some(from), Some(to)) => parts.push(format!("{from} → {to}")),
        (Some(from), None) => parts.push(format!("from {from}")),
        (None, Some(to)) => parts.push(to),
        (None, None) => {}
    }
    parts.extend(word("outcome").map(|text| format!("outcome {text}")));
    parts.extend(word("source").map(|text| format!("by {text}")));
    parts.join(" ")
}

/// How long the channel's reply to an attempt took, where it replied: from the intent on disk to the event that the reply made, in ms.
fn latency(attempt: &Attempt, events: &[EventRow]) -> Option<i128> {
    let reply = events.iter().find(|event| {
        serde_json::from_str::<Value>(&event.body).is_ok_and(|body| body["attempt"] == attempt.n && body["source"] == "reply" && body["to"] != "sent")
    })?;
    Some(reply.created_at.duration_since(attempt.created_at).as_millis())
}

fn since(delta: SignedDuration) -> String {
    let ms = delta.as_millis();
    match ms {
        ..10_000 => format!("+{ms} ms"),
        10_000..600_000 => format!("+{} s", ms / 1_000),
        600_000..172_800_000 => format!("+{} min", ms / 60_000),
        _ => format!("+{} d", ms / 86_400_000),
    }
}

/// The time of day, with the day where it is not that of `first`, which the page's head shows.
fn of_day(at: Timestamp, first: Timestamp) -> String {
    let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
    if day(at) == day(first) { at.strftime("%H:%M:%S%.3fZ").to_string() } else { exact(at) }
}

fn exact(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string()
}

/// Goes on below, between two words, where a line is wider than the page, and takes out what could move the cursor: messages of channels and
/// merchants stand in it.
fn fitted(text: &str) -> String {
    let mut fitted = String::with_capacity(text.len());
    for line in text.lines() {
        let mut rest: Vec<char> = line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        while rest.len() > WIDTH {
            // A word that is longer than the rest of the page is cut where the page ends.
            let space = rest[..=WIDTH].iter().rposition(|letter| *letter == ' ').filter(|place| *place > BELOW.len());
            let below = rest.split_off(space.unwrap_or(WIDTH));
            fitted.push_str(rest.iter().collect::<String>().trim_end());
            fitted.push('\n');
            rest = BELOW.chars().chain(below.into_iter().skip_while(|letter| *letter == ' ')).collect();
        }
        fitted.extend(rest);
        fitted.push('\n');
    }
    fitted
}

fn in_json(payment: &Payment, merchant: &str, events: &[EventRow], with_events: bool) -> Value {
    let request = &payment.request;
    let attempts: Vec<Value> = payment
        .attempts
        .iter()
        .map(|attempt| {
            json!({
                "n": attempt.n, "operation": attempt.operation.as_str(), "channel": attempt.channel, "state": attempt.state.as_str(),
                "amount": attempt.amount, "key": attempt.key, "reference": attempt.reference, "reason": attempt.reason, "passed_over": attempt.passed_over,
                "failure": attempt.failure, "reply_ms": latency(attempt, events).and_then(|ms| i64::try_from(ms).ok()),
                "refund": attempt.refund_n, "due_at": attempt.due_at.map(table::rfc3339), "tries": attempt.tries,
                "created_at": table::rfc3339(attempt.created_at), "updated_at": table::rfc3339(attempt.updated_at),
            })
        })
        .collect();
    let refunds: Vec<Value> = payment
        .refunds
        .iter()
        .map(|refund| {
            json!({
                "id": refund.id.to_string(), "n": refund.n, "merchant_refund_id": refund.merchant_refund_id, "amount": refund.amount,
                "status": refund.status.as_str(), "outcome": refund.outcome.as_str(), "source": refund.source.as_str(), "reason": refund.reason,
                "created_at": table::rfc3339(refund.created_at), "updated_at": table::rfc3339(refund.updated_at),
            })
        })
        .collect();
    let mut answer = json!({
        "payment": {
            "id": payment.id.to_string(), "status": payment.status.as_str(), "outcome": payment.outcome.as_str(), "amount": request.amount,
            "currency": request.currency.code(), "livemode": request.livemode, "merchant": merchant, "merchant_id": request.merchant,
            "merchant_order_id": request.order, "amount_captured": payment.captured, "amount_refunded": payment.refunded,
            "amount_disputed": payment.disputed, "cancel_requested": payment.cancel_requested,
            "superseded_by": payment.superseded_by.map(|id| id.to_string()), "sequence": payment.sequence,
            "created_at": table::rfc3339(payment.created_at), "updated_at": table::rfc3339(payment.updated_at),
        },
        "attempts": attempts,
        "refunds": refunds,
    });
    if with_events {
        let events: Vec<Value> = events
            .iter()
            .map(|event| {
                let data: Value = serde_json::from_str(&event.body).unwrap_or(Value::Null);
                json!({
                    "id": event.id.to_string(), "sequence": event.sequence, "type": event.kind, "data": data,
                    "created_at": table::rfc3339(event.created_at),
                })
            })
            .collect();
        answer["events"] = json!(events);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_in_the_order_of_a_sentence() {
        let body = json!({"source": "reply", "attempt": 1, "operation": "pay", "channel": "a", "from": "sent", "to": "succeeded"});
        assert_eq!(told(&body.to_string()), "attempt 1 pay a sent → succeeded by reply");
        assert_eq!(told("not json"), "");
    }

    #[test]
    fn no_line_is_wider_than_the_page_or_moves_the_cursor() {
        let long = "é".repeat(140);
        let words = "five! ".repeat(30);
        let text = fitted(&format!("{long}\n{words}\nred \u{1b}[31m\n"));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(!text.contains('\u{1b}') && text.contains("red  [31m"));
        assert_eq!(text.matches('é').count(), 140, "nothing is lost");
        assert_eq!(text.matches("five!").count(), 30, "and no word is cut that need not be: {text}");
    }

    #[test]
    fn time_between_events_is_told_in_the_unit_that_one_would_say() {
        let say = |seconds| since(SignedDuration::from_secs(seconds));
        assert_eq!([say(0), say(9), say(10), say(600), say(172_800)], ["+0 ms", "+9000 ms", "+10 s", "+10 min", "+2 d"]);
    }
}
