//! Lists: every filter takes what it names and leaves out the rest, alone and together, over as many pages as there are.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Reply, World, payment, unique};

fn ids(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 200, "{:#}", reply.body);
    let data = reply.body["data"].as_array().expect("a list");
    data.iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
}

/// The ids of all pages, two at a time.
async fn all(world: &World, list: &str) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let and = if list.contains('?') { '&' } else { '?' };
        let page = world.get(&format!("{list}{and}limit=2{cursor}")).await;
        found.extend(ids(&page));
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

async fn pay_on(world: &World, channel: &str, order: &str, token: &str) -> Reply {
    // Ids and times are whole milliseconds: each object gets one of its own.
    world.clock.advance(Duration::from_millis(5));
    let mut body = payment(1_250, order);
    body["channel"] = json!(channel);
    body["payment_method"]["token"] = json!(token);
    let reply = world.create(&body).await;
    assert_eq!(reply.status, 201, "{:#}", reply.body);
    reply
}

async fn refund(world: &World, payment: &str, name: &str) -> Reply {
    world.clock.advance(Duration::from_millis(5));
    let body = json!({"payment_id": payment, "merchant_refund_id": name, "amount": 100});
    let reply = world.post("/v1/refunds", &unique("key"), &body).await;
    assert_eq!(reply.status, 201, "{:#}", reply.body);
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_are_filtered_by_status_channel_order_and_time_and_paged() {
    let world = World::start().await;
    let one = pay_on(&world, "stripe_main", "A-1", "pm_card_visa").await;
    let two = pay_on(&world, "stripe_backup", "A-2", "pm_card_visa").await;
    let three = pay_on(&world, "stripe_main", "A-3", "pm_card_visa_chargeDeclined").await;
    let (one, two, three, at) = (one.id(), two.id(), three.id(), two.text("created_at").to_owned());
    assert_eq!(all(&world, "/v1/payments").await, [three.clone(), two.clone(), one.clone()], "newest first");
    let cases: Vec<(String, Vec<&String>)> = vec![
        ("status=succeeded".to_owned(), vec![&two, &one]),
        ("status=failed".to_owned(), vec![&three]),
        ("status=canceled".to_owned(), vec![]),
        ("channel=stripe_backup".to_owned(), vec![&two]),
        ("channel=stripe_main&status=succeeded".to_owned(), vec![&one]),
        ("merchant_order_id=A-3".to_owned(), vec![&three]),
        (format!("created_at[gte]={at}"), vec![&three, &two]),
        (format!("created_at[gt]={at}"), vec![&three]),
        (format!("created_at[lt]={at}"), vec![&one]),
        (format!("created_at[lte]={at}"), vec![&two, &one]),
        (format!("created_at[gte]={at}&created_at[lte]={at}"), vec![&two]),
        (format!("created_at%5Bgt%5D={at}&created_at%5Blt%5D={at}"), vec![]),
    ];
    for (filter, expected) in cases {
        let found = all(&world, &format!("/v1/payments?{filter}")).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_are_filtered_by_status_channel_payment_order_name_and_time_and_paged() {
    let world = World::start().await;
    let first = pay_on(&world, "stripe_main", "A-1", "pm_card_visa").await.id();
    let second = pay_on(&world, "stripe_backup", "A-2", "pm_card_visa").await.id();
    let one = refund(&world, &first, "R-1").await;
    let two = refund(&world, &second, "R-2").await;
    let three = refund(&world, &first, "R-3").await;
    let (one, two, three, at) = (one.id(), two.id(), three.id(), two.text("created_at").to_owned());
    assert_eq!(all(&world, "/v1/refunds").await, [three.clone(), two.clone(), one.clone()]);
    let cases: Vec<(String, Vec<&String>)> = vec![
        ("status=succeeded".to_owned(), vec![&three, &two, &one]),
        ("status=processing".to_owned(), vec![]),
        ("channel=stripe_main".to_owned(), vec![&three, &one]),
        (format!("payment_id={second}"), vec![&two]),
        ("merchant_order_id=A-1".to_owned(), vec![&three, &one]),
        ("merchant_refund_id=R-2".to_owned(), vec![&two]),
        ("merchant_refund_id=R-2&merchant_order_id=A-1".to_owned(), vec![]),
        (format!("created_at[gte]={at}"), vec![&three, &two]),
        (format!("created_at[gt]={at}"), vec![&three]),
        (format!("created_at[lt]={at}"), vec![&one]),
        (format!("created_at[lte]={at}"), vec![&two, &one]),
    ];
    for (filter, expected) in cases {
        let found = all(&world, &format!("/v1/refunds?{filter}")).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_filtered_by_type_channel_payment_order_and_time_and_paged() {
    let world = World::start().await;
    let first = pay_on(&world, "stripe_main", "A-1", "pm_card_visa").await.id();
    let second = pay_on(&world, "stripe_backup", "A-2", "pm_card_visa_chargeDeclined").await.id();
    world.clock.advance(Duration::from_millis(5));
    let everything = all(&world, "/v1/events").await;
    assert_eq!(everything.iter().collect::<BTreeSet<_>>().len(), everything.len(), "no event twice");
    let of = async |filter: &str| -> Vec<Value> {
        let mut events = Vec::new();
        for id in all(&world, &format!("/v1/events?{filter}")).await {
            events.push(world.get(&format!("/v1/events/{id}")).await.body);
        }
        events
    };
    for (filter, payment) in [
        (format!("payment_id={first}"), &first),
        ("channel=stripe_backup".to_owned(), &second),
        ("merchant_order_id=A-1".to_owned(), &first),
        ("type=payment.failed".to_owned(), &second),
        ("type=payment.succeeded&channel=stripe_main".to_owned(), &first),
    ] {
        let found = of(&filter).await;
        assert!(!found.is_empty() && found.iter().all(|event| event["payment_id"] == *payment.as_str()), "{filter}: {found:#?}");
    }
    assert!(of("type=payment.succeeded&merchant_order_id=A-2").await.is_empty());
    let newest = world.get(&format!("/v1/events/{}", everything[0])).await.text("created_at").to_owned();
    assert_eq!(all(&world, &format!("/v1/events?created_at[gt]={newest}")).await, [] as [String; 0]);
    assert!(all(&world, &format!("/v1/events?created_at[gte]={newest}")).await.contains(&everything[0]));
    let (before, until) =
        (all(&world, &format!("/v1/events?created_at[lt]={newest}")).await, all(&world, &format!("/v1/events?created_at[lte]={newest}")).await);
    assert!(!before.contains(&everything[0]) && before.len() < until.len() && until == everything);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_a_list_does_not_have_is_refused_by_its_name() {
    let world = World::start().await;
    for (list, parameter) in [
        ("/v1/payments", "merchant_refund_id"),
        ("/v1/payments", "created_at"),
        ("/v1/payments", "created_at[eq]"),
        ("/v1/refunds", "type"),
        ("/v1/events", "status"),
        ("/v1/webhook_endpoints", "status"),
    ] {
        let reply = world.get(&format!("{list}?{parameter}=x")).await;
        assert_eq!((reply.status, reply.text("code"), reply.text("param")), (400, "unknown_parameter", parameter), "{list}: {:#}", reply.body);
        assert!(reply.text("detail").contains("Known here: "), "{:#}", reply.body);
    }
    for bad in ["status=lost", "created_at[lte]=2026-13-01", "created_at[gt]=1700000000"] {
        let reply = world.get(&format!("/v1/refunds?{bad}")).await;
        assert_eq!(
            (reply.status, reply.text("code"), Some(reply.text("param"))),
            (400, "invalid_request", bad.split('=').next()),
            "{:#}",
            reply.body
        );
    }
    world.close().await;
}
