//! A process that dies again and again under load, while Postgres and the third parties stay up: killed at random moments, or by itself at one
//! named crash point after the other (`src/crash.rs`). A new one is started at once, and what the dead one was about is met in every state that it
//! can be left in: a cycle lasts a second or two, a lease several, so that each process inherits from more than one. Of several processes one is drawn
//! for each cycle; now and then it stays dead for longer than its leases, so that those beside it inherit, and not a successor.
//!
//! The load goes on over all of it: payments, refunds, captures and cancels, each asked for again with the same key until it is answered. The third
//! parties do something else wrong in every cycle, because half of the points are only passed when something does. After the last cycle the
//! weather clears, everything has to come to its end, and the referee judges all books: by point as well, for orders that were placed while it was armed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use uuid::Uuid;

use super::arguments::{BenchArgs, PayWith};
use super::load::{self, Order, Shop, Wish};
use super::receiver::{self, Heard};
use super::referee::{self, Entry, is_final};
use super::stage::Stage;
use super::told::{Told, whole_ms};
use super::toll::{Row, Toll};
use super::{LOOK_EVERY, note, roll};
use crate::clock::Clock;
use crate::crash::{CrashAt, Point};
use crate::store::Store;
use crate::store::books::Books;

/// Between two looks whether the process has died, or is ready.
const GLANCE_EVERY: Duration = Duration::from_millis(10);
/// A point that is not passed in so long is not passed in this cycle: the process is killed, and it counts as missed.
const PATIENCE: Duration = Duration::from_secs(8);
/// A point is armed so many more times than it has to be reached, at most.
const MISSES_MAX: u32 = 20;
/// A killed process has served for so long at most.
const SERVES_MS: u64 = 900;
/// One kill in so many comes while the process starts, this soon.
const STARTING_ONE_IN: u64 = 6;
const STARTING_MS: u64 = 400;
/// Of several processes, one death in so many is not followed by a new process at once.
const LEFT_DEAD_ONE_IN: u32 = 3;
/// What the others then have for it, beyond the lease.
const TAKEN_OVER_WITHIN: Duration = Duration::from_millis(800);
/// One passing of so many is the one to die at.
const PASSINGS: u64 = 3;
/// Notifications that are looked for in the inbox at the end.
const INBOX_MAX: i64 = 50;

/// What the third parties do wrong in a cycle: the sandbox's mode, and the share of requests in a hundred.
type Weather = Option<(&'static str, u64)>;

/// What is declined at most.
const DECLINED: &str = r#"["pay","capture","refund"]"#;

/// Any of it, for points that are passed anyway.
const ORDINARY: [Weather; 12] = [
    None,
    None,
    Some(("timeout_processed", 20)),
    Some(("timeout_not_processed", 20)),
    Some(("error_processed", 20)),
    Some(("error_not_processed", 20)),
    Some(("reset_before", 20)),
    Some(("reset_after", 20)),
    Some(("malformed", 20)),
    Some(("throttle", 20)),
    Some(("decline", 20)),
    Some(("duplicate_notification", 100)),
];
/// What makes a payment go on elsewhere.
const ELSEWHERE: [Weather; 2] = [Some(("throttle", 50)), Some(("timeout_not_processed", 40))];
/// What keeps a call waiting, and makes a bank's payment be undone.
const UNANSWERED: [Weather; 3] = [Some(("timeout_processed", 40)), Some(("timeout_not_processed", 40)), Some(("reset_after", 40))];
/// What makes something be sent again.
const NOT_TAKEN: [Weather; 3] = [Some(("throttle", 60)), Some(("timeout_not_processed", 50)), Some(("error_not_processed", 50))];

/// How a run's processes die.
#[derive(Clone, Debug)]
pub enum Course {
    /// By SIGKILL at random moments, so often.
    Kills(u32),
    /// At each of these points, so often each.
    Points(Vec<Point>, u32),
}

impl Course {
    /// The table's rows.
    fn rows(&self) -> Vec<Row> {
        match self {
            Self::Kills(wanted) => vec![Row::new("any_instant", *wanted)],
            Self::Points(points, each) => points.iter().map(|point| Row::new(point.as_str(), *each)).collect(),
        }
    }
}

/// Runs all cycles, waits for the end of what is open, and judges.
///
/// # Errors
/// A sentence, when the run itself broke off.
pub fn play(args: &BenchArgs, course: &Course, command: String, stage: &mut Stage, runtime: &Runtime) -> Result<Toll, String> {
    let (address, heard) = receiver::start(runtime)?;
    stage.subscribe(&format!("http://{address}/hooks"), runtime)?;
    let mut rows = course.rows();
    let start = tokio::time::Instant::now() + Duration::from_millis(200);
    let shop = Arc::new(Shop::new(stage, args.pay_with, start));
    let names = rows.iter().map(|row| prefix(args, &row.name)).collect();
    let queue = Queue { names, row: Arc::default(), over: Arc::default(), dice: args.seed, rate: args.rate, shop: Arc::clone(&shop), nth: 0 };
    let (now_row, over) = (Arc::clone(&queue.row), Arc::clone(&queue.over));
    let load = runtime.spawn(load::drive(Arc::clone(&shop), queue));
    let mut dice = args.seed ^ 0x0d1e;
    for (nth, row) in rows.iter_mut().enumerate() {
        now_row.store(nth, Ordering::Relaxed);
        match course {
            Course::Kills(_) => kill(row, stage, runtime, &mut dice)?,
            Course::Points(points, _) => crash(points[nth], row, stage, &mut dice)?,
        }
        note(&row.in_words());
    }
    set_weather(stage, None, None)?;
    stage.start_missing(None)?;
    for nth in 0..stage.processes() {
        stage.wait_until_ready(nth, runtime)?;
    }
    over.store(true, Ordering::Relaxed);
    let last = tokio::time::Instant::now();
    let until = last + Duration::from_secs(args.ends_within_s);
    shop.give_up_at(until);
    note("all processes live; waiting for the end of what is open");
    let told = runtime.block_on(load).map_err(|error| format!("the load broke off: {error}"))?;
    let (books, integrity, left) = runtime.block_on(async {
        let store = stage.store().await?;
        let left = leftovers(&store, until).await?;
        let books = store.books().await.map_err(|error| error.to_string())?;
        Ok::<_, String>((books, stage.integrity(&store).await?, left))
    })?;
    let resolved_after_ms = whole_ms(last.elapsed());
    let entries = stage.third_parties().book()?;
    let mut verdict = referee::judge(&books, &entries, &told);
    verdict.stuck.extend(left);
    verdict.lost.extend(untold(&books, &heard));
    for row in &mut rows {
        let own = prefix(args, &row.name);
        let of_row: Vec<Told> = told.iter().filter(|told| told.order.starts_with(&own)).cloned().collect();
        let (books, entries) = excerpt(&books, &entries, &own);
        row.judged(&of_row, &referee::judge(&books, &entries, &of_row));
    }
    Ok(Toll { command, rows, orders: told.len(), webhooks: heard.count(), resolved_after_ms, verdict, integrity })
}

/// SIGKILL at random moments of a life, its beginning included.
fn kill(row: &mut Row, stage: &mut Stage, runtime: &Runtime, dice: &mut u64) -> Result<(), String> {
    for _ in 0..row.wanted {
        set_weather(stage, drawn(&ORDINARY, dice), drawn(&ORDINARY, dice))?;
        let victim = stage.draw();
        let began = Instant::now();
        stage.start_missing(Some(victim))?;
        stage.start_anew(victim, None)?;
        if roll(dice).is_multiple_of(STARTING_ONE_IN) {
            std::thread::sleep(Duration::from_millis(roll(dice) % STARTING_MS));
        } else {
            stage.wait_until_ready(victim, runtime)?;
            std::thread::sleep(Duration::from_millis(roll(dice) % SERVES_MS));
        }
        stage.kill(victim);
        row.died(began.elapsed());
        survive(row, stage);
    }
    Ok(())
}

/// A death at one point, as often as it has to be.
fn crash(point: Point, row: &mut Row, stage: &mut Stage, dice: &mut u64) -> Result<(), String> {
    let mut passings = PASSINGS;
    while row.reached() < row.wanted && row.missed < MISSES_MAX {
        set_weather(stage, drawn(weather_for(point), dice), drawn(weather_for(point), dice))?;
        let nth = u32::try_from(1 + roll(dice) % passings).unwrap_or(1);
        let victim = stage.draw();
        let began = Instant::now();
        stage.start_missing(Some(victim))?;
        stage.start_anew(victim, Some(CrashAt { point, nth }))?;
        while !stage.has_died(victim)? && began.elapsed() < PATIENCE {
            std::thread::sleep(GLANCE_EVERY);
        }
        if stage.has_died(victim)? {
            row.died(began.elapsed());
            survive(row, stage);
        } else {
            // Rare enough: from now on it dies at the first.
            passings = 1;
            row.missed += 1;
            stage.kill(victim);
        }
    }
    Ok(())
}

/// Where there are several, one dead of so many stays dead for longer than its leases: the others have to take them over.
fn survive(row: &Row, stage: &Stage) {
    if stage.processes() > 1 && row.reached().is_multiple_of(LEFT_DEAD_ONE_IN) {
        std::thread::sleep(stage.lease() + TAKEN_OVER_WITHIN);
    }
}

const fn weather_for(point: Point) -> &'static [Weather] {
    match point {
        Point::NextChannelWritten => &ELSEWHERE,
        // A process can only inherit what the one before it was still waiting for.
        Point::ReversalWritten | Point::ReversalAnswered | Point::DoubtWritten => &UNANSWERED,
        Point::TurnWritten | Point::RepeatAnswered => &NOT_TAKEN,
        _ => &ORDINARY,
    }
}

fn drawn(from: &[Weather], dice: &mut u64) -> Weather {
    let place = usize::try_from(roll(dice) >> 8).unwrap_or(0) % from.len();
    from[place]
}

/// From now on the first bank and Stripe do this wrong.
fn set_weather(stage: &Stage, bank: Weather, stripe: Weather) -> Result<(), String> {
    for (channel, weather, operations) in [
        (PayWith::Banks.victim(), bank, r#"["pay","capture","void","refund"]"#),
        (PayWith::Stripe.victim(), stripe, r#"["create","pay","capture","void","refund","query"]"#),
    ] {
        // A bank answers the repeat of an advice as it did the first time: one that declined to undo something would decline it for ever, and only
        // a person could end that.
        let operations = if matches!(weather, Some(("decline", _))) { DECLINED } else { operations };
        let fault = weather.map(|(mode, percent)| format!(r#"{{"mode":"{mode}","rate":{},"operations":{operations}}}"#, percent as f64 / 100.0));
        stage.third_parties().set_weather(channel, fault.as_deref())?;
    }
    Ok(())
}

/// Waits until nothing is open any more, and says what is at the end, beside attempts: webhooks that wait, notifications that were not applied.
async fn leftovers(store: &Store, until: tokio::time::Instant) -> Result<Vec<String>, String> {
    let complain = |error: crate::store::StoreError| error.to_string();
    loop {
        let attempts = store.open_attempts().await.map_err(complain)?;
        let (webhooks, _, _) = store.delivery_queue().await.map_err(complain)?;
        let inbox = store.waiting_notifications(Clock::system().wall(), INBOX_MAX).await.map_err(complain)?;
        if attempts == 0 && webhooks == 0 && inbox.is_empty() {
            return Ok(Vec::new());
        }
        if tokio::time::Instant::now() >= until {
            let mut left: Vec<String> = inbox.iter().map(|waiting| format!("notification {} of {}", waiting.event_id, waiting.channel)).collect();
            if webhooks > 0 {
                left.push(format!("{webhooks} webhooks are not delivered"));
            }
            return Ok(left);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Payments whose merchant was not told how they ended.
fn untold(books: &Books, heard: &Heard) -> Vec<String> {
    let ended = books.payments.iter().filter(|payment| is_final(&payment.status));
    let untold = ended.filter(|payment| !heard.has(&referee::payment_name(payment.id), &format!("payment.{}", payment.status)));
    untold.map(|payment| format!("{}: no webhook said that it is {}", payment.order, payment.status)).collect()
}

/// What the books say of orders whose name begins like this. Money of nobody's is in no excerpt.
fn excerpt(books: &Books, entries: &[Entry], prefix: &str) -> (Books, Vec<Entry>) {
    let payments: Vec<_> = books.payments.iter().filter(|payment| payment.order.starts_with(prefix)).cloned().collect();
    let ids: BTreeSet<Uuid> = payments.iter().map(|payment| payment.id).collect();
    let attempts: Vec<_> = books.attempts.iter().filter(|attempt| ids.contains(&attempt.payment)).cloned().collect();
    let keys: BTreeSet<(&str, &str)> = attempts.iter().map(|attempt| (attempt.channel.as_str(), attempt.key.as_str())).collect();
    let entries = entries.iter().filter(|entry| keys.contains(&(entry.channel.as_str(), entry.reference.as_str()))).cloned().collect();
    let open = books.open.iter().filter(|(payment, _)| ids.contains(payment)).cloned().collect();
    (Books { payments, attempts, refunds: books.refunds.clone(), open }, entries)
}

fn prefix(args: &BenchArgs, row: &str) -> String {
    format!("order-{}-{row}-", args.seed)
}

/// Orders without an end, each by its time, until it is over.
struct Queue {
    /// How orders' names begin, by row.
    names: Vec<String>,
    row: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    dice: u64,
    rate: u32,
    shop: Arc<Shop>,
    nth: u64,
}

impl Iterator for Queue {
    type Item = Order;

    fn next(&mut self) -> Option<Order> {
        if self.over.load(Ordering::Relaxed) {
            return None;
        }
        let nth = self.nth;
        self.nth += 1;
        let drawn = roll(&mut self.dice);
        let place = |bits: u64, of: usize| usize::try_from(bits).unwrap_or(0) % of;
        Some(Order {
            at: Duration::from_secs_f64(nth as f64 / f64::from(self.rate)),
            name: format!("{}{nth}", self.names.get(self.row.load(Ordering::Relaxed))?),
            // As in every run: none of the sandbox's magic amounts, nor is its half.
            amount: i64::try_from(1_000 + 20 * (drawn % 1_000)).unwrap_or(1_000),
            merchant: place(drawn >> 32, self.shop.keys.len()),
            wish: match (drawn >> 20) % 20 {
                0..8 => Wish::Keep,
                8..13 => Wish::GiveBack,
                13..17 => Wish::Take,
                _ => Wish::LetGo,
            },
            means: place(nth, self.shop.methods.len()),
            flood: false,
        })
    }
}
