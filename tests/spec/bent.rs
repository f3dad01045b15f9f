//! Stripe's protocol with a test's own hands in it: what is asked, what is told, and the moment at which it is looked up. What no sandbox does to us
//! from outside, a defect of our own code does from within.

use std::sync::LazyLock;

use breakwater::domain::{Contract, Failure};
use breakwater::provider::{
    self, Assembled, Call, Credentials, HttpProtocol, HttpResponse, Notification, NotificationError, Protocol, Provider, Reply,
};
use jiff::Timestamp;

static STRIPE: LazyLock<&'static dyn Provider> = LazyLock::new(|| provider::find("stripe").expect("stripe"));

/// What Stripe itself says.
fn stripe() -> &'static dyn HttpProtocol {
    STRIPE.protocol().http().expect("Stripe speaks HTTP")
}

/// Each hand is a plain function: what it remembers is in a static of its test's own.
pub struct Bent {
    /// Called when a call is put together.
    pub asked: fn(&Call),
    /// Called when an answer to the call is here: what is read instead of it.
    pub answered: fn(&Call, HttpResponse) -> HttpResponse,
    /// Called when a message is read: what is read instead of it, if anything.
    pub told: fn(&[u8]) -> Option<Notification>,
    /// Called whenever somebody wants to know how the provider is spoken to.
    pub looked_up: fn(),
}

impl Bent {
    /// Nothing is bent yet.
    pub const STRAIGHT: Self = Self { asked: |_| {}, answered: |_, answer| answer, told: |_| None, looked_up: || {} };
}

impl Provider for Bent {
    fn name(&self) -> &'static str {
        "stripe"
    }
    fn contract(&self) -> &'static Contract {
        STRIPE.contract()
    }
    fn default_address(&self) -> &'static str {
        STRIPE.default_address()
    }
    fn refuses(&self, call: &Call) -> Option<Failure> {
        STRIPE.refuses(call)
    }
    fn protocol(&'static self) -> Protocol {
        (self.looked_up)();
        Protocol::Http(self)
    }
}

impl HttpProtocol for Bent {
    fn request(&self, call: &Call, credentials: &Credentials) -> Assembled {
        (self.asked)(call);
        stripe().request(call, credentials)
    }
    fn reply(&self, call: &Call, response: &HttpResponse, credentials: &Credentials) -> Reply {
        stripe().reply(call, &(self.answered)(call, response.clone()), credentials)
    }
    fn verify_notification(
        &self,
        headers: &http::HeaderMap,
        body: &[u8],
        credentials: &Credentials,
        now: Timestamp,
    ) -> Result<(), NotificationError> {
        stripe().verify_notification(headers, body, credentials, now)
    }
    fn read_notification(&self, body: &[u8], credentials: &Credentials) -> Result<Notification, NotificationError> {
        (self.told)(body).map_or_else(|| stripe().read_notification(body, credentials), Ok)
    }
}
