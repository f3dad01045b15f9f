//! What asking a channel's guard costs: turned away, admitted and recorded, and the whole guard as a call passes it, with 1, 4 and 16 threads.
//!
//!     cargo bench --bench guard [-- ROUNDS]        (31 rounds unless said)
//!
//! A round runs every case once, one after the other, so that a noisy moment of the machine falls on all of them; the figure is the median of the
//! rounds, in nanoseconds an operation as one thread sees it. Beside them stands what reading the clock costs (`clock_gettime`, boot time): the
//! guard is handed its time, so a caller pays that on top. With more threads than cores, a thread's figure contains its turns of waiting.
//!
//! `reject` is a breaker that an operator shut. `admit + record` has no rate; `whole guard` has one, is marked as sent, and asks twice: once which
//! channel would take it, once for the permit.

use std::hint::black_box;
use std::io::Write as _;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use breakwater::channel::breaker::{BreakerSettings, Mode};
use breakwater::channel::guard::{ChannelGuard, GuardSettings};
use breakwater::clock::{Clock, Moment};
use breakwater::domain::{CallClass, OperationClass};

const THREADS: [usize; 3] = [1, 4, 16];
const OPERATIONS: u32 = 20_000;
const PAY: OperationClass = OperationClass::Pay;

type Operation = Arc<dyn Fn(Moment) + Send + Sync>;

fn main() -> std::io::Result<()> {
    // Cargo passes `--bench` to every benchmark.
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(31_usize).max(1);
    let names = cases().map(|(name, _)| name);
    let mut out = std::io::stdout().lock();
    writeln!(out, "nanoseconds an operation, median of {rounds} rounds of {OPERATIONS} a thread")?;
    let head: String = THREADS.iter().map(|threads| format!("{threads:>8} thr")).collect();
    writeln!(out, "{:<16}{head}", "")?;
    let mut figures = vec![[const { Vec::new() }; THREADS.len()]; names.len()];
    for _ in 0..rounds {
        for (place, threads) in THREADS.into_iter().enumerate() {
            // New guards each time: what sixteen threads used up of a rate would be missing from what one thread asks for next.
            for (case, (_, operation)) in cases().into_iter().enumerate() {
                figures[case][place].push(nanos_of(&operation, threads));
            }
        }
    }
    for (name, figures) in names.into_iter().zip(figures) {
        let row: String = figures.into_iter().map(|of_threads| format!("{:>12.1}", median(of_threads))).collect();
        writeln!(out, "{name:<16}{row}")?;
    }
    Ok(())
}

fn cases() -> [(&'static str, Operation); 4] {
    let clock = Clock::system();
    let shut = guard(None);
    shut.set_override(PAY, Mode::ForcedOpen, clock.boot());
    let (open, rated) = (guard(None), guard(Some(100_000)));
    let read = clock.clone();
    [
        (
            "clock",
            Arc::new(move |_| {
                black_box(read.boot());
            }),
        ),
        ("reject", Arc::new(move |now| drop(black_box(shut.admit(PAY, now))))),
        (
            "admit + record",
            Arc::new(move |now| {
                if let Ok(permit) = black_box(open.admit(PAY, now)) {
                    permit.record(CallClass::Success, now);
                }
            }),
        ),
        (
            "whole guard",
            Arc::new(move |now| {
                if black_box(rated.would_admit(PAY, now))
                    && let Ok(mut permit) = rated.admit(PAY, now)
                {
                    permit.mark_sent(now);
                    permit.record(CallClass::Success, now);
                }
            }),
        ),
    ]
}

fn guard(rate_per_second: Option<u32>) -> Arc<ChannelGuard> {
    let pay = BreakerSettings { rate_per_second, burst: rate_per_second, ..BreakerSettings::default() };
    let settings = GuardSettings { pay, ..GuardSettings::default() };
    ChannelGuard::new(&settings, 1, Clock::system().boot()).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// The time of one operation as each of `threads` sees it, on average over them.
fn nanos_of(operation: &Operation, threads: usize) -> f64 {
    let together = Arc::new(Barrier::new(threads));
    let began = Clock::system().boot();
    let running: Vec<_> = (0..threads)
        .map(|_| {
            let (operation, together) = (Arc::clone(operation), Arc::clone(&together));
            std::thread::spawn(move || {
                together.wait();
                let started = Instant::now();
                for turn in 0..OPERATIONS {
                    // Ten microseconds apart: below the rate, so that nothing is turned away by it with one thread.
                    operation(began + Duration::from_micros(10) * turn);
                }
                started.elapsed()
            })
        })
        .collect();
    let times: Vec<Duration> = running.into_iter().filter_map(|thread| thread.join().ok()).collect();
    times.iter().map(Duration::as_nanos).sum::<u128>() as f64 / (times.len() as f64 * f64::from(OPERATIONS))
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
