//! What operators and probes read: how it stands, and the alerts. Beside it: `switching.rs` and `doubt.rs`.

use super::super::shape::{self, Record, Shape, every, named, named_as, or_null};
use super::page_of;
use super::switching::states;
use crate::alert::{AlertKind, Severity};
use crate::domain::method::MethodKind;
use crate::domain::{OperationClass, PaymentId};
use crate::http::directory::ChannelHealth;

pub fn schemas() -> Vec<(&'static str, Shape)> {
    vec![
        ("Alive", Record::of("The process runs.").must("status", shape::always("How it is.", "alive")).open()),
        ("Ready", Record::of("The process wants traffic.").must("status", shape::always("How it is.", "ready")).open()),
        ("Version", version()),
        ("Document", document()),
        ("Channel", channel()),
        ("ChannelList", page_of("Channel", "All channels.")),
        ("Breaker", breaker()),
        ("Integrity", integrity()),
        ("Difference", difference()),
        ("Alert", alert()),
        ("AlertList", page_of("Alert", "The newest alerts.")),
        ("AlertDelivery", alert_delivery()),
        ("Story", story()),
    ]
}

fn version() -> Shape {
    Record::of("What runs.")
        .must("name", shape::always("The program.", "breakwater"))
        .must("version", shape::text("Its version."))
        .must("revision", shape::text("The revision that it was built from, or `unknown`."))
        .open()
}

fn document() -> Shape {
    Record::of("An OpenAPI document.").must("openapi", shape::text("The version of OpenAPI.")).open()
}

fn channel() -> Shape {
    let breakers = OperationClass::ALL
        .iter()
        .fold(Record::of("Its guards, by class of operation."), |record, class| record.must(class.as_str(), named("Breaker")))
        .open();
    Record::of("One account at one provider.")
        .must("id", shape::text("Its id in the settings."))
        .must("provider", shape::text("The protocol it speaks."))
        .must("mode", shape::one_of("Whether real money moves.", ["live", "test"]))
        .must(
            "methods",
            shape::list(
                "How its customers can pay.",
                shape::one_of_values("A way of paying.", &every!(MethodKind: Qr, Barcode, Redirect, CardToken, Card)),
            ),
        )
        .must("wallets", shape::list("Whose codes and pages it has.", named("Wallet")))
        .must("currencies", shape::list("What its account takes; empty for any.", named("Currency")))
        .must(
            "health",
            shape::one_of_values("How its actor is: it answers, it is being rebuilt, or neither.", &every!(ChannelHealth: Up, Restarting, Down)),
        )
        .must("breaker", breakers)
        .must("override", or_null(named_as("OverrideInForce", "What an operator has ordered of it, where that holds now.")))
        .open()
}

fn breaker() -> Shape {
    Record::of("How one class of operations stands at a channel.")
        .must("state", shape::one_of("Whether calls pass.", states()))
        .must("reason", or_null(shape::text("What brought it there; null before it first moved.")))
        .must("retry_after_ms", or_null(shape::whole("In how many milliseconds a call may pass again by time alone.", 0)))
        .must("calls", shape::whole("Calls in its window.", 0))
        .must("failures", shape::whole("Failures among them.", 0))
        .must("in_flight", shape::whole("Calls in flight.", 0))
        .must("limit", shape::whole("Calls that this process may have in flight at the channel now, all classes together.", 0))
        .must("class_limit", shape::whole("Calls of this class that may be: it adapts to how the channel answers.", 0))
        .must(
            "rate_per_second",
            or_null(shape::whole(
                "Calls of this class that this process may make in a second, its part of the channel's contract; null for as many as one likes.",
                1,
            )),
        )
        .open()
}

fn integrity() -> Shape {
    Record::of("The books hold.")
        .must("object", shape::always("What this is.", "integrity"))
        .must("holds", shape::always("They hold.", true))
        .must("differences", shape::list("Empty.", named("Difference")).max_items(Some(0)))
        .must("checked_at", shape::time("When."))
        .open()
}

fn difference() -> Shape {
    Record::of("One place where the books do not hold.")
        .must("payment_id", shape::id("The payment.", PaymentId::PREFIX))
        .must("check", shape::text("Which check."))
        .must("found", shape::text("What it found."))
        .open()
}

fn alert() -> Shape {
    Record::of("Something that somebody must know of.")
        .must("object", shape::always("What this is.", "alert"))
        .must("id", shape::uuid("Its id."))
        .must("kind", shape::one_of("What is wrong; the runbook has an anchor for each.", AlertKind::ALL.map(AlertKind::as_str)))
        .must("severity", shape::one_of("`page`: now. `ticket`: on the next working day.", every!(Severity: Page, Ticket).map(Severity::as_str)))
        .must("channel", or_null(shape::text("The channel, if it is about one.")))
        .must("status", shape::one_of("Whether it is over.", ["firing", "resolved"]))
        .must("story", named("Story"))
        .must("raised_at", shape::time("When it was first seen."))
        .must("seen_at", shape::time("When it was last seen."))
        .must("resolved_at", or_null(shape::time("When it ended.")))
        .must("acknowledged_at", or_null(shape::time("When somebody said that they look after it.")))
        .must("acknowledged_by", or_null(shape::text("Who.")))
        .must("deliveries", shape::list("What was sent about it. Empty in the answer to an acknowledgement.", named("AlertDelivery")))
        .open()
}

fn alert_delivery() -> Shape {
    Record::of("A message about an alert to one recipient.")
        .must("transport", shape::one_of("How.", ["email", "sms"]))
        .must("purpose", shape::one_of("Why.", ["firing", "repeat", "resolved", "digest", "escalation"]))
        .must("recipient", shape::text("The address or number."))
        .must("state", shape::one_of("How it stands.", ["queued", "sent", "failed"]))
        .must("tries", shape::whole("How often it was tried.", 0))
        .must("created_at", shape::time("When it was written down."))
        .must("sent_at", or_null(shape::time("When the other side took it.")))
        .must("result", or_null(shape::text("What the other side said last.")))
        .open()
}

fn story() -> Shape {
    let lines = |about: &str| shape::list(about, shape::text("A line."));
    Record::of("The words of an alert.")
        .must("headline", shape::text("One line."))
        .must("impact", lines("What customers and merchants feel now."))
        .must("cause", lines("Why, with evidence."))
        .must("done", lines("What was done by itself."))
        .must("next", lines("What to do next, in order."))
        .open()
}
