//! What is not known, what people say of it, and what is on record.

use super::super::shape::{self, Record, Shape, named, or_null};
use super::page_of;
use crate::domain::{AttemptState, Operation, PaymentId};
use crate::http::operations::WORDS;
use crate::http::operations::doubt::NAMED;
use crate::http::operations::resolve::{EVIDENCE, REFERENCE};
use crate::router::operator::Verdict;
use crate::store::doubt::REQUERY_MOST;
use crate::store::notification::STATES;

pub fn schemas() -> Vec<(&'static str, Shape)> {
    vec![
        ("Unknown", unknown()),
        ("UnknownAttempt", unknown_attempt()),
        ("UnknownTotal", unknown_total()),
        ("UnknownList", unknown_list()),
        ("Requery", requery()),
        ("RequeryQueued", requery_queued()),
        ("Resolve", resolve()),
        ("Resolution", resolution()),
        ("Proposal", proposal()),
        ("Notification", notification()),
        ("NotificationList", page_of("Notification", "A page of notifications.")),
        ("Act", act()),
        ("AuditList", page_of("Act", "A page of acts.")),
    ]
}

fn operation() -> Shape {
    shape::one_of("What was tried.", Operation::ALL.map(Operation::as_str))
}

fn unknown() -> Shape {
    Record::of("A payment of which something is in doubt.")
        .must("object", shape::always("What this is.", "unknown"))
        .must("payment_id", shape::id("The payment.", PaymentId::PREFIX))
        .must("merchant_id", shape::uuid("Whose it is."))
        .must("livemode", shape::flag("Whether real money moves."))
        .must("merchant_order_id", shape::text("The merchant's name for the order."))
        .must("status", named("PaymentStatus"))
        .must("amount", shape::amount("What was asked for, in minor units."))
        .must("currency", named("Currency"))
        .must("attempts", shape::list("What is in doubt of it.", named("UnknownAttempt")).min_items(Some(1)))
        .open()
}

fn unknown_attempt() -> Shape {
    Record::of("An attempt whose outcome is not known.")
        .must("n", shape::whole("Its number within the payment.", 1))
        .must("operation", operation())
        .must("channel", shape::text("Where."))
        .must("amount", shape::amount("Minor units."))
        .must(
            "state",
            shape::one_of(
                "`unknown`: the channel is asked. `reversing`: it is being undone.",
                [AttemptState::Unknown, AttemptState::Reversing].map(AttemptState::as_str),
            ),
        )
        .must("key", shape::text("The key that the channel knows it by."))
        .must("channel_reference", or_null(shape::text("The channel's own name for it.")))
        .must("since", shape::time("When it was written down."))
        .must("asked_next_at", shape::time("When the channel is asked again."))
        .must("asked", shape::whole("How often it was asked in vain.", 0))
        .must(
            "set_aside_at",
            or_null(shape::time("When it was set aside, after our own failures in a row: nobody asks until it is put back by a requery.")),
        )
        .open()
}

fn unknown_total() -> Shape {
    Record::of("How much is in doubt at one channel, for one operation, in one currency.")
        .must("channel", shape::text("The channel."))
        .must("operation", operation())
        .must("currency", named("Currency"))
        .must("count", shape::whole("How many attempts.", 1))
        .must("amount_minor", shape::whole("Their amounts added up, in minor units.", 0))
        .must("oldest", shape::time("Since when the oldest is in doubt."))
        .must("oldest_age_seconds", shape::whole("And for how long.", 0))
        .open()
}

fn unknown_list() -> Shape {
    Record::of("A page of what is in doubt, oldest first, and the sums over all of it.")
        .must("object", shape::always("What this is.", "list"))
        .must("data", shape::list("The payments.", named("Unknown")))
        .must("has_more", shape::flag("Whether there is another page."))
        .must("next_cursor", or_null(shape::text("The `cursor` of the next page, if there is one.")))
        .must("totals", shape::list("The sums, whatever the page.", named("UnknownTotal")))
        .must("oldest_age_seconds", shape::whole("For how long the oldest of all is in doubt; 0 when nothing is.", 0))
        .open()
}

fn requery() -> Shape {
    let ids = shape::list("Only these payments.", shape::id("A payment.", PaymentId::PREFIX)).min_items(Some(1)).max_items(Some(NAMED));
    Record::of("What is to be asked after; what is left out or null does not filter, and at least one filter must be there.")
        .may("payment_ids", or_null(ids))
        .may("channel", or_null(shape::text("Only what was tried at this channel.")))
        .may("since", or_null(shape::time("Only what was tried at this time or later.")))
        .may("reason", or_null(shape::free_text("Why, for the audit. Never a card number.", WORDS)))
        .closed()
}

fn requery_queued() -> Shape {
    Record::of("What is asked after now.")
        .must("object", shape::always("What this is.", "requery"))
        .must("attempts_due", shape::within("How many attempts became due.", 0, REQUERY_MOST))
        .must("has_more", shape::flag("Whether there may be more of them than one request makes due: ask again."))
        .open()
}

fn verdict(about: &str) -> Shape {
    shape::one_of(about, Verdict::ALL.map(Verdict::as_str))
}

fn resolve() -> Shape {
    let outcome = "`approved`: it was carried out. `authorized`: the money is held. `declined`: the channel refused it. `not_found`: the channel never \
                   had it, and never will.";
    Record::of("What a person knows of an outcome. A field that is null counts as left out.")
        .must("outcome", verdict(outcome))
        .must("note", shape::words("What you know, for the audit. Never a card number.", WORDS))
        .must("evidence", shape::words("Where it can be seen: a statement's line, a ticket, a mail. Never a card number.", EVIDENCE))
        .may("attempt", or_null(shape::within("Which attempt; needed where several are in doubt.", 1, i64::from(i16::MAX))))
        .may(
            "channel_reference",
            or_null(shape::visible(
                "The channel's own name for it; needed where money moved and we do not know it.",
                REFERENCE,
                "pi_c4T86RoCeWsM8Wk5zCDdR5",
            )),
        )
        .closed()
}

fn resolution() -> Shape {
    Record::of("An outcome that a person told.")
        .must("object", shape::always("What this is.", "resolution"))
        .must("state", shape::always("How it stands.", "resolved"))
        .must("payment_id", shape::id("The payment.", PaymentId::PREFIX))
        .must("attempt", shape::whole("The attempt.", 1))
        .must("attempt_state", or_null(shape::one_of("How the attempt stands now.", AttemptState::ALL.map(AttemptState::as_str))))
        .must("status", named("PaymentStatus"))
        .must("outcome", named("Outcome"))
        .must("sequence", shape::whole("How many events the payment has had.", 1))
        .open()
}

fn proposal() -> Shape {
    Record::of("One person's word, which waits for a second person's.")
        .must("object", shape::always("What this is.", "resolution"))
        .must("state", shape::always("How it stands.", "awaits_second_person"))
        .must("payment_id", shape::id("The payment.", PaymentId::PREFIX))
        .must("attempt", shape::whole("The attempt.", 1))
        .must("proposed_by", shape::text("Who said so first."))
        .must("expires_at", shape::time("Until when it waits."))
        .open()
}

fn notification() -> Shape {
    let states = "`received`: not applied yet. `applied`: its fact is known. `ignored`: it is about nothing of ours. `quarantined`: it does \
                  not fit what we know, or could not be applied, and waits for a person.";
    Record::of("A message of a provider's, which was believed.")
        .must("object", shape::always("What this is.", "notification"))
        .must("channel", shape::text("The channel that it came for."))
        .must("event_id", shape::text("The provider's id of it."))
        .must("type", shape::text("The provider's word for what it is about."))
        .must("state", shape::one_of(states, STATES))
        .must("note", or_null(shape::text("Why it was set aside.")))
        .must("payment_id", or_null(shape::id("The payment that it is about, where that is known.", PaymentId::PREFIX)))
        .must("received_at", shape::time("When it came."))
        .must("applied_at", or_null(shape::time("When something was made of it.")))
        .must("body_bytes", shape::whole("How long the message is.", 0))
        .open()
}

fn act() -> Shape {
    Record::of("Something that a person did.")
        .must("object", shape::always("What this is.", "act"))
        .must("id", shape::whole("Its number, growing.", 1))
        .must("at", shape::time("When."))
        .must("who", shape::text("Who: `operator:NAME`, or `os:NAME` on the command line."))
        .must("act", shape::text("What."))
        .must("subject", shape::text("On what: `channel:ID`, `payment:ID` and the like."))
        .must("why", or_null(shape::text("Why, in their words.")))
        .must("before", or_null(shape::anything("What was before.")))
        .must("after", or_null(shape::anything("What was after.")))
        .open()
}
