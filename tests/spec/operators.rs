//! Operators: who may do what, what is in doubt, a person's word on it, and that every act is on record.

use breakwater::domain::Role;
use breakwater::http::routes::OPERATIONS;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::overrides::act;
use crate::world::{Reply, Setup, World, sha256};

/// Adds an operator; answers their token.
async fn operator(world: &World, name: &str, role: &str) -> String {
    let token = format!("bwo_test_{name}");
    world.running.store.add_operator(name, role, &sha256(&token), world.clock.wall()).await.expect("an operator");
    token
}

/// Neither replies nor queries nor notifications tell what became of a payment.
pub fn deaf(setup: &mut Setup) {
    setup.sandbox.notifications = false;
    setup.settings.server.answer_within_ms = 100;
}

/// A payment of which nobody knows anything.
async fn unknown(world: &World, amount: i64, mode: &str) -> String {
    world.break_channel("stripe_main", &json!({"mode": mode, "rate": 1.0, "operations": ["pay", "query"]})).await;
    let id = world.pay(amount).await.id();
    world.eventually(&id, |payment| payment["outcome"] == "unknown").await;
    id
}

pub async fn resolve(world: &World, token: &str, id: &str, outcome: &str) -> Reply {
    let body = json!({"outcome": outcome, "note": "the bank told me", "evidence": "statement of today, page 2"});
    act(world, token, "POST", &format!("/ops/v1/payments/{id}/resolve"), &body).await
}

pub async fn acts(world: &World, filter: &str) -> Vec<Value> {
    world.ops(&format!("/ops/v1/audit{filter}")).await.body["data"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_is_open_to_its_roles_and_shut_to_all_others() {
    let world = World::start().await;
    let mut tokens = Vec::new();
    for role in Role::ALL {
        tokens.push((role, operator(&world, role.as_str(), role.as_str()).await));
    }
    for (template, method, needed) in OPERATIONS {
        let id = if template.contains("/channels/") { "stripe_main".to_owned() } else { format!("pay_{}", Uuid::new_v4().simple()) };
        let path = template.replace("{id}", &id);
        let nobody = Reply::of(world.send(method, &path, &[], "").await);
        assert_eq!((nobody.status, nobody.text("code")), (401, "unauthenticated"), "{method} {path}");
        let merchant = act(&world, &world.key, method, &path, &json!({})).await;
        assert_eq!((merchant.status, merchant.text("code")), (403, "forbidden"), "{method} {path}");
        for (role, token) in &tokens {
            let answer = act(&world, token, method, &path, &json!({})).await;
            let may = !matches!(answer.status, 401 | 403);
            assert_eq!(may, role >= needed, "{role} {method} {path}: {} {:#}", answer.status, answer.body);
            assert_ne!(answer.status, 500, "{role} {method} {path}");
            if !may {
                assert!(answer.text("detail").contains(needed.as_str()), "{}", answer.text("detail"));
            }
        }
    }
    assert!(acts(&world, "").await.is_empty(), "nothing of this was an act");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_doubt_is_told_with_the_money_at_risk_and_a_person_may_say_what_it_was() {
    let world = World::with(deaf).await;
    let id = unknown(&world, 1_250, "timeout_processed").await;
    let other = unknown(&world, 750, "timeout_processed").await;
    let doubt = world.ops("/ops/v1/unknowns?limit=1").await;
    let total = &doubt.body["totals"][0];
    assert_eq!(
        (&total["channel"], &total["operation"], &total["currency"], &total["count"], &total["amount_minor"]),
        (&json!("stripe_main"), &json!("pay"), &json!("CNY"), &json!(2), &json!(2_000)),
        "{:#}",
        doubt.body
    );
    assert!(total["oldest_age_seconds"].is_u64() && doubt.body["oldest_age_seconds"].is_u64());
    let row = &doubt.body["data"][0];
    assert_eq!(
        (&row["payment_id"], &row["amount"], &row["attempts"][0]["state"]),
        (&json!(id), &json!(1_250), &json!("unknown")),
        "the oldest first"
    );
    assert_eq!(doubt.body["has_more"], true);
    let cursor = doubt.text("next_cursor");
    assert_eq!(world.ops(&format!("/ops/v1/unknowns?limit=1&cursor={cursor}")).await.body["data"][0]["payment_id"], json!(other));
    assert_eq!(world.ops("/ops/v1/unknowns?channel=stripe_backup").await.body["data"], json!([]));

    for missing in ["outcome", "note", "evidence"] {
        let mut body = json!({"outcome": "approved", "note": "a", "evidence": "b"});
        body[missing] = Value::Null;
        let refused = act(&world, &world.ops_token, "POST", &format!("/ops/v1/payments/{id}/resolve"), &body).await;
        assert_eq!((refused.status, refused.text("code"), refused.text("param")), (400, "missing_field", missing));
    }
    let unfit = resolve(&world, &world.ops_token, &id, "authorized").await;
    assert_eq!((unfit.status, unfit.text("param")), (400, "outcome"), "it was no hold: {:#}", unfit.body);
    assert!(acts(&world, "").await.is_empty());

    let done = resolve(&world, &world.ops_token, &id, "approved").await;
    assert_eq!(
        (done.status, done.text("state"), done.text("status"), done.text("outcome")),
        (200, "resolved", "succeeded", "approved"),
        "{:#}",
        done.body
    );
    let payment = world.payment(&id).await;
    assert_eq!((&payment["status"], &payment["amount_captured"]), (&json!("succeeded"), &json!(1_250)));
    let again = resolve(&world, &world.ops_token, &id, "declined").await;
    assert_eq!((again.status, again.text("code")), (409, "wrong_state"), "what is known is known: {:#}", again.body);
    assert_eq!(world.payment(&id).await["status"], "succeeded");

    let told = acts(&world, &format!("?subject=payment:{id}")).await;
    assert_eq!(told.iter().map(|act| act["act"].as_str().expect("an act")).collect::<Vec<_>>(), ["payment.resolved", "payment.resolve_ordered"]);
    assert_eq!((&told[0]["who"], &told[0]["why"]), (&json!("operator:tester"), &json!("the bank told me")));
    assert_eq!((&told[0]["before"]["outcome"], &told[0]["after"]["outcome"]), (&json!("unknown"), &json!("approved")));
    assert_eq!(told[1]["after"]["evidence"], "statement of today, page 2");
    world.heal("stripe_main").await;
    world.finally(&other).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_a_person_says_was_declined_frees_its_order() {
    let world = World::with(deaf).await;
    let id = unknown(&world, 1_250, "timeout_not_processed").await;
    let order = world.payment(&id).await["merchant_order_id"].as_str().expect("an order").to_owned();
    let held = world.create(&crate::world::payment(1_250, &order)).await;
    assert_eq!((held.status, held.text("code")), (409, "duplicate_order"));
    assert_eq!(resolve(&world, &world.ops_token, &id, "declined").await.status, 200);
    let payment = world.payment(&id).await;
    assert_eq!((&payment["status"], &payment["outcome"]), (&json!("failed"), &json!("declined")), "{payment:#}");
    world.heal("stripe_main").await;
    let mut again = crate::world::payment(1_250, &order);
    // The other account: the first one's breaker has seen much.
    again["channel"] = json!("stripe_backup");
    let paid = world.create(&again).await;
    world.finally(&paid.id()).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn above_the_amount_a_second_person_must_say_the_same_and_be_an_admin() {
    let world = World::with(|setup| {
        deaf(setup);
        setup.settings.operations.resolve_alone_up_to = 1_000;
    })
    .await;
    let (ada, bob) = (operator(&world, "ada", "operator").await, operator(&world, "bob", "operator").await);
    let id = unknown(&world, 1_250, "timeout_processed").await;
    let is_open = async || world.payment(&id).await["outcome"] == "unknown";

    let first = resolve(&world, &ada, &id, "approved").await;
    assert_eq!((first.status, first.text("state"), first.text("proposed_by")), (202, "awaits_second_person", "operator:ada"), "{:#}", first.body);
    assert_eq!(resolve(&world, &ada, &id, "approved").await.status, 202, "the same person is no second one");
    let no_admin = resolve(&world, &bob, &id, "approved").await;
    assert_eq!((no_admin.status, no_admin.text("code")), (403, "forbidden"));
    let disagrees = resolve(&world, &world.ops_token, &id, "declined").await;
    assert_eq!((disagrees.status, disagrees.text("code")), (409, "wrong_state"));
    assert!(disagrees.text("detail").contains("operator:ada has said approved"), "{}", disagrees.text("detail"));
    assert!(is_open().await, "one word alone changes nothing");

    let second = resolve(&world, &world.ops_token, &id, "approved").await;
    assert_eq!((second.status, second.text("status")), (200, "succeeded"), "{:#}", second.body);
    let who: Vec<_> = acts(&world, &format!("?subject=payment:{id}")).await.iter().map(|act| (act["act"].clone(), act["who"].clone())).collect();
    let said = |act: &str, who: &str| (json!(act), json!(format!("operator:{who}")));
    assert_eq!(
        who,
        [
            said("payment.resolved", "tester"),
            said("payment.resolve_ordered", "tester"),
            said("payment.resolve_proposed", "ada"),
            said("payment.resolve_proposed", "ada"),
        ]
    );
    world.heal("stripe_main").await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_of_an_attempt_while_its_channel_is_being_asked() {
    let world = World::with(deaf).await;
    let id = unknown(&world, 1_250, "timeout_processed").await;
    let (client, connection) = tokio_postgres::connect(&world.database_url, tokio_postgres::NoTls).await.expect("the database");
    tokio::spawn(connection);
    let uuid = Uuid::parse_str(id.trim_start_matches("pay_")).expect("an id");
    let lease = "UPDATE attempt SET lease_owner = $2, lease_until = now() + $3::text::interval, fence = fence + 1 WHERE payment_id = $1";
    client.execute(lease, &[&uuid, &Uuid::new_v4(), &"1 hour"]).await.expect("leased");
    let refused = resolve(&world, &world.ops_token, &id, "approved").await;
    assert_eq!((refused.status, refused.text("code")), (409, "wrong_state"));
    assert!(refused.text("detail").contains("being asked"), "{}", refused.text("detail"));
    assert_eq!(world.payment(&id).await["outcome"], "unknown");
    client.execute(lease, &[&uuid, &Uuid::new_v4(), &"-1 hour"]).await.expect("lapsed");
    let done = resolve(&world, &world.ops_token, &id, "approved").await;
    assert_eq!((done.status, done.text("status")), (200, "succeeded"), "{:#}", done.body);
    world.heal("stripe_main").await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_alone_is_not_two_and_a_word_that_has_lapsed_counts_no_more() {
    let world = World::with(|setup| {
        deaf(setup);
        setup.settings.operations.resolve_alone_up_to = 0;
    })
    .await;
    let eve = operator(&world, "eve", "admin").await;
    let id = unknown(&world, 1_250, "timeout_processed").await;
    assert_eq!(resolve(&world, &world.ops_token, &id, "approved").await.status, 202);
    assert_eq!(resolve(&world, &world.ops_token, &id, "approved").await.status, 202);
    world.clock.advance(std::time::Duration::from_secs(24 * 3_600 + 1));
    let late = resolve(&world, &eve, &id, "approved").await;
    assert_eq!((late.status, late.text("proposed_by")), (202, "operator:eve"), "the first word has lapsed: {:#}", late.body);
    assert_eq!(world.payment(&id).await["outcome"], "unknown");
    assert_eq!(resolve(&world, &world.ops_token, &id, "approved").await.status, 200);
    world.heal("stripe_main").await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requery_makes_what_is_in_doubt_due_at_once_and_says_how_much() {
    let world = World::with(deaf).await;
    let id = unknown(&world, 1_250, "timeout_processed").await;
    world.eventually_tries(&id, 5).await;
    let ask = |body: Value| {
        let (world, token) = (&world, &world.ops_token);
        async move { act(world, token, "POST", "/ops/v1/unknowns/requery", &body).await }
    };
    for (wrong, param) in [
        (json!({}), "payment_ids"),
        (json!({"payment_ids": []}), "payment_ids"),
        (json!({"payment_ids": ["17"]}), "payment_ids"),
        (json!({"channel": "nobody"}), "channel"),
        (json!({"since": "yesterday"}), "since"),
    ] {
        let refused = ask(wrong).await;
        assert!(matches!(refused.status, 400 | 422), "{:#}", refused.body);
        assert_eq!(refused.text("param"), param);
    }
    let elsewhere = ask(json!({"channel": "stripe_backup"})).await;
    assert_eq!((elsewhere.status, &elsewhere.body["attempts_due"]), (202, &json!(0)), "{:#}", elsewhere.body);
    world.heal("stripe_main").await;
    // A breaker that has seen the channel fail may still be shut: what is due is asked once it lets the query through.
    let asked = ask(json!({"payment_ids": [id], "reason": "the shop asks"})).await;
    assert_eq!((asked.status, asked.text("object")), (202, "requery"), "{:#}", asked.body);
    assert!(asked.body["attempts_due"].as_i64().is_some_and(|due| due <= 1));
    assert_eq!(world.finally(&id).await["status"], "succeeded");
    let told = acts(&world, "?act=payment.requery").await;
    assert_eq!(told.len(), 2);
    assert_eq!((&told[0]["subject"], &told[0]["why"]), (&json!(format!("payment:{id}")), &json!("the shop asks")));
    assert_eq!((&told[1]["subject"], &told[1]["after"]["attempts"]), (&json!("channel:stripe_backup"), &json!(0)));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_messages_are_listed_without_their_bodies() {
    let world = World::start().await;
    let paid = [world.pay(1_250).await.id(), world.pay(1_250).await.id()];
    let mut rows = Vec::new();
    for _ in 0..200 {
        rows = world.ops("/ops/v1/notifications?channel=stripe_main&state=applied").await.body["data"].as_array().expect("a list").clone();
        if paid.iter().all(|id| rows.iter().any(|row| row["payment_id"] == *id)) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert!(paid.iter().all(|id| rows.iter().any(|row| row["payment_id"] == *id)), "{rows:#?}");
    let members: Vec<_> = rows[0].as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(members, ["applied_at", "body_bytes", "channel", "event_id", "note", "object", "payment_id", "received_at", "state", "type"]);
    assert!(rows[0]["body_bytes"].as_i64().is_some_and(|bytes| bytes > 100));
    assert_eq!(world.ops("/ops/v1/notifications?state=quarantined").await.body["data"], json!([]));
    assert_eq!(world.ops("/ops/v1/notifications?state=lost").await.status, 400);

    let mut seen = Vec::new();
    let mut page = world.ops("/ops/v1/notifications?limit=1").await;
    loop {
        seen.push(page.body["data"][0]["event_id"].as_str().expect("an id").to_owned());
        assert!(seen.len() <= 50, "it never ends");
        if page.body["has_more"] == false {
            break;
        }
        page = world.ops(&format!("/ops/v1/notifications?limit=1&cursor={}", page.text("next_cursor"))).await;
    }
    let mut distinct = seen.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), seen.len(), "none twice");
    assert!(rows.iter().all(|row| seen.contains(&row["event_id"].as_str().expect("an id").to_owned())), "none left out");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_is_read_in_pages_and_by_who_what_and_when() {
    let world = World::start().await;
    let ada = operator(&world, "ada", "operator").await;
    let end = (world.clock.wall() + jiff::SignedDuration::from_mins(30)).to_string();
    for (token, channel) in [(&ada, "stripe_main"), (&world.ops_token, "stripe_backup"), (&ada, "stripe_backup")] {
        let body = json!({"mode": "drain", "reason": "a drill", "expires_at": end});
        assert_eq!(act(&world, token, "PUT", &format!("/ops/v1/channels/{channel}/override"), &body).await.status, 200);
    }
    assert_eq!(acts(&world, "?who=operator:ada").await.len(), 2);
    assert_eq!(acts(&world, "?act=channel.override&subject=channel:stripe_backup").await.len(), 2);
    assert_eq!(acts(&world, "?at[gte]=2100-01-01T00:00:00Z").await.len(), 0);
    assert_eq!(acts(&world, "?at[lt]=2100-01-01T00:00:00Z").await.len(), 3);
    let page = world.ops("/ops/v1/audit?limit=2").await;
    let (newest, cursor) = (page.body["data"][0]["id"].as_i64().expect("a number"), page.text("next_cursor"));
    let rest = world.ops(&format!("/ops/v1/audit?limit=2&cursor={cursor}")).await;
    assert_eq!((rest.body["data"].as_array().map(Vec::len), &rest.body["has_more"]), (Some(1), &json!(false)), "{:#}", rest.body);
    assert!(rest.body["data"][0]["id"].as_i64().is_some_and(|oldest| oldest < newest));
    world.close().await;
}

/// Runs the program as a person at a terminal would; answers its exit code, and what it said on both outputs.
pub async fn command(world: &World, arguments: &[&str], token: &str) -> (Option<i32>, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_breakwater"));
    let url = ("BREAKWATER_DATABASE_URL", world.database_url.clone());
    command.args(arguments).env_clear().envs([url, ("BREAKWATER_OPS_URL", world.url.clone()), ("BREAKWATER_OPS_TOKEN", token.to_owned())]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_resolves_and_asks_again_by_command_and_only_with_a_token_that_may() {
    let world = World::with(deaf).await;
    let id = unknown(&world, 1_250, "timeout_processed").await;
    let viewer = operator(&world, "vic", "viewer").await;
    let resolve = ["payments", "resolve", &id, "--outcome", "approved", "--note", "on the statement", "--evidence", "page 2"];
    let (code, _, why) = command(&world, &resolve, &viewer).await;
    assert_eq!(code, Some(1));
    assert!(why.contains("nothing was changed") && why.contains("breakwater operators ls"), "{why}");
    let (code, _, why) = command(&world, &resolve[..7], &world.ops_token).await;
    assert_eq!(code, Some(2), "without evidence: {why}");

    let (code, said, why) = command(&world, &["payments", "requery", "--id", &id, "--why", "the shop asks", "--json"], "").await;
    assert_eq!(code, Some(0), "{why}");
    let told: Value = serde_json::from_str(&said).expect("one line of JSON");
    assert_eq!(told["object"], "requery");

    let (code, said, why) = command(&world, &resolve, &world.ops_token).await;
    assert_eq!((code, said.as_str()), (Some(0), format!("{id} is succeeded, approved.\n").as_str()), "{why}");
    let (code, _, why) = command(&world, &resolve, &world.ops_token).await;
    assert_eq!(code, Some(1));
    assert!(why.contains("only an unknown outcome can be resolved"), "{why}");
    world.heal("stripe_main").await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_switched_off_by_command_is_off_in_a_process_that_runs() {
    let world = World::start().await;
    let off = ["channels", "off", "stripe_main", "--reason", "a drill", "--for", "30m", "--unchecked"];
    let (code, _, why) = command(&world, &off[..7], "").await;
    assert_eq!(code, Some(1), "no settings file names the channels: {why}");
    let (code, _, why) = command(&world, &off, "").await;
    assert_eq!(code, Some(0), "{why}");
    let mut state = Value::Null;
    for _ in 0..200 {
        state = world.ops("/ops/v1/channels").await.body["data"][0]["breaker"]["pay"]["state"].clone();
        if state == "forced_open" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert_eq!(state, "forced_open");
    let (code, said, _) = command(&world, &["channels", "on", "stripe_main", "--json"], "").await;
    let ended: Value = serde_json::from_str(&said).expect("one line of JSON");
    assert_eq!((code, &ended["mode"]), (Some(0), &json!("forced_open")));
    world.close().await;
}
