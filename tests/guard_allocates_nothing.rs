//! A guard that is asked before every call must not ask the allocator: counted by an allocator that counts.
#![allow(unsafe_code, reason = "only a GlobalAlloc sees every allocation, and implementing it is unsafe by its signature")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use breakwater::channel::breaker::{BreakerSettings, Mode, State};
use breakwater::channel::guard::{ChannelGuard, GuardSettings};
use breakwater::clock::Moment;
use breakwater::domain::{CallClass, OperationClass};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes unchanged to the system's allocator; counting touches a thread-local that needs no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises about `pointer` and `layout` are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn the_counting_allocator_counts() {
    assert_eq!(allocations_of(|| drop(std::hint::black_box(Box::new(7_u64)))), 1);
}

#[test]
fn admitting_recording_dropping_tripping_and_ticking_allocate_nothing() {
    let start = Moment::from_nanos(1_000_000_000);
    let limited = BreakerSettings { rate_per_second: Some(50), burst: Some(2), ..BreakerSettings::default() };
    let settings = GuardSettings { refund: limited.clone(), pay: limited, ..GuardSettings::default() };
    let guard = ChannelGuard::new(&settings, 1, start).unwrap();
    // A 429 trips no breaker and shrinks the limit: that is a guard of its own, or the breakers would be open before any window is full.
    let throttled = ChannelGuard::new(&GuardSettings::default(), 1, start).unwrap();
    let (mut tripped, whole) = (0, throttled.limit());
    let counted = allocations_of(|| {
        for turn in 0..20_000_u64 {
            let now = start + Duration::from_millis(turn * 5);
            let class = OperationClass::ALL[(turn % 3) as usize];
            std::hint::black_box(guard.would_admit(class, now));
            let answer = if turn % 4 == 0 { guard.admit_repeat(class, now) } else { guard.admit(class, now) };
            if let Ok(mut permit) = answer {
                permit.mark_sent(now);
                match turn % 7 {
                    0..4 => permit.record(CallClass::FailHard, now),
                    4 => drop(permit),
                    _ => permit.record(CallClass::Success, now),
                }
            }
            if turn % 50 == 0 {
                guard.tick(now);
                guard.query_succeeded(now);
                tripped += u64::from(guard.snapshot(class, now).state == State::Open);
            }
            if let Ok(mut permit) = throttled.admit(OperationClass::Pay, now) {
                permit.mark_sent(now);
                permit.record(CallClass::RateLimited, now + Duration::from_millis(3));
            }
            if turn % 5_000 == 0 {
                guard.set_override(class, Mode::Drain, now);
                guard.clear_override(class, now);
            }
        }
    });
    assert_eq!(counted, 0);
    assert!(tripped > 0, "the breakers tripped meanwhile, so transitions were counted too");
    assert!(throttled.limit() < whole, "and so did the limiter: {} of {whole}", throttled.limit());
    let counters = OperationClass::ALL.map(|class| guard.snapshot(class, start).counters);
    assert!(counters.iter().any(|class| class.rejected_by_rate > 0), "the rate was used up: {counters:?}");
    assert!(counters.iter().any(|class| class.rejected_by_budget > 0), "and the retry budget: {counters:?}");
    assert!(!guard.transitions().list.is_empty());
}
