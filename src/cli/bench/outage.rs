//! One outage: load before it, while it lasts and after it, until nothing is open any more, and what comes of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::arguments::{BenchArgs, PayWith, command};
use super::caller::Caller;
use super::healed::{self, Healed, Watcher};
use super::load::{self, Order, Shop, Wish};
use super::report::{Judged, Report, Times};
use super::stage::Stage;
use super::{LOOK_EVERY, note, referee, roll};

/// Between two forged notifications of the flood.
const FORGED_EVERY: Duration = Duration::from_millis(20);
/// One order in so many is partly given back.
const REFUNDED_ONE_IN: u64 = 10;

/// Runs it to its report.
///
/// # Errors
/// A sentence, when the run itself broke off.
pub fn play(args: &BenchArgs, stage: &mut Stage, runtime: &Runtime) -> Result<Report, String> {
    let seconds = Duration::from_secs;
    let begun = seconds(args.before_s);
    let mut times = Times {
        begun,
        promoted: None,
        ended: begun + seconds(args.fault_s),
        whole: begun + seconds(args.fault_s + args.after_s),
        in_time: Duration::from_millis(args.in_time_ms),
    };
    let orders = orders(args, times);
    let start = tokio::time::Instant::now() + Duration::from_millis(200);
    let until = start + times.whole + seconds(args.ends_within_s);
    let shop = Arc::new(Shop::new(stage, args.pay_with, start));
    shop.give_up_at(until);
    note(&format!("{} orders over {} s", orders.len(), times.whole.as_secs()));
    let load = runtime.spawn(load::drive(Arc::clone(&shop), orders.into_iter()));
    let victim = args.scenario.hits_a_channel().then(|| args.pay_with.victim().to_owned());
    let callers = stage.addresses().iter().map(|address| Caller::new(*address)).collect();
    let watcher = Watcher { callers, token: stage.viewer().to_owned(), start };
    let mut well = Vec::new();
    if let Some(victim) = &victim {
        wait_until(start + begun.saturating_sub(healed::WATCHED).max(begun / 2));
        well.extend(runtime.block_on(watcher.look_at(victim)));
    }
    wait_until(start + begun);
    if let Some(victim) = &victim {
        well.extend(runtime.block_on(watcher.look_at(victim)));
    }
    args.scenario.begin(stage)?;
    // Whoever loses the primary returns when its standby has been promoted.
    times.promoted = args.scenario.loses_the_primary().then(|| start.elapsed());
    let forging = (args.scenario.flood() > 0.0).then(|| runtime.spawn(load::forge(Arc::clone(&shop), "stripe_1".to_owned(), FORGED_EVERY)));
    wait_until(start + begun + seconds(args.fault_s) / 2);
    args.scenario.turn(stage)?;
    wait_until(start + times.ended);
    args.scenario.end(stage)?;
    let watching = victim.clone().map(|victim| runtime.spawn(async move { watcher.watch(&victim, start + times.whole).await }));
    if let Some(forging) = forging {
        forging.abort();
    }
    wait_until(start + times.whole);
    note("the last order is sent; waiting for the end of what is open");
    let told = runtime.block_on(load).map_err(|error| format!("the load broke off: {error}"))?;
    let (resolved_after, books, integrity) = runtime.block_on(async {
        let store = stage.store().await?;
        while tokio::time::Instant::now() < until && store.open_attempts().await.map_err(|error| error.to_string())? > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let resolved_after = start.elapsed().saturating_sub(times.whole);
        let books = store.books().await.map_err(|error| error.to_string())?;
        Ok::<_, String>((resolved_after, books, stage.integrity(&store).await?))
    })?;
    let after = watching.map_or(Ok(Vec::new()), |watching| runtime.block_on(watching)).map_err(|error| format!("watching broke off: {error}"))?;
    let healed = Healed::new(&well, &after);
    let entries = stage.third_parties().book()?;
    let verdict = referee::judge(&books, &entries, &told);
    let undone = victim.as_deref().filter(|_| args.pay_with != PayWith::Stripe).map(|victim| referee::undone(&books, &entries, victim));
    Ok(Report::new(args.scenario.name(), victim, command(args), &told, times, Judged { verdict, integrity, resolved_after, healed, undone }))
}

/// Every order of the run, by its time.
fn orders(args: &BenchArgs, times: Times) -> Vec<Order> {
    let (rate, merchants) = (f64::from(args.rate), usize::from(args.merchants));
    let mut dice = args.seed;
    let mut orders: Vec<Order> = Vec::new();
    let phases = [
        (Duration::ZERO, times.begun, rate, false),
        (times.begun, times.ended, rate * args.scenario.times(), false),
        (times.ended, times.whole, rate, false),
        (times.begun, times.ended, rate * args.scenario.flood(), true),
    ];
    for (from, to, rate, flood) in phases {
        let count = (rate * (to - from).as_secs_f64()).round();
        for nth in 0..count as u64 {
            let drawn = roll(&mut dice);
            orders.push(Order {
                at: from + Duration::from_secs_f64(nth as f64 / rate),
                name: format!("order-{}-{}", args.seed, orders.len()),
                // Whole tens of minor units: none of the sandbox's magic amounts, nor is its half.
                amount: i64::try_from(1_000 + 20 * (drawn % 1_000)).unwrap_or(1_000),
                merchant: if flood { merchants } else { usize::try_from(drawn >> 32).unwrap_or(0) % merchants },
                wish: if !flood && (drawn >> 20).is_multiple_of(REFUNDED_ONE_IN) { Wish::GiveBack } else { Wish::Keep },
                means: orders.len() % args.pay_with.methods().len(),
                flood,
            });
        }
    }
    orders.sort_by_key(|order| order.at);
    orders
}

fn wait_until(moment: tokio::time::Instant) {
    std::thread::sleep(moment.saturating_duration_since(tokio::time::Instant::now()));
}
