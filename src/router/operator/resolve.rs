//! A person says what an outcome was: they asked the bank by telephone, or have it on a statement. The fact goes through `domain` like any other,
//! with [`Source::Operator`], and may later be contradicted by the channel, which then is seen and told.
//!
//! * Only an attempt that is *unknown* can be resolved. Each try is made against the version that is written: whoever brings the channel's own
//!   word first wins, and the person is told that nothing is in doubt any more. While somebody holds the attempt's lease it waits: a repeat may be
//!   on its way (of a refund, say), and "declined" must not be said of what is being sent.
//! * Above the set amount one person's word waits (at most [`WAITS_FOR`]) until a second one, an admin, says the same. Names are people: the same
//!   name never counts twice.
//! * The channel need not be in the settings any more: a person's evidence is a source of its own. Only what would follow from the word by the
//!   channel's contract, and differently by another's (`any_contract.rs`), waits until its table is put back.
//! * What was ordered is in the audit before anything changes, what came of it after: a crash in between leaves the order and the payment's own
//!   event.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::answer::FlowError;
use super::super::flows::Flows;
use super::super::settle::{OVERTAKEN, Written};
use super::{Operator, any_contract};
use crate::domain::{
    Attempt, AttemptState, CaptureMethod, Change, Contract, Fact, Failure, FailureCode, Learned, News, Operation, Payment, PaymentId, Role, Source,
};
use crate::store::administration::Actor;
use crate::store::doubt::NewProposal;

/// How long one person's word waits for a second one.
pub const WAITS_FOR: SignedDuration = SignedDuration::from_hours(24);

/// How long a person's word waits for whoever asks the channel at this moment: longer than a call usually takes.
const LEASE_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at the lease.
const LEASE_LOOK: Duration = Duration::from_millis(100);

/// What a person may say of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was carried out: the money moved.
    Approved,
    /// The money is held, not taken.
    Authorized,
    /// The channel refused it: no money moved.
    Declined,
    /// The channel never had it, and never will.
    NotFound,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Verdict; 4] = [Self::Approved, Self::Authorized, Self::Declined, Self::NotFound];

    /// The name in bodies, rows and the audit.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Authorized => "authorized",
            Self::Declined => "declined",
            Self::NotFound => "not_found",
        }
    }

    /// The verdict of that name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == name)
    }

    /// Whether it can be said of this attempt.
    fn fits(self, payment: &Payment, operation: Operation) -> bool {
        match (self, operation) {
            (Self::Approved | Self::Declined, _) => true,
            (Self::Authorized, Operation::Pay) => payment.request.capture_method == CaptureMethod::Manual,
            (Self::Authorized, _) => false,
            // A reversal goes on until it is done.
            (Self::NotFound, operation) => operation != Operation::Reversal,
        }
    }

    fn news(self, operation: Operation, reference: Option<&str>) -> News {
        let failed = |code, message| Some(Failure::new(code, None, message));
        let (fact, failure) = match self {
            Self::Approved => (Fact::Approved, None),
            Self::Authorized => (Fact::Authorized, None),
            Self::Declined => {
                let code = match operation {
                    Operation::Pay => FailureCode::CardDeclined,
                    Operation::Refund => FailureCode::RefundFailed,
                    Operation::Capture | Operation::Void | Operation::Reversal => FailureCode::ProcessingError,
                };
                (Fact::Declined, failed(code, "the channel refused it, as a person established"))
            }
            Self::NotFound => (Fact::NotFound, failed(FailureCode::NotFound, "the channel never had it, as a person established")),
        };
        News { failure, reference: reference.map(str::to_owned), ..News::of(fact) }
    }
}

/// Say what an outcome was.
#[derive(Clone, Debug)]
pub struct Resolve {
    /// Of which payment.
    pub payment: PaymentId,
    /// Of which attempt; the one that is unknown, where there is only one, when `None`.
    pub attempt: Option<i16>,
    /// What it came to.
    pub verdict: Verdict,
    /// The channel's own name for it, where the channel never told us: a refund will need it.
    pub reference: Option<String>,
    /// What is known, in their own words.
    pub note: String,
    /// Where from: a statement, a ticket, a name at the bank.
    pub evidence: String,
    /// Who says so.
    pub operator: Operator,
}

impl actix::Message for Resolve {
    type Result = Result<Resolution, FlowError>;
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum Resolution {
    /// It is on disk.
    Settled {
        /// The payment as it now is.
        payment: Box<Payment>,
        /// The attempt's number.
        n: i16,
    },
    /// A second person must say the same; nothing was changed.
    AwaitsSecond {
        /// Of which attempt.
        n: i16,
        /// Who said it first.
        proposed_by: String,
        /// Until when it waits.
        expires_at: Timestamp,
    },
    /// It cannot be; nothing was changed.
    Refused(Refusal),
}

/// Why a person's word was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such payment.
    NoPayment,
    /// The payment has no attempt of that number.
    NoAttempt,
    /// Nothing of the payment is in doubt.
    NothingInDoubt,
    /// That attempt is not in doubt.
    NotInDoubt {
        /// What it is.
        state: AttemptState,
    },
    /// The channel is being asked about it at this moment.
    BeingAsked {
        /// Until when, at most.
        until: Timestamp,
    },
    /// Several attempts are: say which.
    SeveralInDoubt {
        /// Their numbers.
        attempts: Vec<i16>,
    },
    /// That cannot be said of such an attempt.
    DoesNotFit {
        /// What was tried.
        operation: Operation,
    },
    /// The channel's own name for it must be given: nothing could be refunded without.
    ReferenceNeeded,
    /// It is known by another name.
    OtherReference,
    /// Somebody else has said something else, and theirs waits for a second person.
    Disagrees {
        /// Who.
        proposed_by: String,
        /// What.
        outcome: String,
        /// Until when theirs waits.
        expires_at: Timestamp,
    },
    /// The second person must be an admin.
    SecondMustBeAdmin,
}

impl Flows {
    /// Takes a person's word on an unknown outcome.
    pub(in crate::router) async fn resolve(&self, order: Resolve) -> Result<Resolution, FlowError> {
        let Some(payment) = self.shared.store.payment(order.payment).await? else { return Ok(Resolution::Refused(Refusal::NoPayment)) };
        let n = match doubtful(&payment, order.attempt) {
            Ok(attempt) => attempt.n,
            Err(refusal) => return Ok(Resolution::Refused(refusal)),
        };
        let Some(attempt) = payment.attempt(n) else { return Ok(Resolution::Refused(Refusal::NoAttempt)) };
        if let Some(refusal) = complaint(&order, &payment, attempt, self.charges_only_with_reference(attempt)) {
            return Ok(Resolution::Refused(refusal));
        }
        self.contract_for(&order, &payment, attempt)?;
        if attempt.amount > self.shared.settings.resolve_alone_up_to
            && let Some(waits) = self.second_person(&order, n).await?
        {
            return Ok(waits);
        }
        let ordered = json!({"attempt": n, "outcome": order.verdict.as_str(), "reference": order.reference, "evidence": order.evidence});
        self.note_resolve(&order, "payment.resolve_ordered", &Value::Null, &ordered).await?;
        self.settle_by_person(&order, payment, n).await
    }

    /// The contract under which a word on this attempt is applied.
    ///
    /// # Errors
    /// [`FlowError::ChannelNotConfigured`] when it is not known, and something depends on it.
    fn contract_for(&self, order: &Resolve, payment: &Payment, attempt: &Attempt) -> Result<&'static Contract, FlowError> {
        if let Some(channel) = self.channel(&attempt.channel) {
            return Ok(channel.handle.provider().contract());
        }
        let news = order.verdict.news(attempt.operation, order.reference.as_deref());
        let contract = any_contract::that_decides_nothing(payment, attempt.n, &news, self.now());
        contract.ok_or_else(|| FlowError::ChannelNotConfigured { channel: attempt.channel.clone() })
    }

    /// Whether what was charged has the channel's name for it. Of a channel that is not known the name is asked for.
    fn charges_only_with_reference(&self, attempt: &Attempt) -> bool {
        self.channel(&attempt.channel).is_none_or(|channel| channel.handle.provider().contract().charges_only_with_reference)
    }

    /// Above the amount: the first word is kept, the second one decides. `None` when both have spoken.
    async fn second_person(&self, order: &Resolve, n: i16) -> Result<Option<Resolution>, FlowError> {
        let store = &self.shared.store;
        let (now, who) = (self.now(), order.operator.who.as_str());
        let actor = Actor { at: now, who, why: Some(&order.note) };
        let (outcome, reference) = (order.verdict.as_str(), order.reference.as_deref());
        let first = store.proposal(order.payment, n, now).await?.filter(|first| first.proposed_by != who);
        if let Some(first) = &first {
            let refusal = if first.outcome != outcome || first.reference.as_deref() != reference {
                Some(Refusal::Disagrees { proposed_by: first.proposed_by.clone(), outcome: first.outcome.clone(), expires_at: first.expires_at })
            } else if order.operator.role < Role::Admin {
                Some(Refusal::SecondMustBeAdmin)
            } else {
                None
            };
            if let Some(refusal) = refusal {
                return Ok(Some(Resolution::Refused(refusal)));
            }
        }
        // Also what this person decided before, whose order was lost on the way.
        let may_decide = order.operator.role >= Role::Admin;
        if may_decide && store.decide(order.payment, n, outcome, reference, actor).await? {
            return Ok(None);
        }
        let expires_at = now + WAITS_FOR;
        let new = NewProposal { payment: order.payment, n, outcome, reference, note: &order.note, evidence: &order.evidence, expires_at };
        if store.propose(&new, actor).await? {
            return Ok(Some(Resolution::AwaitsSecond { n, proposed_by: who.to_owned(), expires_at }));
        }
        // Somebody was first by a moment, and is asked for once more.
        let first = store.proposal(order.payment, n, now).await?;
        Ok(Some(first.map_or(Resolution::Refused(Refusal::NothingInDoubt), |first| {
            Resolution::Refused(Refusal::Disagrees { proposed_by: first.proposed_by, outcome: first.outcome, expires_at: first.expires_at })
        })))
    }

    /// Applies the word to the newest version, as long as the attempt is in doubt there.
    async fn settle_by_person(&self, order: &Resolve, mut payment: Payment, n: i16) -> Result<Resolution, FlowError> {
        let patience = self.shared.clock.boot() + LEASE_PATIENCE;
        for _ in 0..OVERTAKEN {
            let attempt = match doubtful(&payment, Some(n)) {
                Ok(attempt) => attempt,
                Err(refusal) => return Ok(Resolution::Refused(refusal)),
            };
            if let Some(until) = attempt.lease_until.filter(|until| attempt.lease_owner.is_some() && *until > self.now()) {
                if self.shared.clock.boot() >= patience {
                    return Ok(Resolution::Refused(Refusal::BeingAsked { until }));
                }
                tokio::time::sleep(LEASE_LOOK).await;
                payment = self.reload(payment.id).await?;
                continue;
            }
            let contract = self.contract_for(order, &payment, attempt)?;
            let news = order.verdict.news(attempt.operation, order.reference.as_deref());
            let mut draft = payment.clone();
            match draft.learn(n, &news, Source::Operator, contract, self.now()) {
                Ok(Learned::Changed) => {}
                Ok(Learned::Seen | Learned::Contradiction | Learned::Mismatch) | Err(_) => {
                    return Ok(Resolution::Refused(Refusal::DoesNotFit { operation: attempt.operation }));
                }
            }
            // Refused when somebody has taken the lease since it was read.
            let change = Change::between(&payment, draft, Source::Operator).fenced(n, attempt.fence);
            match self.write_change(change).await? {
                Written::Done(after) => {
                    self.tell(&payment, &after, Source::Operator);
                    // The payment has its event, and the audit the order: what is known is answered, whatever becomes of this.
                    if let Err(error) = self.note_resolve(order, "payment.resolved", &standing(&payment, n), &standing(&after, n)).await {
                        tracing::error!(payment = %payment.id, %error, "what an operator's word came to is not in the audit, only the order is");
                    }
                    return Ok(Resolution::Settled { payment: after, n });
                }
                Written::Overtaken => payment = self.reload(payment.id).await?,
            }
        }
        Err(FlowError::Internal(format!("{} changes faster than an operator's word can be written", payment.id)))
    }

    async fn note_resolve(&self, order: &Resolve, act: &str, before: &Value, after: &Value) -> Result<(), FlowError> {
        let actor = Actor { at: self.now(), who: &order.operator.who, why: Some(&order.note) };
        Ok(self.shared.store.note_act(act, &format!("payment:{}", order.payment), before, after, actor).await?)
    }
}

/// The attempt that is meant, if it is in doubt.
fn doubtful(payment: &Payment, asked: Option<i16>) -> Result<&Attempt, Refusal> {
    if let Some(n) = asked {
        let attempt = payment.attempt(n).ok_or(Refusal::NoAttempt)?;
        return if attempt.state == AttemptState::Unknown { Ok(attempt) } else { Err(Refusal::NotInDoubt { state: attempt.state }) };
    }
    let unknown: Vec<&Attempt> = payment.attempts.iter().filter(|attempt| attempt.state == AttemptState::Unknown).collect();
    match unknown.as_slice() {
        [] => Err(Refusal::NothingInDoubt),
        [one] => Ok(one),
        several => Err(Refusal::SeveralInDoubt { attempts: several.iter().map(|attempt| attempt.n).collect() }),
    }
}

fn complaint(order: &Resolve, payment: &Payment, attempt: &Attempt, charges_only_with_reference: bool) -> Option<Refusal> {
    if !order.verdict.fits(payment, attempt.operation) {
        return Some(Refusal::DoesNotFit { operation: attempt.operation });
    }
    if order.reference.is_some() && attempt.reference.is_some() && order.reference != attempt.reference {
        return Some(Refusal::OtherReference);
    }
    let paid = attempt.operation == Operation::Pay && matches!(order.verdict, Verdict::Approved | Verdict::Authorized);
    let nameless = attempt.reference.is_none() && order.reference.is_none();
    (paid && nameless && charges_only_with_reference).then_some(Refusal::ReferenceNeeded)
}

/// How payment and attempt stand, for the audit.
fn standing(payment: &Payment, n: i16) -> Value {
    json!({
        "status": payment.status.as_str(), "outcome": payment.outcome.as_str(), "sequence": payment.sequence, "attempt": n,
        "state": payment.attempt(n).map(|attempt| attempt.state.as_str()),
    })
}
