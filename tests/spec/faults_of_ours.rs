//! What happens when our own parts break: a provider's code that panics, a restart with work in flight.

use breakwater::provider::{Provider, Verb};
use serde_json::json;

use crate::bent::Bent;
use crate::world::{World, payment, stripe, unique};

/// Stripe, but for orders that begin with `panic`: their code panics once the money was asked for.
static BRITTLE: Bent = Bent {
    answered: |call, answer| {
        assert!(!(call.order.starts_with("panic") && call.verb == Verb::Pay && call.pay_reference.is_some()), "injected");
        answer
    },
    ..Bent::STRAIGHT
};

fn brittle_main(channel: &str) -> &'static dyn Provider {
    if channel == "stripe_main" { &BRITTLE } else { stripe(channel) }
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
