//! Events, webhook endpoints and their log.

use super::super::merchant::payment_id;
use super::super::shape::{self, Record, Shape, named, or_null};
use super::super::telling::{delivery_state, endpoint_id, topic};
use super::page_of;
use crate::domain::EventId;
use crate::domain::topic::TOPICS;

pub fn schemas() -> Vec<(&'static str, Shape)> {
    vec![
        ("CreateWebhookEndpoint", create().closed()),
        ("ChangeWebhookEndpoint", change()),
        ("Redeliver", Record::of("An event to tell again.").may("endpoint", or_null(endpoint_id("To this endpoint only."))).closed()),
        ("Replay", replay()),
        ("EventType", topic()),
        ("DeliveryState", delivery_state()),
        ("Event", event()),
        ("EventList", page_of("Event", "A page of events.")),
        ("WebhookEndpoint", endpoint().open()),
        ("WebhookEndpointWithSecret", with_secret()),
        ("WebhookEndpointList", page_of("WebhookEndpoint", "A page of endpoints.")),
        ("DeletedWebhookEndpoint", deleted()),
        ("WebhookDelivery", delivery()),
        ("WebhookDeliveryList", page_of("WebhookDelivery", "A page of the log.")),
        ("ReplayQueued", replay_queued()),
    ]
}

fn create() -> Record {
    Record::of("An endpoint to make.")
        .must("url", address())
        .may("types", or_null(types("Which events to tell; all when left out or empty.")))
        .may("description", or_null(shape::free_text("Your own note. Never a card number.", 500)))
}

fn change() -> Shape {
    Record::of("What to change of an endpoint. What is left out stays.")
        .may("url", or_null(address()))
        .may("types", or_null(types("Which events to tell; all when empty.")))
        .may("description", or_null(shape::free_text("Your own note; null takes it away.", 500)))
        .may("enabled", or_null(shape::flag("Whether anything is sent to it.")))
        .closed()
}

fn address() -> Shape {
    shape::url(
        "Where webhooks go: https (http too for test merchants), and no address of a private network unless the installation allows it.",
        "https://shop.example/webhooks",
    )
}

fn types(about: &str) -> Shape {
    shape::list(about, named("EventType")).unique_items(true).max_items(Some(TOPICS.len())).into()
}

fn replay() -> Shape {
    Record::of("A span of time.")
        .must("from", shape::time("What happened at that time or later."))
        .must("to", shape::time("What happened before that time. It must be later than `from`."))
        .closed()
}

fn event() -> Shape {
    Record::of("Something that happened.")
        .must("id", shape::id("Its id; the `webhook-id` of its webhooks.", EventId::PREFIX))
        .must("object", shape::always("What this is.", "event"))
        .must("type", named("EventType"))
        .must("payment_id", payment_id())
        .must("sequence", shape::whole("Its number within the payment.", 1))
        .must("data", shape::anything("The details."))
        .must("created_at", shape::time("When."))
        .open()
}

fn endpoint() -> Record {
    Record::of("A webhook endpoint.")
        .must("id", endpoint_id("Its id."))
        .must("object", shape::always("What this is.", "webhook_endpoint"))
        .must("url", shape::text("Where webhooks go."))
        .must("description", or_null(shape::text("Your own note.")))
        .must("types", shape::list("Which events it is told; all when empty.", named("EventType")))
        .must("enabled", shape::flag("Whether anything is sent to it."))
        .must("disabled_reason", or_null(shape::one_of("Why not: you turned it off, or it answered 410.", ["merchant", "gone"])))
        .must("failures_in_a_row", shape::whole("How often it has failed since it last took something.", 0))
        .must("paused_until", or_null(shape::time("Until when nothing is sent, because it failed too often or asked for a pause.")))
        .must("previous_secret_until", or_null(shape::time("Until when the secret before the last rotation signs too.")))
        .must("created_at", shape::time("When it was made."))
        .must("updated_at", shape::time("When it last changed."))
}

fn with_secret() -> Shape {
    let secret = "The secret with which its webhooks are signed. It is never shown again.";
    endpoint().must("secret", shape::pattern(secret, "^whsec_[A-Za-z0-9+/=]{32,88}$", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).open()
}

fn deleted() -> Shape {
    Record::of("An endpoint that is gone.")
        .must("id", endpoint_id("Its id."))
        .must("object", shape::always("What it was.", "webhook_endpoint"))
        .must("deleted", shape::always("It is gone.", true))
        .open()
}

fn delivery() -> Shape {
    Record::of("One event on its way to one endpoint.")
        .must("object", shape::always("What this is.", "webhook_delivery"))
        .must("event_id", shape::id("The event.", EventId::PREFIX))
        .must("endpoint", endpoint_id("The endpoint."))
        .must("type", named("EventType"))
        .must("payment_id", payment_id())
        .must("sequence", shape::whole("The event's number within its payment.", 1))
        .must("state", named("DeliveryState"))
        .must("attempts", shape::whole("How often it was tried.", 0))
        .must("due_at", or_null(shape::time("When it is tried next.")))
        .must("last_status", or_null(shape::whole("What the endpoint answered last.", 100)))
        .must("last_error", or_null(shape::text("What went wrong last.")))
        .must("last_tried_at", or_null(shape::time("When it was tried last.")))
        .must("delivered_at", or_null(shape::time("When the endpoint took it.")))
        .must("queued_at", shape::time("When it was queued."))
        .must("created_at", shape::time("When the event happened."))
        .open()
}

fn replay_queued() -> Shape {
    Record::of("What a replay has queued.")
        .must("object", shape::always("What this is.", "replay"))
        .must("endpoint", endpoint_id("The endpoint."))
        .must("from", shape::time("From when on."))
        .must("to", shape::time("Before when."))
        .must("queued", shape::whole("How many events.", 0))
        .must("last_event", or_null(shape::id("The last one of them, when there are more.", EventId::PREFIX)))
        .must("has_more", shape::flag("Whether there are more: replay again from the last one's time."))
        .open()
}
