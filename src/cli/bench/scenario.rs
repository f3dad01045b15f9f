//! What goes wrong in a run, and how it is made to: each scenario has a beginning, a middle and an end, and is over when it has ended.

use std::time::Duration;

use clap::ValueEnum;

use super::stage::Stage;
use crate::sandbox::proxy::{BreakOff, Direction, Drip, Flow, Manner};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Nothing
    #[value(name = "calm")]
    Calm,
    /// The channel's port refuses connections
    #[value(name = "refused")]
    Refused,
    /// Every byte to and from the channel arrives altered: no TLS record is whole, and no handshake ends
    #[value(name = "tls_broken")]
    TlsBroken,
    /// What is sent to the channel vanishes, and so do its answers
    #[value(name = "black_hole")]
    BlackHole,
    /// What is sent to the channel waits, and arrives when the fault has ended
    #[value(name = "stall")]
    Stall,
    /// Each connection is reset at a byte of its own, in the middle of requests or of answers
    #[value(name = "reset")]
    Reset,
    /// The channel answers 5xx: having done nothing, later having charged
    #[value(name = "error_5xx")]
    Errors,
    /// The channel takes 700 ms longer
    #[value(name = "slow")]
    Slow,
    /// Answers take longer than a call may: they come when they were given up
    #[value(name = "late")]
    Late,
    /// Answers come byte by byte, on some connections for longer than a call may take
    #[value(name = "drip")]
    Drip,
    /// All connections are cut again and again, and every answer takes 50 ms longer; later each is closed in the middle of an answer
    #[value(name = "cut")]
    Cut,
    /// SIGKILL of a process, twice, and a restart at once; of several one is drawn, and the second to die stays dead until the end
    #[value(name = "kill")]
    Kill,
    /// A process that kills itself at one named crash point after the other, and a restart at once
    #[value(name = "crash_points")]
    CrashPoints,
    /// SIGKILL of the postmaster, and a restart at once
    #[value(name = "postgres_kill")]
    PostgresKill,
    /// SIGKILL of the primary's postmaster; its synchronous standby is promoted
    #[value(name = "primary_killed")]
    PrimaryKilled,
    /// The primary is cut off from everybody and lives on; its synchronous standby is promoted; later the old primary is killed
    #[value(name = "primary_cut_off")]
    PrimaryCutOff,
    /// Three times the rate
    #[value(name = "overload")]
    Overload,
    /// Another merchant sends ten times the rate, and somebody forged notifications
    #[value(name = "flood")]
    Flood,
}

/// One way, beyond any latency of the sandbox and below the channels' timeout.
const SLOW_BY: Duration = Duration::from_millis(350);
/// One way: there and back it is more than the channels' timeout.
const LATE_BY: Duration = Duration::from_millis(600);
/// From one byte of an answer to the next, at most. A bank's answer has 150 of them, Stripe's 880.
const DRIP_APART: Duration = Duration::from_millis(12);
/// A lost connection is of use again within half of it: a pause of a fifth of a second, and four times the way.
const CUT_EVERY: Duration = Duration::from_millis(700);
/// One way, so that there is something under way when the cut comes.
const CUT_LATENCY: Duration = Duration::from_millis(25);
/// What a bank and we say to each other before the first message: 820 bytes to it and 980 back in a full handshake and the first word. What a shorter
/// handshake leaves of this, the first messages have.
const OPENING_BYTES: u64 = 1_000;
/// Up to three of a bank's messages, of 150 bytes each, most of a request to Stripe, of 430, and half of its answer: where in them a connection breaks
/// off is drawn.
const MESSAGES_BYTES: u64 = 400;

impl Scenario {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether one channel is hit, and the others should not notice.
    pub const fn hits_a_channel(self) -> bool {
        matches!(
            self,
            Self::Refused
                | Self::TlsBroken
                | Self::BlackHole
                | Self::Stall
                | Self::Reset
                | Self::Errors
                | Self::Slow
                | Self::Late
                | Self::Drip
                | Self::Cut
        )
    }

    /// Whether the database has a standby, which takes over.
    pub const fn loses_the_primary(self) -> bool {
        matches!(self, Self::PrimaryKilled | Self::PrimaryCutOff)
    }

    /// How many times the ordinary rate is offered while it lasts.
    pub const fn times(self) -> f64 {
        if matches!(self, Self::Overload) { 3.0 } else { 1.0 }
    }

    /// How many times the ordinary rate a merchant of their own sends while it lasts.
    pub const fn flood(self) -> f64 {
        if matches!(self, Self::Flood) { 10.0 } else { 0.0 }
    }

    /// It begins.
    ///
    /// # Errors
    /// A sentence, when the fault could not be brought about.
    pub fn begin(self, stage: &mut Stage) -> Result<(), String> {
        match self {
            Self::Calm | Self::Overload | Self::Flood | Self::CrashPoints => Ok(()),
            Self::Refused => stage.third_parties().set_wire(Manner { refuse: true, ..Manner::default() }),
            Self::TlsBroken => stage.third_parties().set_wire(Manner { flow: Flow::Garble, ..Manner::default() }),
            Self::BlackHole => stage.third_parties().set_wire(Manner { flow: Flow::Lose, ..Manner::default() }),
            Self::Stall => stage.third_parties().set_wire(Manner { flow: Flow::Hold, ..Manner::default() }),
            Self::Reset => stage.third_parties().set_wire(Manner { break_off: Some(breaking_off(None, false)), ..Manner::default() }),
            Self::Slow => stage.third_parties().set_wire(Manner { latency: SLOW_BY, ..Manner::default() }),
            Self::Late => stage.third_parties().set_wire(Manner { latency: LATE_BY, ..Manner::default() }),
            Self::Drip => {
                let drip = Drip { way: Some(Direction::ToClient), apart: (Duration::ZERO, DRIP_APART) };
                stage.third_parties().set_wire(Manner { drip: Some(drip), ..Manner::default() })
            }
            Self::Cut => stage.third_parties().set_wire(Manner { cut_every: CUT_EVERY, latency: CUT_LATENCY, ..Manner::default() }),
            Self::Errors => stage.third_parties().set_fault("error_not_processed"),
            Self::Kill => {
                let victim = stage.draw();
                stage.start_anew(victim, None)
            }
            Self::PostgresKill => stage.kill_postgres(),
            Self::PrimaryKilled => stage.pair()?.kill_and_promote(),
            Self::PrimaryCutOff => stage.pair()?.cut_off_and_promote(),
        }
    }

    /// Half of it is over.
    ///
    /// # Errors
    /// As [`Scenario::begin`].
    pub fn turn(self, stage: &mut Stage) -> Result<(), String> {
        match self {
            Self::Cut => {
                stage.third_parties().set_wire(Manner { break_off: Some(breaking_off(Some(Direction::ToClient), true)), ..Manner::default() })
            }
            Self::Errors => stage.third_parties().set_fault("error_processed"),
            Self::Kill if stage.processes() > 1 => {
                // What it was about is for the others.
                let victim = stage.draw();
                stage.kill(victim);
                Ok(())
            }
            Self::Kill => stage.start_anew(0, None),
            // Until now it could have taken writes.
            Self::PrimaryCutOff => stage.pair()?.kill_primary(),
            _ => Ok(()),
        }
    }

    /// It ends.
    ///
    /// # Errors
    /// As [`Scenario::begin`].
    pub fn end(self, stage: &mut Stage) -> Result<(), String> {
        if self.loses_the_primary() {
            stage.pair()?.heal();
        }
        if matches!(self, Self::Kill) {
            stage.start_missing(None)?;
        }
        if matches!(self, Self::Errors) { stage.third_parties().heal_fault() } else { stage.third_parties().set_wire(Manner::default()) }
    }
}

/// In the middle of what is said this way; one way or the other, by connection, when it is not said.
const fn breaking_off(way: Option<Direction>, goodbye: bool) -> BreakOff {
    BreakOff { way, bytes: (1, MESSAGES_BYTES), opening: OPENING_BYTES, goodbye }
}
