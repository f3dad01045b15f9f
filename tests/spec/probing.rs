//! No customer's payment is the first thing that a healed channel is asked: where it can be asked about a payment, a question comes first.

use std::sync::Mutex;
use std::time::Duration;

use breakwater::provider::{Provider, Verb};
use serde_json::json;

use crate::bent::Bent;
use crate::world::{World, stripe};

/// The key of a question about a payment that never was.
const NOBODY: &str = "00000000000000000000000000000000";

/// What the channel was asked and has answered, in this order.
static HEARD: Mutex<Vec<Heard>> = Mutex::new(Vec::new());

#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    /// A call sets out.
    Asked(Verb),
    /// The channel has answered a call about the attempt of that key.
    Answered(Verb, String),
}

fn hear(heard: Heard) {
    HEARD.lock().expect("whole").push(heard);
}

static HEARING: Bent = Bent {
    asked: |call| hear(Heard::Asked(call.verb)),
    answered: |call, answer| {
        hear(Heard::Answered(call.verb, call.key.clone()));
        answer
    },
    ..Bent::STRAIGHT
};

fn hearing_main(channel: &str) -> &'static dyn Provider {
    if channel == "stripe_main" { &HEARING } else { stripe(channel) }
}

async fn breaker(world: &World) -> String {
    let channels = world.ops("/ops/v1/channels").await.body["data"].clone();
    let main = channels.as_array().expect("a list").iter().find(|row| row["id"] == "stripe_main").expect("it").clone();
    main["breaker"]["pay"]["state"].as_str().expect("a state").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_was_shut_answers_a_question_about_nobody_before_it_gets_a_payment() {
    let world = World::with(|setup| {
        setup.provider = hearing_main;
        setup.sandbox.notifications = false;
    })
    .await;
    // Refused connections move nothing and leave no doubt: there is no real question to ask.
    world.break_channel("stripe_main", &json!({"mode": "refuse"})).await;
    let mut shut = false;
    for _ in 0..400 {
        let reply = world.pay(1_250).await;
        if reply.status == 503 {
            assert_eq!(reply.text("code"), "every_channel_shut", "{:#}", reply.body);
            shut = true;
            break;
        }
        assert_eq!((reply.text("status"), reply.text("outcome")), ("failed", "not_sent"), "{:#}", reply.body);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(shut, "its breaker never tripped");
    assert_eq!(breaker(&world).await, "open");
    let before = HEARD.lock().expect("whole").len();

    world.heal("stripe_main").await;
    let mut taken = None;
    for _ in 0..400 {
        let reply = world.pay(1_250).await;
        if reply.status != 503 {
            taken = Some(reply);
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let taken = taken.expect("it is let through again");
    assert_eq!((taken.status, taken.text("status")), (201, "succeeded"), "{:#}", taken.body);
    let heard = HEARD.lock().expect("whole")[before..].to_vec();
    let place = |wanted: &Heard| heard.iter().position(|one| one == wanted);
    let answered = place(&Heard::Answered(Verb::Query, NOBODY.to_owned())).expect("a question about nobody was answered");
    let paid = place(&Heard::Asked(Verb::Pay)).expect("it was paid there");
    assert!(answered < paid, "{heard:?}");

    // Probes that end well close it, and all is as ever.
    let mut state = String::new();
    for _ in 0..100 {
        state = breaker(&world).await;
        if state == "closed" {
            break;
        }
        world.pay(1_250).await;
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(state, "closed");
    assert_eq!(world.pay(1_250).await.status, 201);
    world.close().await;
}
