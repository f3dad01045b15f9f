//! Card numbers of payments over banks: sealed before the payment's intent is written, opened for one exchange at a time, erased when no refund
//! can need them any more.
//!
//! A number is bound to its payment: sealed bytes that were moved to another row do not open. The security code is never here: it goes from the
//! request to the bank, once, and is forgotten.

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};

use super::answer::FlowError;
use super::flows::Flows;
use crate::domain::{Payment, PaymentId, PaymentMethod};
use crate::keys::SealingKeys;
use crate::provider::{CardData, Verb};
use crate::store::Store;
use crate::store::card::SealedCard;

/// How much longer than the refund window a number is kept: for the last refund's own resolution.
const MARGIN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Seals, and opens.
#[derive(Clone, Debug, Default)]
pub struct Vault {
    keys: SealingKeys,
}

impl Vault {
    /// A vault under these keys; without any it takes no cards.
    pub const fn new(keys: SealingKeys) -> Self {
        Self { keys }
    }

    /// Keeps a number for as long as the channels' longest refund `window` lasts.
    pub(super) async fn keep(
        &self,
        store: &Store,
        payment: PaymentId,
        card: &CardData,
        window: std::time::Duration,
        now: Timestamp,
    ) -> Result<(), FlowError> {
        let (key_name, sealed) = self
            .keys
            .seal(payment.0.as_bytes(), card.number.expose_secret().as_bytes())
            .map_err(|error| FlowError::Internal(format!("the card number of {payment} cannot be sealed: {error}")))?;
        let window = SignedDuration::try_from(window).unwrap_or(SignedDuration::from_hours(365 * 24));
        Ok(store.keep_card(&SealedCard { payment, key_name, sealed }, now, now + window + MARGIN).await?)
    }

    /// `None` when it was erased.
    async fn open(&self, store: &Store, payment: PaymentId) -> Result<Option<SecretString>, FlowError> {
        let broken = |why: &dyn std::fmt::Display| FlowError::Internal(format!("the card number of {payment} cannot be opened: {why}"));
        let Some(card) = store.card(payment).await? else { return Ok(None) };
        let number = self.keys.open(&card.key_name, payment.0.as_bytes(), &card.sealed).map_err(|error| broken(&error))?;
        Ok(Some(SecretString::from(String::from_utf8(number).map_err(|error| broken(&error.utf8_error()))?)))
    }
}

/// Seals every number again that does not lie under the ring's newest key, and counts them. May be run while the system serves, and again.
///
/// # Errors
/// A sentence: the database is away, or a number does not open, because its key is no longer in the ring. What was sealed again until then stays so.
pub async fn reseal(store: &Store, keys: &SealingKeys) -> Result<u64, String> {
    const BATCH: i64 = 500;
    let newest = keys.newest().ok_or("there is no sealing key: give one under [cards] sealing_keys")?;
    let (mut after, mut count) = (None, 0);
    loop {
        let cards = store.cards_under_other_keys(newest, after, BATCH).await.map_err(|error| error.to_string())?;
        let Some(last) = cards.last() else { return Ok(count) };
        after = Some(last.payment);
        for card in &cards {
            let owner = card.payment.0.as_bytes();
            let number = keys.open(&card.key_name, owner, &card.sealed).map_err(|error| format!("the card number of {}: {error}", card.payment))?;
            let (key_name, sealed) = keys.seal(owner, &number).map_err(|error| error.to_string())?;
            let again = SealedCard { payment: card.payment, key_name, sealed };
            count += u64::from(store.reseal_card(&again, &card.key_name).await.map_err(|error| error.to_string())?);
        }
    }
}

impl Flows {
    /// The card of a payment that is paid by one, opened for one exchange; `None` for every other payment, and when the number was erased. Only what
    /// moves the card's money needs it: what takes or undoes names the original, and goes out even when the number does not open.
    pub(super) async fn card_of(&self, payment: &Payment, verb: Verb) -> Result<Option<CardData>, FlowError> {
        let PaymentMethod::Card { exp_month, exp_year, holder, .. } = &payment.request.method else { return Ok(None) };
        let number = match self.shared.vault.open(&self.shared.store, payment.id).await {
            Err(error) if matches!(verb, Verb::Capture | Verb::Void | Verb::Reverse) => {
                tracing::error!(payment = %payment.id, verb = verb.as_str(), error = %error, "it is sent without the card's number");
                None
            }
            opened => opened?,
        };
        let Some(number) = number else { return Ok(None) };
        Ok(Some(CardData { number, exp_month: *exp_month, exp_year: *exp_year, holder: holder.clone(), security_code: None }))
    }

    /// Keeps the number of a payment that is about to be written.
    pub(super) async fn keep_card(&self, payment: &Payment, card: &CardData) -> Result<(), FlowError> {
        let windows = self.channels().map(|channel| channel.handle.provider().contract().refund_window);
        let window = windows.max().unwrap_or_default();
        self.shared.vault.keep(&self.shared.store, payment.id, card, window, payment.created_at).await
    }
}
