//! Switching channels: what an operator orders, what stands, and what happened just now.

use super::super::shape::{self, Record, Shape, every, named, or_null};
use super::page_of;
use crate::channel::breaker::{Mode, State};
use crate::domain::recurrence::DAYS;
use crate::domain::{OperationClass, OverrideId};
use crate::http::operations::WORDS;

pub fn schemas() -> Vec<(&'static str, Shape)> {
    vec![
        ("OverrideMode", shape::one_of(MODES, Mode::ALL.map(Mode::as_str))),
        ("OperationClass", shape::one_of(CLASSES, OperationClass::ALL.map(OperationClass::as_str))),
        ("PutOverride", put_override()),
        ("Override", over()),
        ("OverrideList", page_of("Override", "A page of overrides.")),
        ("OverrideInForce", in_force()),
        ("Timeline", timeline()),
        ("Happening", happening()),
        ("Second", second()),
        ("ClassCounts", class_counts()),
    ]
}

const MODES: &str = "`forced_open`: no call passes. `forced_closed`: every call does. `drain`: no new call does, as planned.";
const CLASSES: &str = "`pay`: new charges and holds. `resolve`: queries and whatever settles what is open. `refund`: money back.";

fn put_override() -> Shape {
    Record::of("An override to put. A field that is null counts as left out; one of `expires_at` and `recurs` must be there.")
        .must("mode", named("OverrideMode"))
        .may("operation", or_null(shape::named_as("OperationClass", "Which operations: `pay` when left out.")))
        .must("reason", shape::words("Why, for the audit and for whoever asks. Never a card number.", WORDS))
        .may("expires_at", or_null(shape::time("When it ends by itself: at most 24 hours away, unless it recurs.")))
        .may("recurs", or_null(window_asked()))
        .closed()
}

fn clock(about: &str) -> Shape {
    shape::pattern(about, "^([01][0-9]|2[0-3]):[0-5][0-9]$", "23:30")
}

fn day() -> Shape {
    shape::one_of("A day of the week.", DAYS)
}

fn window_asked() -> Shape {
    Record::of("A window of the day. It belongs to the day on which it begins, and may end on the next.")
        .must("from", clock("When it begins, on the clock there."))
        .must("until", clock("When it ends: another time than `from`."))
        .must("zone", shape::pattern("The time zone, by its name at IANA.", "^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$", "Asia/Shanghai"))
        .may("days", or_null(shape::list("On which days; on every day when left out.", day()).min_items(Some(1))))
        .closed()
}

fn over() -> Shape {
    let window = Record::of("The window that it recurs in.")
        .must("from", clock("When it begins."))
        .must("until", clock("When it ends."))
        .must("zone", shape::text("The time zone of both."))
        .must("days", shape::list("On which days it begins.", day()))
        .must("next_at", or_null(shape::time("When it begins next.")))
        .open();
    Record::of("What an operator has ordered of a channel.")
        .must("object", shape::always("What this is.", "override"))
        .must("id", shape::id("Its id.", OverrideId::PREFIX))
        .must("channel", shape::text("The channel."))
        .must("operation", named("OperationClass"))
        .must("mode", named("OverrideMode"))
        .must("state", shape::one_of("`holding`: now. `waiting`: for its window. `ended`.", ["holding", "waiting", "ended"]))
        .must("author", shape::text("Who put it."))
        .must("reason", shape::text("Why."))
        .must("created_at", shape::time("When it was put."))
        .must("expires_at", or_null(shape::time("When it ends by itself.")))
        .must("recurs", or_null(window))
        .must("holds_until", or_null(shape::time("Until when it holds without a break, where it does now.")))
        .must("ended_at", or_null(shape::time("When somebody ended or replaced it.")))
        .must("ended_by", or_null(shape::text("Who did.")))
        .open()
}

fn in_force() -> Shape {
    Record::of("An override that holds now; that of `pay`, where several do.")
        .must("id", shape::id("Its id.", OverrideId::PREFIX))
        .must("operation", named("OperationClass"))
        .must("mode", named("OverrideMode"))
        .must("author", shape::text("Who put it."))
        .must("reason", shape::text("Why, in the operator's words."))
        .must("expires_at", shape::time("When it ends by itself; what recurs, for this time."))
        .must("recurs", or_null(shape::text("The window, in words, where it recurs.")))
        .open()
}

/// The states of a breaker.
pub fn states() -> [&'static str; 5] {
    every!(State: Closed, Open, HalfOpen, ForcedOpen, ForcedClosed).map(State::as_str)
}

fn timeline() -> Shape {
    Record::of("What happened at a channel just now, as this process saw it.")
        .must("object", shape::always("What this is.", "timeline"))
        .must("channel", shape::text("The channel."))
        .must("seconds", shape::whole("How far back.", 1))
        .must("until", shape::time("When it was asked for."))
        .must("events", shape::list("What happened, oldest first.", named("Happening")))
        .must("counts", shape::list("Seconds in which there was something to count, oldest first.", named("Second")))
        .open()
}

fn happening() -> Shape {
    let about = "`breaker`: it changed its state, with `from`, `to`, `reason` and `epoch`. `override_began`: with `mode`, `author`, `reason` and \
                 `until`. `override_ended`: with the `mode` that it had.";
    Record::of("Something that happened.")
        .must("at", shape::time("When."))
        .must("type", shape::one_of(about, ["breaker", "override_began", "override_ended"]))
        .must("operation", named("OperationClass"))
        .may("from", shape::one_of("The state before.", states()))
        .may("to", shape::one_of("The state after.", states()))
        .may("reason", shape::text("What brought it there; of an override, the operator's words."))
        .may("epoch", shape::whole("How often the breaker has changed its state, by then.", 0))
        .may("mode", named("OverrideMode"))
        .may("author", shape::text("Who put the override."))
        .may("until", shape::time("When the override ends by itself."))
        .open()
}

fn second() -> Shape {
    OperationClass::ALL
        .iter()
        .fold(Record::of("One second.").must("at", shape::time("When it began.")), |record, class| record.must(class.as_str(), named("ClassCounts")))
        .open()
}

fn class_counts() -> Shape {
    Record::of("What one class of operations did in one second.")
        .must("admitted", shape::whole("Calls that were let through.", 0))
        .must("ended", shape::whole("Calls that ended with a word.", 0))
        .must("failed", shape::whole("Calls whose end said that the channel is not well.", 0))
        .must("rejected", shape::whole("Calls that were turned away.", 0))
        .must("in_flight", shape::whole("Calls under way at the end of it.", 0))
        .must("state", shape::one_of("The breaker at the end of it.", states()))
        .open()
}
