//! What happens when our own parts break: a provider's code that panics, a restart with work in flight.

use std::sync::LazyLock;

use breakwater::domain::{Contract, Failure};
use breakwater::provider::{
    self, Assembled, Call, Credentials, HttpProtocol, HttpResponse, Notification, NotificationError, Protocol, Provider, Reply, Verb,
};
use jiff::Timestamp;
use serde_json::json;

use crate::world::{World, payment, unique};

static STRIPE: LazyLock<&'static dyn Provider> = LazyLock::new(|| provider::find("stripe").expect("stripe"));

/// Stripe, but for orders that begin with `panic`: their code panics once the money was asked for.
struct Brittle;

impl Provider for Brittle {
    fn name(&self) -> &'static str {
        "stripe"
    }
    fn contract(&self) -> &'static Contract {
        STRIPE.contract()
    }
    fn default_address(&self) -> &'static str {
        STRIPE.default_address()
    }
    fn refuses(&self, call: &Call) -> Option<Failure> {
        STRIPE.refuses(call)
    }
    fn protocol(&'static self) -> Protocol {
        Protocol::Http(&Brittle)
    }
}

/// What Stripe itself says.
fn stripe() -> &'static dyn HttpProtocol {
    STRIPE.protocol().http().expect("Stripe speaks HTTP")
}

impl HttpProtocol for Brittle {
    fn request(&self, call: &Call, credentials: &Credentials) -> Assembled {
        stripe().request(call, credentials)
    }
    fn reply(&self, call: &Call, response: &HttpResponse, credentials: &Credentials) -> Reply {
        assert!(!(call.order.starts_with("panic") && call.verb == Verb::Pay && call.pay_reference.is_some()), "injected");
        stripe().reply(call, response, credentials)
    }
    fn verify_notification(
        &self,
        headers: &http::HeaderMap,
        body: &[u8],
        credentials: &Credentials,
        now: Timestamp,
    ) -> Result<(), NotificationError> {
        stripe().verify_notification(headers, body, credentials, now)
    }
    fn read_notification(&self, body: &[u8], credentials: &Credentials) -> Result<Notification, NotificationError> {
        stripe().read_notification(body, credentials)
    }
}

fn brittle_main(channel: &str) -> &'static dyn Provider {
    if channel == "stripe_main" { &Brittle } else { *STRIPE }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_providers_code_costs_one_call_and_no_other_channel_notices() {
    let world = World::with(|setup| {
        setup.provider = brittle_main;
        setup.sandbox.notifications = false;
    })
    .await;
    let pay = |channel: &'static str, order: String| {
        let mut body = payment(1_250, &order);
        body["channel"] = json!(channel);
        let world = &world;
        async move { world.create(&body).await }
    };
    let (panicked, neighbour) = tokio::join!(pay("stripe_main", unique("panic")), pay("stripe_backup", unique("order")));
    assert_eq!((neighbour.status, neighbour.text("status")), (201, "succeeded"), "{:#}", neighbour.body);
    // It was charged, our code fell over its answer: unknown, asked after, and found.
    assert_eq!((panicked.status, panicked.text("status")), (201, "succeeded"), "{:#}", panicked.body);
    let next = pay("stripe_main", unique("order")).await;
    assert_eq!((next.status, next.text("status")), (201, "succeeded"), "{:#}", next.body);
    world.close().await;
}
