//! The referee: joins what clients were told, Breakwater's tables and the third party's book. *Double*: an order that was charged, or a refund that
//! was paid out, more than once. *Lost*: what was acknowledged and is not there, is something else now, or is not in both books. *Orphan*: money
//! that moved without an attempt of ours. *Stuck*: what never ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::{Duration, Instant};

use breakwater::cli::client;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::dice::Dice;
use super::shopper::{Acknowledged, Market, Order, Shop, What, post};
use super::victim::{ReadyLine, Victim, connect};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After a restart so many of the newest acknowledged, and so many of any, are asked for through the API; all of them are looked for in the tables.
const NEWEST: usize = 16;
const ANY: u64 = 8;
/// So many faults are shown with their timelines.
const SHOWN: usize = 4;

/// What is open, and not a customer's or a merchant's to end.
const OPEN: &str = "SELECT payment_id, n, operation, state FROM attempt WHERE state IN ('sent', 'unknown', 'accepted', 'reversing', 'succeeded_late') \
     OR (state = 'not_sent' AND due_at IS NOT NULL) OR due_at <= now() LIMIT 50";

/// One line of the third party's book.
#[derive(Clone, Debug, Deserialize)]
struct Entry {
    /// Whose book it is in: two banks may be sent the same number in the same second.
    #[serde(default)]
    channel: String,
    reference: String,
    kind: String,
    amount: i64,
}

/// What the books say, each fault with its evidence.
#[derive(Default)]
pub struct Verdict {
    pub charges: usize,
    pub unknowns_resolved: i64,
    pub double: Vec<String>,
    pub lost: Vec<String>,
    pub orphan: Vec<String>,
    pub stuck: Vec<String>,
    /// Payments to show.
    evidence: Vec<String>,
}

impl Verdict {
    pub fn in_words(&self) -> String {
        let mut words = String::new();
        for (name, faults) in [("double", &self.double), ("lost", &self.lost), ("orphan", &self.orphan), ("stuck", &self.stuck)] {
            for fault in faults {
                let _ = writeln!(words, "{name}: {fault}");
            }
        }
        words + &self.evidence.join("\n")
    }
}

pub struct Referee {
    line: ReadyLine,
    shop: Shop,
    database: tokio_postgres::Client,
}

impl Referee {
    pub async fn of(victim: &Victim) -> Self {
        let line = victim.line().clone();
        let shop = Shop { url: line.url.clone(), key: line.api_key.clone() };
        Self { database: connect(&line.database_url).await, shop, line }
    }

    /// After a restart: every acknowledged payment and refund is in the tables, as final as it was told; some are asked for as a client does, by id
    /// and by key.
    pub async fn finds_all_that_was_acknowledged(&self, market: &Market, dice: &mut Dice) {
        let all = market.acknowledged();
        let missing = self.missing(&all).await;
        assert!(missing.is_empty(), "acknowledged, and lost by the restart: {missing:#?}");
        let newest = all.iter().rev().take(NEWEST);
        let any: Vec<&Acknowledged> = (0..ANY.min(all.len() as u64)).filter_map(|_| all.get(dice.within(0..all.len() as u64) as usize)).collect();
        for known in newest.chain(any) {
            let path = if known.is_payment() { format!("/v1/payments/{}", known.id) } else { format!("/v1/refunds/{}", known.id) };
            let (status, body) = self.get(&path, &self.line.api_key).await;
            assert_eq!(
                (status, body["id"].as_str()),
                (200, Some(known.id.as_str())),
                "acknowledged, and not there under its id: {known:#?} {body:#}"
            );
            let reply = post(&self.shop, &known.path, &known.key, &known.body).await.expect("it is up");
            let named = reply.body["id"].as_str().or(reply.body["existing"].as_str());
            let lawful = matches!((reply.status, reply.body["code"].as_str()), (200..=202, None) | (409, Some("idempotency_key_in_flight")));
            let same = named == Some(known.id.as_str()) || !known.is_payment() && reply.status == 409;
            assert!(lawful && same, "the key of {known:#?} stands for something else: {} {:#}", reply.status, reply.body);
        }
    }

    /// What was told and is not so (any more).
    async fn missing(&self, all: &[Acknowledged]) -> Vec<String> {
        let rows = self.database.query("SELECT id, status FROM payment UNION ALL SELECT id, status FROM refund", &[]).await.expect("readable");
        let now: BTreeMap<Uuid, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let faults = all.iter().filter_map(|known| match now.get(&uuid(&known.id)) {
            None => Some(format!("{} was told to be {} and is not there", known.id, known.status)),
            Some(status) if is_final(&known.status) && *status != known.status => {
                Some(format!("{} was told to be {} and is {status}", known.id, known.status))
            }
            Some(_) => None,
        });
        faults.collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub async fn heal(&self) {
        for channel in self.channels().await {
            let url = format!("{}/_control/{channel}/faults", self.line.sandbox_url);
            client::send("DELETE", &url, &[], "").await.expect("the sandbox answers");
        }
    }

    /// What happens from now on is told to nobody, until the next start of the process.
    pub async fn stops_the_notifications(&self) {
        let body = format!(r#"{{"notify_url":null,"pid":{}}}"#, self.line.pid);
        let url = format!("{}/_control/_orchestrator", self.line.sandbox_url);
        let answer = client::send("PUT", &url, &[("content-type", "application/json")], &body).await.expect("the sandbox answers");
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    }

    /// Waits for the end of everything open; what is still open at `deadline`.
    pub async fn waits_until_nothing_is_open(&self, deadline: Instant) -> Vec<(String, String)> {
        loop {
            let rows = self.database.query(OPEN, &[]).await.expect("readable");
            if rows.is_empty() || Instant::now() >= deadline {
                let open = |row: &tokio_postgres::Row| {
                    let what = format!("attempt {} ({}) is {}", row.get::<_, i16>(1), row.get::<_, String>(2), row.get::<_, String>(3));
                    (payment_name(row.get(0)), what)
                };
                return rows.iter().map(open).collect();
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The payments that moved last, with their timelines: what the wait was for.
    pub async fn shows_the_last(&self) -> String {
        let sql = "SELECT payment_id FROM event GROUP BY payment_id ORDER BY max(created_at) DESC LIMIT 2";
        let mut shown = String::new();
        for row in self.database.query(sql, &[]).await.expect("readable") {
            let _ = writeln!(shown, "{}", self.timeline(&payment_name(row.get(0))).await);
        }
        shown
    }

    async fn timeline(&self, payment: &str) -> String {
        let (_, body) = self.get(&format!("/v1/payments/{payment}?include=attempts,refunds,events"), &self.line.api_key).await;
        format!("{body:#}")
    }

    /// All books, side by side. `stuck` are attempts that never ended.
    pub async fn judges(&self, orders: &[Order], stuck: Vec<(String, String)>) -> Verdict {
        let mut verdict = Verdict::default();
        let mut suspects: BTreeSet<String> = BTreeSet::new();
        for (payment, what) in stuck {
            verdict.stuck.push(format!("{payment}: {what}"));
            suspects.insert(payment);
        }
        self.compares_the_books(&mut verdict, &mut suspects).await;
        self.compares_what_was_told(orders, &mut verdict, &mut suspects).await;
        let (status, body) = self.get("/ops/v1/integrity", &self.line.ops_token).await;
        if status != 200 {
            verdict.lost.push(format!("/ops/v1/integrity answers {status}: {body:#}"));
        }
        let resolved = "SELECT count(*) FROM event WHERE kind = 'payment.outcome_resolved'";
        verdict.unknowns_resolved = self.database.query_one(resolved, &[]).await.expect("readable").get(0);
        for suspect in suspects.iter().take(SHOWN) {
            verdict.evidence.push(self.timeline(suspect).await);
        }
        verdict
    }

    /// The third party's book against our tables.
    async fn compares_the_books(&self, verdict: &mut Verdict, suspects: &mut BTreeSet<String>) {
        let rows = self.database.query("SELECT a.key, a.operation, a.payment_id, a.refund_n, a.channel FROM attempt a", &[]).await.expect("readable");
        let attempts: BTreeMap<(String, String), &tokio_postgres::Row> = rows.iter().map(|row| ((row.get(4), row.get(0)), row)).collect();
        // Of each payment: how often and how much was charged, and given back by refunds.
        let mut charged: BTreeMap<Uuid, (i64, i64)> = BTreeMap::new();
        let mut given_back: BTreeMap<Uuid, i64> = BTreeMap::new();
        let mut refunds: BTreeMap<(Uuid, i16), i64> = BTreeMap::new();
        for entry in self.book().await {
            verdict.charges += usize::from(entry.kind == "charge");
            let lawful = |operation: &str| match entry.kind.as_str() {
                "charge" => matches!(operation, "pay" | "capture"),
                "refund" => operation == "refund",
                // A bank's unanswered messages are undone one by one, its refunds too; a reversal bears the key of what it undoes.
                _ => matches!(operation, "pay" | "capture" | "refund"),
            };
            let Some(row) = attempts.get(&(entry.channel.clone(), entry.reference.clone())).filter(|row| lawful(row.get(1))) else {
                verdict.orphan.push(format!("{entry:?}"));
                continue;
            };
            let payment: Uuid = row.get(2);
            match entry.kind.as_str() {
                "charge" => {
                    let (times, sum) = charged.entry(payment).or_default();
                    (*times, *sum) = (*times + 1, *sum + entry.amount);
                }
                "refund" => {
                    *given_back.entry(payment).or_default() += entry.amount;
                    *refunds.entry((payment, row.get::<_, Option<i16>>(3).unwrap_or(0))).or_default() += 1;
                }
                _ if row.get::<_, String>(1) == "refund" => {
                    *given_back.entry(payment).or_default() -= entry.amount;
                    *refunds.entry((payment, row.get::<_, Option<i16>>(3).unwrap_or(0))).or_default() -= 1;
                }
                _ => {
                    let (times, sum) = charged.entry(payment).or_default();
                    (*times, *sum) = (*times - 1, *sum - entry.amount);
                }
            }
        }
        for ((payment, n), times) in refunds.into_iter().filter(|(_, times)| *times > 1) {
            verdict.double.push(format!("refund {n} of {} was paid out {times} times", payment_name(payment)));
            suspects.insert(payment_name(payment));
        }
        let sql = "SELECT id, merchant_order_id, status, captured, refunded, refund_reserved, cancel_requested FROM payment";
        let mut paid: BTreeMap<String, i64> = BTreeMap::new();
        for row in self.database.query(sql, &[]).await.expect("readable") {
            let (id, order, status): (Uuid, String, String) = (row.get(0), row.get(1), row.get(2));
            let (captured, refunded, reserved): (i64, i64, i64) = (row.get(3), row.get(4), row.get(5));
            let name = payment_name(id);
            let (times, sum) = charged.get(&id).copied().unwrap_or_default();
            let mut suspect = true;
            if sum != captured {
                verdict.lost.push(format!("{name} of {order}: the book says {sum} charged, we say {captured}"));
            } else if given_back.get(&id).copied().unwrap_or(0) != refunded || reserved != refunded {
                let book = given_back.get(&id).copied().unwrap_or(0);
                verdict.lost.push(format!("{name} of {order}: the book says {book} given back, we say {refunded} of {reserved} reserved"));
            } else if !is_final(&status) && (status != "requires_capture" || row.get(6)) {
                verdict.stuck.push(format!("{name} of {order} is {status}"));
            } else {
                suspect = false;
            }
            if suspect {
                suspects.insert(name);
            }
            *paid.entry(order).or_default() += times;
        }
        for (order, times) in paid.into_iter().filter(|(_, times)| *times > 1) {
            verdict.double.push(format!("{order} was charged {times} times"));
        }
    }

    /// What clients were told against our tables.
    async fn compares_what_was_told(&self, orders: &[Order], verdict: &mut Verdict, suspects: &mut BTreeSet<String>) {
        let rows = self.database.query("SELECT merchant_order_id, id, status, captured FROM payment", &[]).await.expect("readable");
        let mut payments: BTreeMap<String, Vec<(String, String, i64)>> = BTreeMap::new();
        for row in &rows {
            payments.entry(row.get(0)).or_default().push((payment_name(row.get(1)), row.get(2), row.get(3)));
        }
        let refunds: BTreeMap<Uuid, String> =
            self.database.query("SELECT id, status FROM refund", &[]).await.expect("readable").iter().map(|row| (row.get(0), row.get(1))).collect();
        for order in orders {
            let found = payments.get(&order.name).map(Vec::as_slice).unwrap_or_default();
            let [(id, status, captured)] = found else {
                verdict.double.push(format!("{} has the payments {found:?}", order.name));
                continue;
            };
            let mut faults = Vec::new();
            if order.payment.as_ref() != Some(id) {
                faults.push(format!("its client knows it as {:?}", order.payment));
            }
            for wish in &order.wishes {
                for (code, told_id, told) in &wish.told {
                    let now = if wish.what == What::Refund { refunds.get(&uuid(told_id)) } else { Some(status) };
                    if is_final(told) && now != Some(told) {
                        faults.push(format!("{:?} was answered {code} {told}, and is {now:?}", wish.what));
                    }
                }
                let promised = wish.body["amount"].as_i64().unwrap_or(order.amount);
                // None of our holds is refused by the third party, canceled after its capture, or left to lapse: what was asked for is taken.
                if wish.what == What::Capture && *captured != promised {
                    faults.push(format!("a capture of {promised} was answered {:?}, and {captured} is captured", wish.told));
                }
                if wish.what == What::Refund && wish.told.last().is_none_or(|(code, _, told)| (*code, told.as_str()) != (201, "succeeded")) {
                    faults.push(format!("a refund was answered {:?}", wish.told));
                }
            }
            if !faults.is_empty() {
                verdict.lost.push(format!("{id} of {} by {}: {}", order.name, order.method, faults.join("; ")));
                suspects.insert(id.clone());
            }
        }
    }

    async fn get(&self, path: &str, key: &str) -> (u16, Value) {
        let authorization = format!("Bearer {key}");
        let answer = client::send("GET", &format!("{}{path}", self.line.url), &[("authorization", &authorization)], "").await.expect("it is up");
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    async fn control(&self, path: &str) -> Value {
        let answer = client::send("GET", &format!("{}/_control{path}", self.line.sandbox_url), &[], "").await.expect("the sandbox answers");
        assert_eq!(answer.status, 200, "{path}");
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    async fn channels(&self) -> Vec<String> {
        self.control("").await["channels"].as_object().expect("channels").keys().cloned().collect()
    }

    /// The books of all channels.
    async fn book(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for channel in self.channels().await {
            let book: Vec<Entry> = serde_json::from_value(self.control(&format!("/{channel}/book")).await).expect("a book");
            entries.extend(book.into_iter().map(|entry| Entry { channel: channel.clone(), ..entry }));
        }
        entries
    }
}

fn payment_name(id: Uuid) -> String {
    format!("pay_{}", id.simple())
}

/// The uuid of an id with its prefix.
fn uuid(id: &str) -> Uuid {
    id.split_once('_').and_then(|(_, hex)| Uuid::parse_str(hex).ok()).unwrap_or_default()
}

fn is_paid(status: &str) -> bool {
    matches!(status, "succeeded" | "partially_captured")
}

fn is_final(status: &str) -> bool {
    is_paid(status) || matches!(status, "failed" | "canceled" | "expired")
}
