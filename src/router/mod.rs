//! Floor 3: the flows. Only this floor changes a payment, whether the news came by request, notification, poll or person.
//!
//! The [`Router`] is a thin actor: it splits the payment flow from the refund flow (each has its own share of flows in flight, so that one
//! cannot drag the other down), and starts each message as a task of its own on the multi-thread runtime. A task, not the caller's future,
//! carries the money: a client that disconnects cancels nothing.
//!
//! Read `payment.rs` and `refund.rs` as two scripts, top to bottom (`capture.rs` is a third; `choice.rs` says which channel carries a payment,
//! `line.rs` who may wait for one, `carrying.rs` is what they share, `flows/` what all stand on, `replay.rs` what a known key is answered);
//! `settle.rs` is how news becomes a change on disk, `resolve.rs` what the poller asks for, `refresh.rs` what a merchant asks for who will not wait,
//! `notify.rs` what providers tell us, `external.rs` what happened at a channel without us, `operator/` what the people do who run this.

pub mod answer;
mod capture;
mod carrying;
mod choice;
mod exchange;
mod external;
pub mod flows;
mod line;
pub mod moved;
pub mod notify;
mod numbers;
pub mod operator;
pub mod payment;
pub mod places;
mod recent;
mod refresh;
pub mod refund;
mod replay;
pub mod resolve;
pub mod settle;
mod survey;
pub mod vault;
pub mod waiting;

use actix::{Actor, Context, Handler, Message, ResponseFuture};
use std::time::Duration;
use uuid::Uuid;

pub use self::answer::{Answer, Claim, FlowError};
pub use self::flows::{FlowSettings, Flows};
use self::operator::{AskAgain, Resolution, Resolve};
use crate::domain::{PaymentId, PaymentRequest, RefundRequest, Subject};
use crate::provider::CardData;
use crate::store::{Share, lease};

/// Messages that may wait in the router's mailbox; each is started at once, so it only fills when the process cannot keep up at all.
const MAILBOX: usize = 16_384;

/// Create a payment, and carry it as far as the wait allows.
#[derive(Debug)]
pub struct Authorize {
    /// What is asked for.
    pub request: PaymentRequest,
    /// The card, for a payment by one: its number is sealed before anything is sent, its security code kept nowhere.
    pub card: Option<CardData>,
    /// The merchant's key.
    pub claim: Claim,
    /// How long the caller waits for an end.
    pub wait: Duration,
}

/// Take money that is held.
#[derive(Debug)]
pub struct Capture {
    /// Who asks.
    pub merchant: Uuid,
    /// Of which payment.
    pub payment: PaymentId,
    /// How much, in minor units; all of it when `None`.
    pub amount: Option<i64>,
    /// The merchant's key.
    pub claim: Claim,
    /// How long the caller waits for an end.
    pub wait: Duration,
}

/// End a payment that is not final; what is held is released, what was taken by then goes back.
#[derive(Debug)]
pub struct Void {
    /// Who asks.
    pub merchant: Uuid,
    /// Which payment.
    pub payment: PaymentId,
    /// The merchant's key.
    pub claim: Claim,
    /// How long the caller waits for an end.
    pub wait: Duration,
}

/// Give captured money back.
#[derive(Debug)]
pub struct Refund {
    /// Who asks.
    pub merchant: Uuid,
    /// Of which payment.
    pub payment: PaymentId,
    /// What is asked for.
    pub request: RefundRequest,
    /// The merchant's key.
    pub claim: Claim,
    /// How long the caller waits for an end.
    pub wait: Duration,
}

/// Look at an attempt that is due: the poller holds its lease.
#[derive(Debug)]
pub struct Inquire {
    /// The lease.
    pub claim: lease::Claim,
}

/// Look at attempts of one channel that are due: the poller holds their leases, and the channel's list is read first.
#[derive(Debug)]
pub struct Survey {
    /// The leases.
    pub claims: Vec<lease::Claim>,
}

/// Ask the channel now what has become of a payment, or of a refund, unless that is known for good.
#[derive(Debug)]
pub struct Refresh {
    /// Who asks.
    pub merchant: Uuid,
    /// Which payment.
    pub payment: PaymentId,
    /// The payment itself, or a refund of it.
    pub subject: Subject,
    /// How long the caller waits for the channel's word.
    pub wait: Duration,
}

/// A message from a provider, as it came.
#[derive(Debug)]
pub struct Notify {
    /// The channel in the address.
    pub channel: String,
    /// The headers, with the signature.
    pub headers: http::HeaderMap,
    /// The bytes that were signed.
    pub body: bytes::Bytes,
}

/// How to acknowledge a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Status code.
    pub status: u16,
    /// Content type.
    pub content_type: &'static str,
    /// Body.
    pub body: &'static str,
}

impl Message for Authorize {
    type Result = Result<Answer, FlowError>;
}
impl Message for Capture {
    type Result = Result<Answer, FlowError>;
}
impl Message for Void {
    type Result = Result<Answer, FlowError>;
}
impl Message for Refund {
    type Result = Result<Answer, FlowError>;
}
impl Message for Inquire {
    type Result = Result<(), FlowError>;
}
impl Message for Survey {
    type Result = Result<(), FlowError>;
}
impl Message for Refresh {
    type Result = Result<Answer, FlowError>;
}
impl Message for Notify {
    type Result = Result<Acknowledgement, FlowError>;
}

/// The dispatcher.
#[derive(Debug)]
pub struct Router {
    flows: Flows,
}

impl Router {
    /// A router over these flows.
    pub const fn new(flows: Flows) -> Self {
        Self { flows }
    }
}

impl Actor for Router {
    type Context = Context<Self>;
    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<Authorize> for Router {
    type Result = ResponseFuture<Result<Answer, FlowError>>;
    fn handle(&mut self, message: Authorize, _: &mut Context<Self>) -> Self::Result {
        let flows = self.flows.clone();
        self.flows.start_payment_flow(async move { flows.authorize(message).await })
    }
}

impl Handler<Capture> for Router {
    type Result = ResponseFuture<Result<Answer, FlowError>>;
    fn handle(&mut self, message: Capture, _: &mut Context<Self>) -> Self::Result {
        let flows = self.flows.clone();
        self.flows.start_payment_flow(async move { flows.capture(message).await })
    }
}

impl Handler<Void> for Router {
    type Result = ResponseFuture<Result<Answer, FlowError>>;
    fn handle(&mut self, message: Void, _: &mut Context<Self>) -> Self::Result {
        let flows = self.flows.clone();
        self.flows.start_payment_flow(async move { flows.cancel(message).await })
    }
}

impl Handler<Refund> for Router {
    type Result = ResponseFuture<Result<Answer, FlowError>>;
    fn handle(&mut self, message: Refund, _: &mut Context<Self>) -> Self::Result {
        let flows = self.flows.clone();
        self.flows.start_refund_flow(async move { flows.refund(message).await })
    }
}

impl Handler<Inquire> for Router {
    type Result = ResponseFuture<Result<(), FlowError>>;
    fn handle(&mut self, message: Inquire, _: &mut Context<Self>) -> Self::Result {
        let flows = self.flows.clone();
        self.flows.start_look(self.flows.place_to_look(&message.claim.channel), async move { flows.inquire(message.claim).await })
    }
}

impl Handler<Survey> for Router {
    type Result = ResponseFuture<Result<(), FlowError>>;
    fn handle(&mut self, message: Survey, _: &mut Context<Self>) -> Self::Result {
        let flows = self.flows.clone();
        // Each look takes a place of its own, and reading the list none.
        let surveyed = self.flows.go_on(Share::Poller.carry(async move { flows.survey(message.claims).await }));
        Box::pin(async move { surveyed.await.map_err(|error| FlowError::Internal(format!("the reading of a list broke off: {error}"))) })
    }
}

impl Handler<Refresh> for Router {
    type Result = ResponseFuture<Result<Answer, FlowError>>;
    fn handle(&mut self, message: Refresh, _: &mut Context<Self>) -> Self::Result {
        let flows = self.flows.clone();
        self.flows.start_reading(async move { flows.refresh(message).await })
    }
}

impl Handler<Notify> for Router {
    type Result = ResponseFuture<Result<Acknowledgement, FlowError>>;
    fn handle(&mut self, message: Notify, _: &mut Context<Self>) -> Self::Result {
        let flows = self.flows.clone();
        match self.flows.channel(&message.channel).cloned() {
            Some(channel) => self.flows.start_receiving(&channel.clone(), async move { flows.notify(&channel, message).await }),
            None => Box::pin(std::future::ready(Err(FlowError::NotFound("channel")))),
        }
    }
}

impl Handler<Resolve> for Router {
    type Result = ResponseFuture<Result<Resolution, FlowError>>;
    fn handle(&mut self, message: Resolve, _: &mut Context<Self>) -> Self::Result {
        let flows = self.flows.clone();
        self.flows.start_payment_flow(async move { flows.resolve(message).await })
    }
}

impl Handler<AskAgain> for Router {
    type Result = ResponseFuture<Result<i64, FlowError>>;
    fn handle(&mut self, message: AskAgain, _: &mut Context<Self>) -> Self::Result {
        let flows = self.flows.clone();
        self.flows.start_payment_flow(async move { flows.ask_again(message).await })
    }
}
