//! How merchants are told: the routes on events and webhook endpoints, and the webhooks themselves.

use serde_json::json;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, Paths, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::{ContentBuilder, Required};

use super::merchant::payment_id;
use super::route::{Caller, Route};
use super::shape::{self, Record, Shape, named};
use super::{ENDPOINTS, EVENTS};
use crate::domain::topic::TOPICS;
use crate::domain::{EventId, WebhookEndpointId};
use crate::http::problem::ProblemCode as Code;
use crate::store::webhook::delivery::DeliveryState;

/// The routes, in the order in which they are shown.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/events", "listEvents", "List what happened, newest first")
            .for_caller(Caller::Merchant, EVENTS)
            .about("The same events that webhooks tell of, whether or not you have an endpoint.")
            .query("type", "Only events of this type.", named("EventType"))
            .query("payment_id", "Only events of this payment.", payment_id())
            .of_channel_and_order()
            .between_times()
            .pages()
            .answers(200, "A page.", "EventList"),
        Route::get("/v1/events/{id}", "readEvent", "Read an event")
            .for_caller(Caller::Merchant, EVENTS)
            .about("One event, whatever has become of its webhooks.")
            .path("id", "The event.", shape::id("An event's id.", EventId::PREFIX))
            .answers(200, "The event.", "Event"),
        Route::post("/v1/events/{id}/redeliver", "redeliverEvent", "Have an event told again")
            .for_caller(Caller::Merchant, EVENTS)
            .about("To one endpoint, or to all that want events of this type. Asking twice queues it once.")
            .path("id", "The event.", shape::id("An event's id.", EventId::PREFIX))
            .optional_body("Redeliver", &[("To every endpoint", json!({})), ("To one", json!({"endpoint": "whe_01a2010b98b57bbf9175066f4f7a9dc6"}))])
            .answers(202, "What was queued.", "WebhookDeliveryList")
            .refuses(&[Code::WebhookEndpointDisabled]),
        Route::post("/v1/webhook_endpoints", "createWebhookEndpoint", "Have webhooks sent to an address")
            .for_caller(Caller::Merchant, ENDPOINTS)
            .about("The answer holds the secret with which webhooks are signed, this once: keep it.")
            .body(
                "CreateWebhookEndpoint",
                &[
                    ("Everything", json!({"url": "https://shop.example/webhooks"})),
                    (
                        "Some types",
                        json!({"url": "https://shop.example/webhooks", "types": ["payment.succeeded", "refund.failed"], "description": "till"}),
                    ),
                ],
            )
            .answers(201, "The endpoint, with its secret.", "WebhookEndpointWithSecret")
            .refuses(&[Code::MissingField, Code::TooManyWebhookEndpoints, Code::CardNumberRefused, Code::WebhookUrlRefused]),
        Route::get("/v1/webhook_endpoints", "listWebhookEndpoints", "List webhook endpoints, newest first")
            .for_caller(Caller::Merchant, ENDPOINTS)
            .about("Your endpoints in this key's mode, without their secrets.")
            .pages()
            .answers(200, "A page.", "WebhookEndpointList"),
        endpoint(Route::get("/v1/webhook_endpoints/{id}", "readWebhookEndpoint", "Read a webhook endpoint"))
            .about("The endpoint, and how it has answered lately.")
            .answers(200, "The endpoint.", "WebhookEndpoint"),
        endpoint(Route::new(HttpMethod::Patch, "/v1/webhook_endpoints/{id}", "changeWebhookEndpoint", "Change a webhook endpoint"))
            .about("What is left out stays as it is. `description` null takes the description away; `enabled` true turns an endpoint on again.")
            .body(
                "ChangeWebhookEndpoint",
                &[("Turn it on again", json!({"enabled": true})), ("Move it", json!({"url": "https://shop.example/hooks"}))],
            )
            .answers(200, "The endpoint as it is now.", "WebhookEndpoint")
            .refuses(&[Code::CardNumberRefused, Code::WebhookUrlRefused]),
        endpoint(Route::new(HttpMethod::Delete, "/v1/webhook_endpoints/{id}", "deleteWebhookEndpoint", "Delete a webhook endpoint"))
            .about("Nothing more is sent to it, not even what was queued.")
            .answers(200, "It is gone.", "DeletedWebhookEndpoint"),
        endpoint(Route::post("/v1/webhook_endpoints/{id}/rotate_secret", "rotateWebhookSecret", "Give a webhook endpoint a new secret"))
            .about("The answer holds the new secret, this once. The old one signs too for 24 hours: until then each webhook has both signatures.")
            .optional_body("Empty", &[("Nothing more to say", json!({}))])
            .answers(200, "The endpoint, with its new secret.", "WebhookEndpointWithSecret"),
        endpoint(Route::get("/v1/webhook_endpoints/{id}/deliveries", "listWebhookDeliveries", "List what was sent to a webhook endpoint"))
            .about("The log, newest event first: what is due, what was taken, what was given up, and what the endpoint said.")
            .query("state", "Only those in this state.", named("DeliveryState"))
            .pages()
            .answers(200, "A page.", "WebhookDeliveryList"),
        endpoint(Route::post("/v1/webhook_endpoints/{id}/replay", "replayWebhooks", "Have a time's events told again"))
            .about(
                "Queues what happened from `from` on and before `to`, in its order; at most 10,000 events, then `last_event` says where it stopped.",
            )
            .body("Replay", &[("A morning", json!({"from": "2026-11-22T06:00:00Z", "to": "2026-11-22T12:00:00Z"}))])
            .answers(202, "What was queued.", "ReplayQueued")
            .refuses(&[Code::MissingField, Code::WebhookEndpointDisabled]),
    ]
}

fn endpoint(route: Route) -> Route {
    route.for_caller(Caller::Merchant, ENDPOINTS).path("id", "The endpoint.", endpoint_id("A webhook endpoint's id."))
}

/// A webhook endpoint's id.
pub fn endpoint_id(about: &str) -> Shape {
    shape::id(about, WebhookEndpointId::PREFIX)
}

/// What may be told.
pub fn topic() -> Shape {
    shape::one_of("An event's type. The list may grow; a type never changes its meaning.", TOPICS.iter().copied())
}

/// How a delivery stands.
pub fn delivery_state() -> Shape {
    shape::one_of(
        "`pending`: due, now or later. `delivered`: the endpoint took it. `failed`: given up.",
        DeliveryState::ALL.map(DeliveryState::as_str),
    )
}

/// The webhooks that we send: one for each type, with its body.
pub fn webhooks() -> Paths {
    let mut paths = PathsBuilder::new();
    for topic in TOPICS {
        paths = paths.path(*topic, PathItem::new(HttpMethod::Post, webhook(topic)));
    }
    paths.build()
}

fn webhook(topic: &str) -> OperationBuilder {
    let (subject, schema) = if topic.starts_with("refund.") { ("refund", "Refund") } else { ("payment", "Payment") };
    let content = ContentBuilder::new().schema(Some(message(topic, subject, schema))).build();
    let id: String = topic.split(['.', '_']).fold("on".to_owned(), |id, word| {
        let (first, rest) = word.split_at(1);
        id + &first.to_uppercase() + rest
    });
    OperationBuilder::new()
        .operation_id(Some(id))
        .tag(ENDPOINTS)
        .summary(Some(meaning(topic)))
        .description(Some(
            "Signed as [Standard Webhooks 1.0](https://www.standardwebhooks.com) says: verify it with any library of that standard, before you \
             believe it. Answer with a 2xx within 15 s; anything else is tried again, for three days, with the same id and the same bytes.",
        ))
        .securities(Some([utoipa::openapi::SecurityRequirement::default()]))
        .parameter(header("webhook-id", "The event's id: the same for every try.", shape::id("The event.", EventId::PREFIX)))
        .parameter(header(
            "webhook-timestamp",
            "When this try was signed, in seconds since 1970.",
            shape::pattern("Seconds.", "^[0-9]{1,12}$", "1795313866"),
        ))
        .parameter(header(
            "webhook-signature",
            "One signature, or two while a secret is rotated, with a blank between.",
            shape::pattern("Signatures.", "^v1,[A-Za-z0-9+/=]+( v1,[A-Za-z0-9+/=]+)?$", "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="),
        ))
        .request_body(Some(RequestBodyBuilder::new().required(Some(Required::True)).content("application/json", content).build()))
        .response("2XX", ResponseBuilder::new().description("You have it.").build())
        .response("410", ResponseBuilder::new().description("You want no more: the endpoint is turned off.").build())
        .response("default", ResponseBuilder::new().description("You do not have it: it is sent again, after `Retry-After` if you say so.").build())
}

fn header(name: &str, about: &str, shape: Shape) -> utoipa::openapi::path::Parameter {
    let header = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header).required(Required::True);
    header.description(Some(about)).schema(Some(shape)).build()
}

fn message(topic: &str, subject: &str, schema: &str) -> Shape {
    let data = Record::of("What it is about.")
        .must("sequence", shape::whole("The event's number within its payment.", 1))
        .must("object", named(schema))
        .open();
    Record::of(&format!("The {subject} as it stood when the event was first sent: never older than the event, perhaps newer."))
        .must("type", shape::always("What happened.", topic))
        .must("timestamp", shape::time("When it happened."))
        .must("data", data)
        .open()
}

/// What a type of event means, in one line.
fn meaning(topic: &str) -> &'static str {
    match topic {
        "payment.succeeded" => "A payment is paid",
        "payment.failed" => "A payment has ended unpaid",
        "payment.requires_action" => "A payment waits for the customer",
        "payment.requires_capture" => "A payment's money is held, and waits for your capture",
        "payment.captured" => "A payment's held money was taken",
        "payment.partially_captured" => "A part of a payment's held money was taken, the rest released",
        "payment.canceled" => "A payment has ended unpaid, as you asked",
        "payment.expired" => "A payment has ended unpaid, past its expiry",
        "payment.outcome_unknown" => "Whether a payment's money has moved is not known for now",
        "payment.outcome_resolved" => "It is known again",
        "payment.late_success_reversed" => "A payment that was paid too late was given back",
        "refund.created" => "A refund was made",
        "refund.succeeded" => "A refund's money went back",
        "refund.failed" => "A refund was refused by the channel",
        "refund.returned" => "A refund that had succeeded was taken back by the channel",
        "refund.outcome_unknown" => "Whether a refund's money has moved is not known for now",
        "dispute.created" => "A customer disputes a payment",
        "dispute.closed" => "A dispute has ended",
        _ => "Something happened",
    }
}
