//! One account: the script of a request, from the wire to the journal and back.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use futures_util::future::BoxFuture;
use http::Method;
use serde_json::Value;
use tokio::sync::watch;

use super::error::StripeError;
use super::form::Form;
use super::ledger::{Change, Kept, KeyState, Ledger};
use super::{Call, Done, Event, Origin, Outcome, base64, id, payment, read, refund, render, signature, too_large};
use crate::sandbox::account::{Act, ActRefusal, BankAct};
use crate::sandbox::book::{self, Entry};
use crate::sandbox::fault::{Draw, Faults, Magic, Mode, Operation};
use crate::sandbox::listener::{self, Ending, HttpAccount};
use crate::sandbox::notify::{Manner, Notifier};
use crate::sandbox::settings::{AccountSettings, Behaviour};
use crate::sandbox::{self, SandboxError};

/// How long a call that is never answered is held, unless the caller leaves first.
const HOLD: Duration = Duration::from_secs(60);
/// The answer to an amount that ends in …05.
const SLOW_ANSWER: Duration = Duration::from_secs(8);

/// One account at Stripe.
#[derive(Debug)]
pub struct Account {
    settings: AccountSettings,
    pub(super) behaviour: Behaviour,
    basic: String,
    pub(super) base_url: String,
    ledger: Mutex<Ledger>,
    pub(super) faults: Faults,
    notifier: Notifier,
    ending: watch::Receiver<bool>,
}

/// Gives a key back when its request is answered, or its caller is gone.
struct KeyHeld<'a> {
    account: &'a Account,
    key: &'a str,
}

impl Drop for KeyHeld<'_> {
    fn drop(&mut self) {
        self.account.ledger().release(self.key);
    }
}

impl Account {
    /// Opens the account's memory at `journal`; takes up what was pending when it was last closed.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged.
    pub fn open(
        settings: AccountSettings,
        behaviour: Behaviour,
        base_url: String,
        journal: &Path,
        notifier: Notifier,
        ending: watch::Receiver<bool>,
    ) -> Result<Arc<Self>, SandboxError> {
        let ledger = Ledger::open(journal).map_err(|source| SandboxError::Data { path: journal.to_owned(), source })?;
        let account = Arc::new(Self {
            basic: base64(format!("{}:", settings.secret_key).as_bytes()),
            faults: Faults::new(behaviour.seed),
            settings,
            behaviour,
            base_url,
            ledger: Mutex::new(ledger),
            notifier,
            ending,
        });
        account.take_up();
        Ok(account)
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(self: &Arc<Self>, call: Call) -> Ending {
        if call.method == Method::GET && call.path.starts_with("/customer/") {
            return Ending::Answer { response: self.visit(&call), drip: false };
        }
        let request_id = id("req_");
        let respond = |outcome: Outcome| Ending::Answer { response: outcome.response(call.key.as_deref(), call.version.as_deref()), drip: false };
        let refuse = |refusal: StripeError| respond(Outcome::refusal(&refusal, request_id.clone()));
        let parameters = if call.method == Method::POST { &call.body[..] } else { call.query.as_bytes() };
        let form = match self.authorize(&call).and_then(|()| Form::parse(parameters)) {
            Ok(form) => form,
            Err(refusal) => return refuse(refusal),
        };
        let Some(operation) = operation(&call, &form) else {
            return refuse(StripeError::no_route(call.method.as_str(), &call.path));
        };

        let draw = self.faults.draw(operation);
        match draw.mode {
            Some(Mode::Throttle) => return refuse(StripeError::rate_limit()),
            Some(Mode::ErrorNotProcessed) => {
                tokio::time::sleep(draw.latency).await;
                return refuse(StripeError::api_error());
            }
            Some(Mode::TimeoutNotProcessed) => return self.never_answer().await,
            Some(Mode::ResetBefore) => return Ending::Reset,
            _ => {}
        }

        if operation == Operation::Query {
            let outcome = self.query(&call.path, &form, &request_id);
            return self.finish(outcome, draw, None, &call).await;
        }
        // The key stays in use until the answer is on its way: dropped at the end of this function, or when the caller leaves.
        let held;
        let fingerprint = fingerprint(&call, &form);
        if let Some(key) = call.key.as_deref() {
            if key.len() > 255 {
                return refuse(StripeError::invalid("", "Idempotency keys may have at most 255 characters."));
            }
            let state = self.ledger().take_key(key, &fingerprint, book::now());
            match state {
                Ok(KeyState::New) => held = Some(KeyHeld { account: self, key }),
                Ok(KeyState::InUse) => return refuse(StripeError::key_in_use()),
                Ok(KeyState::OtherParameters) => return refuse(StripeError::key_reused(key)),
                Ok(KeyState::Answered(kept)) => {
                    let outcome = Outcome { status: kept.status, body: kept.body.into(), request_id, replay_of: Some(kept.request_id) };
                    return self.finish(outcome, draw, None, &call).await;
                }
                Err(refusal) => {
                    tracing::error!(error = %refusal, "the sandbox cannot read its journal");
                    return refuse(StripeError::api_error());
                }
            }
        } else {
            held = None;
        }
        let magic = self.magic(operation, &call, &form);
        if magic == Some(Magic::TimeoutNotProcessed) {
            return self.never_answer().await;
        }
        let outcome = self.execute(operation, &call, &form, &Execution { draw, magic, fingerprint, request_id });
        let ending = self.finish(outcome, draw, magic, &call).await;
        drop(held);
        ending
    }

    fn authorize(&self, call: &Call) -> Result<(), StripeError> {
        let Some((scheme, credentials)) = call.authorization.as_deref().and_then(|header| header.split_once(' ')) else {
            let message = "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').";
            return Err(StripeError::unauthorized(message));
        };
        let ours = match scheme.to_ascii_lowercase().as_str() {
            "bearer" => credentials.trim() == self.settings.secret_key,
            "basic" => credentials.trim() == self.basic,
            _ => false,
        };
        if ours { Ok(()) } else { Err(StripeError::unauthorized("Invalid API Key provided.")) }
    }

    fn query(&self, path: &str, form: &Form, request_id: &str) -> Outcome {
        let around = read::Surroundings { base_url: &self.base_url, now: book::now(), search_lag_ms: self.behaviour.search_lag_ms };
        match read::answer(&self.ledger(), path, form, around) {
            Ok(body) => Outcome { status: 200, body: body.to_string().into(), request_id: request_id.to_owned(), replay_of: None },
            Err(refusal) => Outcome::refusal(&refusal, request_id.to_owned()),
        }
    }

    /// What the amount asks for, when this is the step that moves it.
    fn magic(&self, operation: Operation, call: &Call, form: &Form) -> Option<Magic> {
        if operation != Operation::Pay {
            return None;
        }
        let amount = match intent_in(&call.path) {
            Some(intent) => self.ledger().intent(intent)?.amount,
            None => form.integer("amount").ok()??,
        };
        Magic::of_payment(amount)
    }

    /// Executes under the lock: works out what follows, and makes it so.
    fn execute(self: &Arc<Self>, operation: Operation, call: &Call, form: &Form, execution: &Execution) -> Outcome {
        let Execution { draw, magic, fingerprint, request_id } = execution;
        let origin = Origin {
            now: book::now(),
            key: call.key.as_deref(),
            request_id: Some(request_id),
            base_url: &self.base_url,
            expand_charge: read::expands_charge(form),
        };
        let decline = draw.mode == Some(Mode::Decline) || *magic == Some(Magic::Decline);
        let mut ledger = self.ledger();
        let (mut change, mut status, mut body, events) = match self.work_out(&ledger, operation, call, form, decline, &origin) {
            Ok(done) => (done.change, done.status, done.body, done.events),
            Err(refusal) if refusal.before_execution => {
                return Outcome::refusal(&refusal, request_id.clone());
            }
            Err(refusal) => (Change::default(), refusal.status, refusal.body(), Vec::new()),
        };
        if draw.mode == Some(Mode::ErrorProcessed) {
            let failure = StripeError::api_error();
            (status, body) = (failure.status, failure.body());
        }
        let text = body.to_string();
        change.kept = call.key.as_ref().map(|key| Kept {
            key: key.clone(),
            fingerprint: fingerprint.clone(),
            at: origin.now,
            status,
            body: text.clone(),
            request_id: request_id.clone(),
        });
        let due = change.refund.as_ref().and_then(|refund| Some((refund.id.clone(), refund.due?)));
        if let Err(refusal) = ledger.commit(change) {
            tracing::error!(error = %refusal, "the sandbox cannot write its journal");
            return Outcome::refusal(&StripeError::api_error(), request_id.clone());
        }
        drop(ledger);
        self.tell(events, Manner::of(*draw, *magic), &origin);
        if let Some((refund, due)) = due {
            self.settle_later(refund, due);
        }
        Outcome { status, body: text.into(), request_id: request_id.clone(), replay_of: None }
    }

    fn work_out(
        &self,
        ledger: &Ledger,
        operation: Operation,
        call: &Call,
        form: &Form,
        decline: bool,
        origin: &Origin<'_>,
    ) -> Result<Done, StripeError> {
        let existing = |id: &str| ledger.intent(id).cloned().ok_or_else(|| StripeError::no_such("payment_intent", id));
        let named = intent_in(&call.path);
        match (operation, named) {
            (Operation::Create | Operation::Pay, None) => {
                let intent = payment::create(form, origin.now)?;
                if operation == Operation::Pay {
                    return payment::confirm(intent, form, decline, origin);
                }
                let shown = origin.show(&intent);
                Ok(Done::new(Change { intent: Some(intent), ..Change::default() }, shown, Vec::new()))
            }
            (Operation::Pay, Some(id)) => {
                if let Some(unknown) = form.unknown(&CONFIRM_PARAMETERS) {
                    return Err(StripeError::unknown_parameter(unknown));
                }
                payment::confirm(existing(id)?, form, decline, origin)
            }
            (Operation::Capture, Some(id)) => payment::capture(existing(id)?, form, decline, origin),
            (Operation::Void, Some(id)) => payment::cancel(existing(id)?, form, origin),
            (Operation::Refund, None) => {
                let intent = existing(&refund::target(form)?)?;
                refund::create(intent, form, decline, self.behaviour.pending_refund, origin)
            }
            _ => Err(StripeError::no_route(call.method.as_str(), &call.path)),
        }
    }

    /// The way back: waits, and does to the answer what the fault does to it.
    async fn finish(&self, mut outcome: Outcome, draw: Draw, magic: Option<Magic>, call: &Call) -> Ending {
        let latency = if magic == Some(Magic::SlowAnswer) { draw.latency + SLOW_ANSWER } else { draw.latency };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if draw.mode == Some(Mode::TimeoutProcessed) || magic == Some(Magic::TimeoutProcessed) {
            return self.never_answer().await;
        }
        if draw.mode == Some(Mode::ResetAfter) {
            return Ending::Reset;
        }
        if draw.mode == Some(Mode::ErrorProcessed) && outcome.status < 500 {
            // A replay, a question or a malformed request: nothing new was executed, and the server is out of order all the same.
            outcome = Outcome::refusal(&StripeError::api_error(), outcome.request_id);
        }
        let mut response = outcome.response(call.key.as_deref(), call.version.as_deref());
        if draw.mode == Some(Mode::Malformed) {
            *response.status_mut() = http::StatusCode::OK;
            let half = response.body().len() / 2;
            response.body_mut().truncate(half);
        }
        if draw.mode == Some(Mode::Huge) {
            listener::swell(&mut response);
        }
        Ending::Answer { response, drip: draw.mode == Some(Mode::SlowDrip) }
    }

    async fn never_answer(&self) -> Ending {
        let mut ending = self.ending.clone();
        tokio::select! {
            () = tokio::time::sleep(HOLD) => {}
            // A dropped sender of the signal is an ending too.
            _ = ending.wait_for(|ending| *ending) => {}
        }
        Ending::Reset
    }

    pub(super) fn tell(&self, events: Vec<Event>, manner: Manner, origin: &Origin<'_>) {
        let of = events.len();
        for (nth, Event { kind, mut object }) in events.into_iter().enumerate() {
            // Events are never expanded, whatever the request asked for.
            if let Some(charge) = object.get("latest_charge").and_then(|charge| charge.get("id")).cloned() {
                object["latest_charge"] = charge;
            }
            let request = origin.request_id.map(|id| (id, origin.key));
            let event = render::event(&id("evt_"), kind, object, origin.now, request);
            let straggle = Duration::from_millis(self.faults.below(2_000));
            self.notifier.send(event.to_string().into(), manner, nth, of, straggle);
        }
    }
}

impl sandbox::Account for Account {
    fn provider(&self) -> &'static str {
        "stripe"
    }

    fn base_url(&self) -> String {
        self.base_url.clone()
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn notifications(&self) -> Option<&Notifier> {
        Some(&self.notifier)
    }

    fn book(&self, from: usize) -> Vec<Entry> {
        self.ledger().entries(from).to_vec()
    }

    fn clear(&self) -> std::io::Result<()> {
        self.ledger().clear()
    }

    fn act(&self, reference: &str, act: Act, amount: Option<i64>) -> Result<Value, ActRefusal> {
        self.perform(reference, act, amount)
    }

    fn bank_acts(&self, reference: &str, act: BankAct) -> Result<Value, ActRefusal> {
        self.perform_at_the_bank(reference, act)
    }
}

impl HttpAccount for Account {
    fn exchange(self: Arc<Self>, call: listener::Call) -> BoxFuture<'static, Ending> {
        Box::pin(async move { self.answer(call.into()).await })
    }

    fn too_large(&self) -> Ending {
        too_large()
    }
}

/// What one execution was handed.
struct Execution {
    draw: Draw,
    magic: Option<Magic>,
    fingerprint: String,
    request_id: String,
}

/// What `confirm` takes.
const CONFIRM_PARAMETERS: [&str; 11] = [
    "error_on_requires_action",
    "expand",
    "mandate_data",
    "off_session",
    "payment_method",
    "payment_method_options",
    "receipt_email",
    "return_url",
    "setup_future_usage",
    "shipping",
    "use_stripe_sdk",
];

/// Which operation a request is, if there is such a route.
fn operation(call: &Call, form: &Form) -> Option<Operation> {
    if call.method == Method::GET {
        return Some(Operation::Query);
    }
    if call.method != Method::POST {
        return None;
    }
    let parts: Vec<&str> = call.path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["v1", "payment_intents"] if form.text("confirm") == Some("true") => Some(Operation::Pay),
        ["v1", "payment_intents"] => Some(Operation::Create),
        ["v1", "payment_intents", _, "confirm"] => Some(Operation::Pay),
        ["v1", "payment_intents", _, "capture"] => Some(Operation::Capture),
        ["v1", "payment_intents", _, "cancel"] => Some(Operation::Void),
        ["v1", "refunds"] => Some(Operation::Refund),
        _ => None,
    }
}

/// The id in `/v1/payment_intents/{id}/…`.
fn intent_in(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/payment_intents/")?.split('/').next()
}

/// A digest of what a key is compared by. It is kept on disk, so it must not depend on the build.
fn fingerprint(call: &Call, form: &Form) -> String {
    let text = format!("{} {}\n{}", call.method, call.path, form.canonical());
    signature::hex(&digest::digest(&digest::SHA256, text.as_bytes()).as_ref()[..16])
}
