//! Operators' overrides, from the database to the guards. They win over what a breaker finds out by itself, and end by themselves.
//!
//! Every process reads the rows that stand, twice a second and more, over a connection of its own: an override put anywhere holds everywhere
//! within a second, also while the other connections are busy. Which of them hold *now* is decided in memory, ten times a second, from the last
//! rows that were read: an override ends at its time, and a window begins, also while the database is away. Both loops go on after a panic; a reader
//! that fails or hangs is noticed by who listens to [`Switchboard::reads`].
//!
//! At most one holds for a channel and class at a time: a one-off before what recurs, because somebody looked at the matter today; and of several
//! windows the one that shuts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Handle;

use super::Operator;
use crate::channel::breaker::Mode;
use crate::channel::guard::ChannelGuard;
use crate::channel::timeline::{Excerpt, Happened, Happening, Timeline};
use crate::clock::{Clock, Pulse};
use crate::domain::{OperationClass, OverrideId};
use crate::lasting;
use crate::store::administration::Actor;
use crate::store::channel_override::{NewOverride, OverrideRow};
use crate::store::{Store, StoreError};

/// Between two reads of the rows. With the read itself it stays below the second in which an override must hold everywhere.
const READ_EVERY: Duration = Duration::from_millis(400);
/// Between two looks at which rows hold now.
const APPLY_EVERY: Duration = Duration::from_millis(100);

/// One channel's place at the switchboard.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Its id.
    pub channel: String,
    /// What is switched.
    pub guard: Arc<ChannelGuard>,
    /// Where it is told.
    pub timeline: Timeline,
}

/// An override that holds now.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The override.
    pub row: OverrideRow,
    /// What it does.
    pub mode: Mode,
    /// Until when it holds without a break.
    pub until: Timestamp,
}

/// The switchboard of this process. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct Switchboard {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    clock: Clock,
    seats: Vec<Seat>,
    board: Mutex<Board>,
    /// Held over a read and what is made of it: an older read must not undo a newer one.
    reading: tokio::sync::Mutex<()>,
    /// Felt after each read that succeeded.
    reads: Pulse,
}

struct Board {
    rows: Vec<OverrideRow>,
    /// By seat, by class in the order of [`OperationClass::ALL`].
    held: Vec<[Option<Held>; 3]>,
}

impl std::fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Switchboard").field("seats", &self.shared.seats.len()).finish_non_exhaustive()
    }
}

impl Switchboard {
    /// A switchboard that has read nothing yet. `store` should have a connection of its own.
    pub fn new(store: Store, clock: Clock, seats: Vec<Seat>) -> Self {
        let held = seats.iter().map(|_| [const { None }; 3]).collect();
        let board = Mutex::new(Board { rows: Vec::new(), held });
        let reads = Pulse::new(clock.boot());
        Self { shared: Arc::new(Shared { store, clock, seats, board, reading: tokio::sync::Mutex::new(()), reads }) }
    }

    /// Reads the rows, and switches the guards accordingly. To be awaited before the first payment is taken.
    ///
    /// # Errors
    /// [`StoreError`]: what was read before stays.
    pub async fn load(&self) -> Result<(), StoreError> {
        let _newest = self.shared.reading.lock().await;
        let rows = self.shared.store.standing_overrides(self.shared.clock.wall()).await?;
        self.lock().rows = rows;
        self.apply();
        self.shared.reads.beat(self.shared.clock.boot());
        Ok(())
    }

    /// What is felt after each read of the rows that succeeded: twice a second and more.
    pub fn reads(&self) -> Pulse {
        self.shared.reads.clone()
    }

    /// Keeps reading and switching, for as long as `runtime` runs.
    pub fn start(&self, runtime: &Handle) {
        let reader = self.clone();
        runtime.spawn(keep_reading(READ_EVERY, move || {
            let reader = reader.clone();
            async move { reader.load().await }
        }));
        let switcher = self.clone();
        runtime.spawn(lasting::keep("overrides_switcher", move || {
            let switcher = switcher.clone();
            async move {
                loop {
                    tokio::time::sleep(APPLY_EVERY).await;
                    switcher.apply();
                }
            }
        }));
    }

    /// Puts an override; it holds here when this returns. `None` when too many stand.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was changed; or, when only the read after it failed, it holds within the next second.
    pub async fn put(&self, new: &NewOverride, operator: &Operator) -> Result<Option<OverrideRow>, StoreError> {
        let actor = Actor { at: self.shared.clock.wall(), who: &operator.who, why: Some(&new.reason) };
        let put = self.shared.store.put_override(new, actor).await?;
        if put.is_some() {
            self.load().await?;
        }
        Ok(put)
    }

    /// Ends the one-off of a channel's class, or the override of that id. `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError`], as for [`Switchboard::put`].
    pub async fn end(
        &self,
        channel: &str,
        class: OperationClass,
        id: Option<OverrideId>,
        why: Option<&str>,
        operator: &Operator,
    ) -> Result<Option<OverrideRow>, StoreError> {
        let actor = Actor { at: self.shared.clock.wall(), who: &operator.who, why };
        let ended = self.shared.store.end_override(channel, class, id, actor).await?;
        if ended.is_some() {
            self.load().await?;
        }
        Ok(ended)
    }

    /// What holds at that channel now, of pay first.
    pub fn held(&self, channel: &str) -> Vec<Held> {
        let board = self.lock();
        self.place(channel).and_then(|seat| board.held.get(seat)).map(|held| held.iter().flatten().cloned().collect()).unwrap_or_default()
    }

    /// Where that channel's happenings are told.
    pub fn timeline_of(&self, channel: &str) -> Option<Timeline> {
        Some(self.shared.seats[self.place(channel)?].timeline.clone())
    }

    /// What happened at that channel in the last seconds; `None` when there is no such channel.
    pub fn timeline(&self, channel: &str, seconds: u32) -> Option<Excerpt> {
        let seat = self.place(channel)?;
        Some(self.shared.seats[seat].timeline.last(seconds, self.shared.clock.wall()))
    }

    /// Switches each guard to what holds now.
    fn apply(&self) {
        let now = self.shared.clock.wall();
        let mut board = self.lock();
        let Board { rows, held } = &mut *board;
        for (seat, held) in self.shared.seats.iter().zip(held) {
            let mut changed = false;
            for (place, class) in OperationClass::ALL.into_iter().enumerate() {
                let wanted = winner(rows, &seat.channel, class, now);
                let same = match (&held[place], &wanted) {
                    (None, None) => true,
                    (Some(is), Some(wanted)) => is.row.id == wanted.row.id && is.until == wanted.until,
                    _ => false,
                };
                if !same {
                    self.switch(seat, class, held[place].take(), wanted.as_ref(), now);
                    held[place] = wanted;
                    changed = true;
                }
            }
            if changed {
                show(&seat.channel, held);
            }
        }
    }

    fn switch(&self, seat: &Seat, class: OperationClass, was: Option<Held>, wanted: Option<&Held>, now: Timestamp) {
        let boot = self.shared.clock.boot();
        let what = match (wanted, was) {
            (Some(held), _) => {
                seat.guard.set_override(class, held.mode, boot);
                tracing::warn!(channel = %seat.channel, class = class.as_str(), mode = held.mode.as_str(), author = %held.row.author,
                    reason = %held.row.reason, until = %held.until, "an operator's override holds");
                Happening::OverrideBegan { mode: held.mode, author: held.row.author.clone(), reason: held.row.reason.clone(), until: held.until }
            }
            (None, Some(was)) => {
                seat.guard.clear_override(class, boot);
                tracing::warn!(channel = %seat.channel, class = class.as_str(), mode = was.mode.as_str(), "an operator's override has ended");
                Happening::OverrideEnded { mode: was.mode }
            }
            (None, None) => return,
        };
        seat.timeline.tell(Happened { at: now, class, what });
    }

    fn place(&self, channel: &str) -> Option<usize> {
        self.shared.seats.iter().position(|seat| seat.channel == channel)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Board> {
        // A panic between two guards leaves the others for the next look.
        self.shared.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads for ever, also after a panic.
async fn keep_reading<R: Future<Output = Result<(), StoreError>>>(every: Duration, read: impl Fn() -> R + Clone) {
    lasting::keep("overrides_reader", move || read_on(every, read.clone())).await;
}

async fn read_on<R: Future<Output = Result<(), StoreError>>>(every: Duration, read: impl Fn() -> R) {
    let mut away = false;
    loop {
        tokio::time::sleep(every).await;
        let read = read().await;
        match (&read, away) {
            (Err(error), false) => tracing::error!(%error, "the overrides cannot be read: those that are known still end by themselves"),
            (Ok(()), true) => tracing::info!("the overrides can be read again"),
            _ => {}
        }
        away = read.is_err();
    }
}

/// The override that holds for a channel's class at `now`.
fn winner(rows: &[OverrideRow], channel: &str, class: OperationClass, now: Timestamp) -> Option<Held> {
    let fitting = rows.iter().filter(|row| row.channel == channel && row.class == class);
    let holding = fitting.filter_map(|row| {
        let (until, mode) = (row.holds_until(now)?, Mode::parse(&row.mode)?);
        Some(Held { row: row.clone(), mode, until })
    });
    holding.min_by_key(|held| (held.row.recurs.is_some(), rank(held.mode), std::cmp::Reverse(held.row.id.0)))
}

/// What shuts comes first.
const fn rank(mode: Mode) -> u8 {
    match mode {
        Mode::ForcedOpen => 0,
        Mode::Drain => 1,
        Mode::ForcedClosed => 2,
    }
}

/// Tells the metrics: which modes hold at a channel, and when the first of them ends.
fn show(channel: &str, held: &[Option<Held>; 3]) {
    for mode in Mode::ALL {
        let holds = held.iter().flatten().any(|held| held.mode == mode);
        metrics::gauge!("breakwater_channel_override", "channel" => channel.to_owned(), "mode" => mode.as_str()).set(if holds { 1.0 } else { 0.0 });
    }
    let end = held.iter().flatten().map(|held| held.until.as_second()).min().unwrap_or(0);
    metrics::gauge!("breakwater_channel_override_expiry_timestamp_seconds", "channel" => channel.to_owned())
        .set(f64::from(u32::try_from(end).unwrap_or(u32::MAX)));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use jiff::tz::TimeZone;
    use uuid::Uuid;

    use super::*;
    use crate::domain::Recurrence;
    use crate::domain::recurrence::EVERY_DAY;

    fn row(id: u128, mode: Mode, recurs: bool) -> OverrideRow {
        let window = recurs.then(|| Recurrence::new(0, 60, EVERY_DAY, TimeZone::UTC).expect("a window"));
        OverrideRow {
            id: OverrideId(Uuid::from_u128(id)),
            channel: "a".to_owned(),
            class: OperationClass::Pay,
            mode: mode.as_str().to_owned(),
            author: "operator:ada".to_owned(),
            reason: "a test".to_owned(),
            created_at: Timestamp::UNIX_EPOCH,
            expires_at: (!recurs).then(|| Timestamp::from_second(600).expect("in range")),
            recurs: window,
            ended_at: None,
            ended_by: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn mode_at(rows: &[OverrideRow], second: i64) -> Option<Mode> {
        winner(rows, "a", OperationClass::Pay, at(second)).map(|held| held.mode)
    }

    #[test]
    fn a_one_off_holds_before_what_recurs_and_what_recurs_takes_over_at_its_end() {
        let rows = [row(1, Mode::ForcedOpen, true), row(2, Mode::ForcedClosed, false)];
        assert_eq!(mode_at(&rows, 10), Some(Mode::ForcedClosed));
        assert_eq!(mode_at(&rows, 600), Some(Mode::ForcedOpen));
        assert_eq!(mode_at(&rows, 3_600), None);
    }

    #[test]
    fn of_several_windows_the_one_that_shuts_holds() {
        let rows = [row(1, Mode::ForcedClosed, true), row(2, Mode::Drain, true), row(3, Mode::ForcedClosed, true)];
        assert_eq!(mode_at(&rows, 10), Some(Mode::Drain));
    }

    #[tokio::test]
    async fn a_reader_that_panicked_reads_on() {
        let reads = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&reads);
        let reading = tokio::spawn(keep_reading(Duration::from_millis(1), move || {
            let read = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(read.is_multiple_of(2), "a fault of ours");
                if read == 2 { Err(StoreError::Away("for a while".to_owned())) } else { Ok(()) }
            }
        }));
        let mut looks = 0;
        while reads.load(Ordering::SeqCst) < 5 {
            assert!(looks < 2_000 && !reading.is_finished(), "it has given up reading");
            looks += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        reading.abort();
    }

    #[test]
    fn an_override_is_of_its_own_channel_and_class_only() {
        let rows = [row(1, Mode::Drain, false)];
        assert_eq!(winner(&rows, "b", OperationClass::Pay, at(10)), None);
        assert_eq!(winner(&rows, "a", OperationClass::Refund, at(10)), None);
    }
}
