//! What happens when the machine fails us: a disk that is full, a name that leads nowhere, a clock that jumps.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;
use tokio_postgres::Client;

use crate::operations::connect;
use crate::world::{World, payment, unique};

/// From now on the database answers to that as it does when its disk is full.
async fn fill_disk(database: &Client, what: &str, condition: &str) {
    let statements = format!(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
         END $$;
         CREATE TRIGGER full_disk BEFORE {what} FOR EACH ROW {condition} EXECUTE FUNCTION full_disk();"
    );
    database.batch_execute(&statements).await.expect("it is full");
}

async fn make_room(database: &Client) {
    database.batch_execute("DROP FUNCTION full_disk CASCADE").await.expect("there is room");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_full_disk_nothing_is_sent_and_the_same_key_pays_once_there_is_room() {
    let world = World::start().await;
    let database = connect(&world.database_url, None).await;
    fill_disk(&database, "INSERT ON payment", "").await;
    let (key, body) = (unique("key"), payment(1_250, &unique("order")));
    let refused = world.post("/v1/payments", &key, &body).await;
    assert_eq!((refused.status, refused.text("code"), refused.text("retry")), (503, "database_unavailable", "same_key"), "{:#}", refused.body);
    assert!(world.book("stripe_main").await.is_empty(), "nothing was sent");
    make_room(&database).await;
    let paid = world.post("/v1/payments", &key, &body).await;
    assert_eq!((paid.status, paid.text("status")), (201, "succeeded"), "{:#}", paid.body);
    assert_eq!(world.book("stripe_main").await.len(), 1);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_charged_while_the_disk_was_full_is_found_when_there_is_room_and_charged_once() {
    let world = World::with(|setup| setup.sandbox.notifications = false).await;
    let database = connect(&world.database_url, None).await;
    // What the channel has said can no longer be written.
    fill_disk(&database, "UPDATE ON attempt", "WHEN (NEW.state <> 'sent')").await;
    let (key, body) = (unique("key"), payment(1_250, &unique("order")));
    let told = world.post("/v1/payments", &key, &body).await;
    assert_eq!(world.book("stripe_main").await.len(), 1, "it was charged");
    assert_ne!(told.text("status"), "succeeded", "it could not be written: {:#}", told.body);
    assert_ne!(told.text("status"), "failed", "it was charged: {:#}", told.body);
    make_room(&database).await;
    let mut again = world.post("/v1/payments", &key, &body).await;
    while again.body["code"] == "idempotency_key_in_flight" {
        tokio::time::sleep(Duration::from_millis(50)).await;
        again = world.post("/v1/payments", &key, &body).await;
    }
    assert!(matches!(again.status, 200..=202), "{:#}", again.body);
    assert_eq!(world.finally(&again.id()).await["status"], "succeeded");
    assert_eq!(world.book("stripe_main").await.len(), 1, "charged once");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_whose_name_leads_nowhere_is_sent_nothing_and_costs_the_other_nothing() {
    let world = World::with(|setup| {
        setup.address = |id, address| if id == "stripe_main" { "http://nowhere.invalid:80".to_owned() } else { address.to_owned() };
    })
    .await;
    let at = |channel: &str| {
        let mut body = payment(1_250, &unique("order"));
        body["channel"] = json!(channel);
        body
    };
    let lost = world.create(&at("stripe_main")).await;
    assert_eq!(world.finally(&lost.id()).await["status"], "failed", "{:#}", lost.body);
    let paid = world.create(&at("stripe_backup")).await;
    assert_eq!((paid.status, paid.text("status")), (201, "succeeded"), "{:#}", paid.body);
    assert!(world.book("stripe_main").await.is_empty());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_jumps_ahead_and_back_leaves_nothing_waiting_and_charges_nothing_twice() {
    let world = World::with(|setup| setup.sandbox.notifications = false).await;
    let unheard = json!({"mode": "timeout_processed", "rate": 1.0, "operations": ["pay"]});
    let day = SignedDuration::from_hours(24);
    for jump in [SignedDuration::ZERO, day, -day] {
        world.clock.set_wall_by(jump);
        world.break_channel("stripe_main", &unheard).await;
        let mut body = payment(1_250, &unique("order"));
        body["channel"] = json!("stripe_main");
        let made = world.create(&body).await;
        world.heal("stripe_main").await;
        // Without time being moved by hand: what is due must become so by itself.
        let found = world.eventually(&made.id(), |payment| payment["status"] == "succeeded").await;
        assert_eq!(found["status"], "succeeded", "after a jump of {jump}: {found:#}");
        assert_eq!(world.create(&payment(700, &unique("order"))).await.status, 201);
    }
    world.close().await;
}
