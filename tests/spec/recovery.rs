//! A channel answers again: what is in doubt there is due at once, whatever the ladder had put it off to.

use std::time::Duration;

use breakwater::domain::{Part, PaymentId};
use breakwater::store::lease::Pace;
use breakwater::store::{PoolSizes, Store};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::runtime::Handle;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::world::{Setup, World, connect};

/// Over how long what is in doubt is spread when its channel answers again.
const SPREAD: SignedDuration = SignedDuration::from_secs(2);
/// A channel's doubts are made due at most so often.
const REST: Duration = Duration::from_secs(5);
/// How far off the ladder has put what is in doubt, and on which rung it stands.
const NIGHT: SignedDuration = SignedDuration::from_hours(6);
const RUNG: i32 = 15;

pub fn uuid(id: &str) -> Uuid {
    id.parse::<PaymentId>().expect("an id").0
}

/// Only our own questions, and the first answer in a hurry.
pub fn deaf(setup: &mut Setup) {
    setup.sandbox.notifications = false;
    setup.settings.server.answer_within_ms = 100;
}

/// So many payments of which nobody knows anything.
pub async fn unknowns(world: &World, count: usize) -> Vec<String> {
    let made = futures_util::future::join_all((0..count).map(|_| world.pay(1_250))).await;
    let ids: Vec<String> = made.iter().map(|reply| reply.id()).collect();
    for id in &ids {
        world.eventually(id, |payment| payment["outcome"] == "unknown").await;
    }
    ids
}

/// Puts them off by hours, as the ladder does in a long night, once nobody holds one of them.
pub async fn put_off(client: &Client, ids: &[String]) {
    let ids: Vec<Uuid> = ids.iter().map(|id| uuid(id)).collect();
    let sql = "UPDATE attempt SET due_at = now() + interval '6 hours', tries = 15 \
               WHERE payment_id = ANY($1) AND state = 'unknown' AND (lease_until IS NULL OR lease_until <= now())";
    for _ in 0..400 {
        if client.execute(sql, &[&ids]).await.expect("written") == ids.len() as u64 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("somebody holds them all the time");
}

/// When the payment's attempt is due, on which rung, and whether it is set aside.
async fn plan(client: &Client, id: &str) -> (Timestamp, i32, bool) {
    let sql = "SELECT due_at, tries, set_aside_at IS NOT NULL FROM attempt WHERE payment_id = $1";
    let row = client.query_one(sql, &[&uuid(id)]).await.expect("one attempt");
    (row.get(0), row.get(1), row.get(2))
}

/// Its plan, once it is due within the hour.
async fn hastened(client: &Client, id: &str, now: Timestamp) -> (Timestamp, i32) {
    for _ in 0..400 {
        let (due, tries, _) = plan(client, id).await;
        if due < now + SignedDuration::from_hours(1) {
            return (due, tries);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{id} is still due in hours");
}

/// When the last of them is due.
async fn latest(client: &Client, ids: &[String]) -> Timestamp {
    let dues = futures_util::future::join_all(ids.iter().map(async |id| plan(client, id).await.0)).await;
    dues.into_iter().max().expect("some")
}

async fn paid(world: &World) {
    let id = world.pay(700).await.id();
    assert_eq!(world.finally(&id).await["status"], "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_doubt_is_due_within_two_seconds_of_the_channels_first_answer_and_not_again_before_a_rest() {
    // Nobody looks at what is due in this process: when that is can be seen.
    let world = World::with(|setup| {
        deaf(setup);
        setup.settings.server.roles = [Part::Payment].into_iter().collect();
    })
    .await;
    let client = connect(&world).await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "operations": ["pay"]})).await;
    let mut doubts = unknowns(&world, 4).await;
    put_off(&client, &doubts).await;
    let poison = doubts.pop().expect("four");
    client.execute("UPDATE attempt SET set_aside_at = now() WHERE payment_id = $1", &[&uuid(&poison)]).await.expect("written");
    // Past the rest that the payments' own first steps may have begun.
    world.clock.advance(REST);
    world.heal("stripe_main").await;

    let (began, began_wall) = (world.clock.boot(), world.clock.wall());
    paid(&world).await;
    for id in &doubts {
        let (due, tries) = hastened(&client, id, began_wall).await;
        assert!(due >= began_wall && due <= world.clock.wall() + SPREAD, "{due} is not within two seconds of the answer at {began_wall}");
        assert_eq!(tries, RUNG - 1, "the look out of turn costs no rung");
    }
    assert!(plan(&client, &poison).await.2, "what was set aside for a fault of ours stays there");

    // It fails and answers again at once: its doubts would be written, and asked after, with every answer.
    put_off(&client, &doubts).await;
    world.break_channel("stripe_main", &json!({"mode": "reset_after", "operations": ["pay"]})).await;
    let later = unknowns(&world, 1).await;
    world.heal("stripe_main").await;
    paid(&world).await;
    let mut far = 0;
    for id in &doubts {
        far += usize::from(plan(&client, id).await.0 > began_wall + NIGHT - SignedDuration::from_hours(1));
    }
    // On a machine that is slow enough the rest is over by itself.
    assert!(far == doubts.len() || world.clock.boot().since(began) >= REST, "{} were made due again without a rest", doubts.len() - far);
    // The recovery is not forgotten for that: after the rest the next answer brings it.
    world.clock.advance(REST);
    paid(&world).await;
    for id in &doubts {
        hastened(&client, id, world.clock.wall()).await;
    }

    // Somebody who looks finds them due, and they end; but for the one that was set aside.
    let poller = world.peer_with(|settings| settings.server.roles = [Part::Poller, Part::Refund].into_iter().collect()).await;
    for id in doubts.iter().chain(&later) {
        assert_eq!(world.finally(id).await["status"], "succeeded");
    }
    assert_eq!(world.payment(&poison).await["outcome"], "unknown", "no poller takes it");
    client.execute("UPDATE attempt SET set_aside_at = NULL, due_at = now() WHERE payment_id = $1", &[&uuid(&poison)]).await.expect("written");
    world.finally(&poison).await;
    poller.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_one_question_ends_every_doubt_at_its_channel_hours_before_its_time() {
    let world = World::with(deaf).await;
    let client = connect(&world).await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "operations": ["pay", "query"]})).await;
    let doubts = unknowns(&world, 3).await;
    put_off(&client, &doubts).await;
    world.heal("stripe_main").await;
    for id in &doubts {
        assert_eq!(world.payment(id).await["outcome"], "unknown", "that it is well is nothing that it has told");
    }
    // A merchant asks about one. Questions about it are seconds apart, and the channel's pause for breath may not be over.
    let path = format!("/v1/payments/{}?sync=true", doubts[0]);
    for _ in 0..100 {
        if world.get(&path).await.text("status") == "succeeded" {
            break;
        }
        world.clock.advance(Duration::from_secs(2));
    }
    for id in &doubts {
        assert_eq!(world.finally(id).await["status"], "succeeded");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_more_is_in_doubt_the_longer_it_is_spread_and_nothing_comes_later_than_it_would_have() {
    let world = World::with(|setup| {
        deaf(setup);
        setup.settings.server.roles = [Part::Payment].into_iter().collect();
    })
    .await;
    let client = connect(&world).await;
    let store = Store::open(&world.database_url, PoolSizes { journal: 2, reads: 4, channels: 0 }, &Handle::current()).await.expect("a store");
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "operations": ["pay"]})).await;
    let doubts = unknowns(&world, 3).await;
    let (second, hour) = (SignedDuration::from_secs(1), SignedDuration::from_hours(1));
    let now = world.clock.wall();
    let spread = async |pace: Pace| {
        put_off(&client, &doubts).await;
        assert_eq!(store.hasten("stripe_main", now, pace).await.expect("written"), 3);
        latest(&client, &doubts).await.duration_since(now)
    };
    // An hour for each of three, two at most: that all of them come within the first second is one in hundreds of thousand millions.
    let pace = Pace { least: second, each: hour, most: hour * 2 };
    let many = spread(pace).await;
    assert!(many > second && many <= hour * 2, "{many:#}");
    assert_eq!(store.hasten("stripe_main", now, pace).await.expect("written"), 0, "what is spread is not drawn again");
    let few = spread(Pace { each: SignedDuration::ZERO, ..pace }).await;
    assert!(few <= second, "{few:#}");

    let soon = now + second * 30;
    client.execute("UPDATE attempt SET due_at = $1 WHERE due_at IS NOT NULL", &[&soon]).await.expect("written");
    store.hasten("stripe_main", now, pace).await.expect("written");
    assert!(latest(&client, &doubts).await <= soon, "it was put off");

    world.heal("stripe_main").await;
    let poller = world.peer_with(|settings| settings.server.roles = [Part::Poller, Part::Refund].into_iter().collect()).await;
    paid(&world).await;
    for id in &doubts {
        assert_eq!(world.finally(id).await["status"], "succeeded");
    }
    poller.stop().await;
    world.close().await;
}
