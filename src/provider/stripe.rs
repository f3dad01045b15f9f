//! Stripe.
/// Stripe.
#[derive(Debug)]
pub struct Stripe;
