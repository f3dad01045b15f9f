//! SIGKILL of the real process, again and again, at random moments under load. What must hold after it: every payment that was acknowledged is
//! there, nobody was charged twice, everything in doubt came to its end, and no Postgres was left behind.
//!
//! The process is `breakwater demo`, as a user starts it: its private Postgres dies and recovers with it; its sandbox, the third party, lives on
//! and is met again. Shoppers pay at Stripe, Alipay and two banks, by every method, capture, refund and cancel meanwhile, and repeat with the same key whatever was not answered, as a merchant's
//! client does. The moments are drawn from a seed; what the machine does between them is not, so that a seed repeats a plan and no exact run.
//!
//! ```text
//! BREAKWATER_KILLS=50 BREAKWATER_SEED=7 cargo test --test kill_loop
//! ```
//!
//! `victim.rs` is the process, `shopper.rs` the load and what each client was told, `referee.rs` the books. No duration is asserted; each wait
//! has a bound, beyond which something is stuck.
#![allow(missing_docs, reason = "a test's name is its documentation")]

#[path = "kill_loop/dice.rs"]
mod dice;
#[path = "kill_loop/referee.rs"]
mod referee;
#[path = "kill_loop/shopper.rs"]
mod shopper;
#[path = "kill_loop/victim.rs"]
mod victim;

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dice::Dice;
use referee::Referee;
use shopper::{Market, Order, Shopper};
use victim::{Home, Victim};

/// Clients at the same time.
const SHOPPERS: u64 = 8;
/// The first and the last millisecond after which the process is killed.
const KILLED_AFTER_MS: std::ops::Range<u64> = 50..1_500;
/// One kill in this many does not wait until the process is ready; it comes this soon.
const KILLED_WHILE_STARTING: u64 = 6;
const STARTING_MS: std::ops::Range<u64> = 5..400;
/// The very first start makes the database, the schema and the keys: it is killed in the middle of that, and not counted among the kills asked for.
const FIRST_START_MS: std::ops::Range<u64> = 50..1_200;
/// In one life of the process in this many the third party sends no notifications: only our own questions can bring the truth.
const UNTOLD: u64 = 2;
/// How long what is open after the last restart may take to end: the longest lease, the sandbox's search lag, the minute between Alipay's two
/// "there is no such trade" and the ladder fit in it more than once.
const ENDS_WITHIN: Duration = Duration::from_secs(240);
/// Beyond this the last payments are shown. No fault: something to look at.
const SLOW: Duration = Duration::from_secs(100);

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a whole number, not {text:?}")),
        Err(_) => default,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_again_and_again_charges_nobody_twice_and_loses_nothing() {
    let (kills, seed) = (number("BREAKWATER_KILLS", 3), number("BREAKWATER_SEED", 20_261_121));
    say(&format!("kill loop: {kills} kills, seed {seed}"));
    let began = Instant::now();
    let mut dice = Dice::of(seed);
    let home = Home::new();
    let market = Arc::new(Market::default());
    let mut victim = Victim::start(&home);
    tokio::time::sleep(Duration::from_millis(dice.within(FIRST_START_MS))).await;
    victim.kill(|| ());
    let mut victim = Victim::start(&home);
    victim.ready().await;
    let shoppers: Vec<_> = (0..SHOPPERS).map(|nth| tokio::spawn(Shopper::new(&market, seed, nth).shop())).collect();
    Referee::of(&victim).await.stops_the_notifications().await;
    market.open(&victim);
    let mut restarts = Restarts::default();

    for _ in 0..kills {
        let moment = if victim.is_ready() { KILLED_AFTER_MS } else { STARTING_MS };
        restarts.killed_while_starting += u64::from(!victim.is_ready());
        tokio::time::sleep(Duration::from_millis(dice.within(moment))).await;
        market.check(&shoppers);
        victim.kill(|| market.shut());
        victim = Victim::start(&home);
        if dice.one_in(KILLED_WHILE_STARTING) {
            continue;
        }
        restarts.ready_after.push(victim.ready().await);
        let referee = Referee::of(&victim).await;
        referee.finds_all_that_was_acknowledged(&market, &mut dice).await;
        if dice.one_in(UNTOLD) {
            referee.stops_the_notifications().await;
        }
        market.open(&victim);
    }
    if !victim.is_ready() {
        restarts.ready_after.push(victim.ready().await);
        market.open(&victim);
    }
    let last_restart = Instant::now();

    market.close();
    let mut orders: Vec<Order> = Vec::new();
    for shopper in shoppers {
        let left = ENDS_WITHIN.saturating_sub(last_restart.elapsed());
        match tokio::time::timeout(left, shopper).await {
            Ok(bought) => orders.extend(bought.expect("a shopper goes home")),
            Err(_) => panic!("a shopper is still without an answer {ENDS_WITHIN:?} after the last restart: {}", market.waiting_for()),
        }
    }
    let referee = Referee::of(&victim).await;
    referee.heal().await;
    let stuck = referee.waits_until_nothing_is_open(last_restart + ENDS_WITHIN).await;
    let resolved_after = last_restart.elapsed();
    let verdict = referee.judges(&orders, stuck).await;
    if resolved_after > SLOW {
        say(&format!("the last to end, {:.1} s after the last restart:\n{}", resolved_after.as_secs_f64(), referee.shows_the_last().await));
    }

    victim.kill(|| ());
    home.nothing_is_left_behind(&victim).await;
    let sandbox_ended = home.sandbox_ends(&victim).await;

    let told = market.told();
    say(&format!(
        "kill loop: {kills} kills ({starting} while starting) and one of the first start, seed {seed}: {payments} payments and {refunds} refunds acknowledged, {orders} orders, \
         {cut} answers cut off and asked again, {unknowns} unknowns resolved, {charges} charges in the book; double {double}, lost {lost}, \
         orphan {orphan}, stuck {stuck}; ready again after {ready}; the last unknown was resolved {resolved:.1} s after the last restart; {seconds:.1} s",
        starting = restarts.killed_while_starting,
        payments = told.payments,
        refunds = told.refunds,
        orders = orders.len(),
        cut = told.cut_off,
        unknowns = verdict.unknowns_resolved,
        charges = verdict.charges,
        double = verdict.double.len(),
        lost = verdict.lost.len(),
        orphan = verdict.orphan.len(),
        stuck = verdict.stuck.len(),
        ready = restarts.in_words(),
        resolved = resolved_after.as_secs_f64(),
        seconds = began.elapsed().as_secs_f64(),
    ));
    let faults = verdict.in_words();
    assert!(faults.is_empty(), "the books do not hold:\n{faults}");
    assert!(sandbox_ended, "the sandbox did not end when it was told to");
    assert!(told.payments > 0 && verdict.charges > 0, "nothing was bought: the loop has shown nothing");
    home.remove();
}

/// How quickly the process came back.
#[derive(Default)]
struct Restarts {
    ready_after: Vec<Duration>,
    killed_while_starting: u64,
}

impl Restarts {
    fn in_words(&self) -> String {
        let mut sorted = self.ready_after.clone();
        sorted.sort_unstable();
        let mut words = String::new();
        for (name, place) in [("median", sorted.len() / 2), ("worst", sorted.len().saturating_sub(1))] {
            if let Some(time) = sorted.get(place) {
                let _ = write!(words, "{}{:.2} s ({name})", if words.is_empty() { "" } else { ", " }, time.as_secs_f64());
            }
        }
        words
    }
}

/// To the real standard output: a line that is read in every run, not only in a failed one.
fn say(line: &str) {
    use std::io::Write as _;
    let _nobody_reads = writeln!(std::io::stdout(), "{line}");
}
