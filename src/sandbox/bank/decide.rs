//! What a bank makes of one message: the answer's code, and what changes. Pure: the ledger is read, the change is handed back.

use jiff::Timestamp;
use jiff::tz::Offset;

use super::codec::Message;
use super::ledger::{Change, Identity, Kind, Ledger, Transaction};
use crate::sandbox::book::{self, Entry};

/// What follows from a message.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Field 39.
    pub code: String,
    /// Field 38.
    pub approval: Option<String>,
    /// What changes.
    pub change: Change,
    /// It, or another with its number, was carried out or declined before: nothing changes, and an amount's own fault does not fall again.
    pub repeated: bool,
}

impl Decision {
    /// A code, and nothing changes.
    pub fn only(code: &str) -> Self {
        Self { code: code.to_owned(), ..Self::default() }
    }
}

/// What is told apart by the first two digits of field 3 and the type.
pub fn kind(message: &Message) -> Option<Kind> {
    let refund = message.get(3).starts_with("20");
    match message.mti.get(..3)? {
        "010" if !refund => Some(Kind::Hold),
        "020" if refund => Some(Kind::Refund),
        "020" if message.get(3).starts_with("00") => Some(Kind::Purchase),
        "022" => Some(Kind::Capture),
        "040" | "042" => Some(Kind::Reversal),
        _ => None,
    }
}

/// Decides on a message of `kind`. `decline` makes the issuer refuse what would have been carried out.
pub fn decide(ledger: &Ledger, message: &Message, kind: Kind, decline: bool, now: Timestamp) -> Decision {
    let Some(transaction) = Transaction::read(message, kind, now) else { return Decision::only("30") };
    if let Some(known) = ledger.find(&transaction.identity) {
        // An advice is repeated until it is acknowledged. A payment or refund may not be sent twice.
        return match kind {
            Kind::Capture | Kind::Reversal => Decision { approval: known.approval.clone(), repeated: true, ..Decision::only(&known.code) },
            _ => Decision { repeated: true, ..Decision::only("94") },
        };
    }
    if matches!(kind, Kind::Purchase | Kind::Hold | Kind::Refund) {
        if ledger.is_used(&transaction.number) {
            return Decision { repeated: true, ..Decision::only("94") };
        }
        if message.get(2).len() < 12 {
            return Decision::only("30");
        }
        if is_expired(message.get(14), now) {
            return transaction.declined("54");
        }
    }
    if decline {
        return transaction.declined("05");
    }
    match kind {
        Kind::Purchase => transaction.purchased(now),
        Kind::Hold => {
            let approval = approval(&transaction.number);
            transaction.carried_out(Some(approval), Vec::new(), Vec::new())
        }
        Kind::Capture => transaction.captured(ledger, message, now),
        Kind::Refund => transaction.given_back(ledger, message, now),
        Kind::Reversal => transaction.undone(ledger, message, now),
    }
}

impl Transaction {
    /// What a message says of itself; `None` when it says too little.
    fn read(message: &Message, kind: Kind, now: Timestamp) -> Option<Self> {
        let needed = [3, 4, 7, 11, 12, 13, 32, 37, 41, 42, 49];
        if needed.into_iter().any(|number| message.get(number).is_empty()) {
            return None;
        }
        let (stan, transmitted) = (message.get(11), message.get(7));
        let currency = currency(message.get(49))?;
        let identity = Identity::of(&message.mti, stan, transmitted, message.get(41), message.get(42));
        Some(Self {
            identity,
            key: key(transmitted, stan, now)?,
            retrieval: message.get(37).to_owned(),
            kind,
            amount: message.get(4).parse().ok().filter(|amount| *amount > 0)?,
            currency,
            code: String::new(),
            approval: None,
            reversed: false,
            taken: 0,
            refunded: 0,
            original: None,
            charged_as: None,
            number: format!("{}/{}/{stan}", message.get(13), message.get(41)),
        })
    }

    fn declined(mut self, code: &str) -> Decision {
        self.code = code.to_owned();
        Decision { change: Change { transactions: vec![self], entries: Vec::new() }, ..Decision::only(code) }
    }

    fn carried_out(mut self, approval: Option<String>, also: Vec<Self>, entries: Vec<Entry>) -> Decision {
        self.code = "00".to_owned();
        self.approval.clone_from(&approval);
        let transactions = also.into_iter().chain([self]).collect();
        Decision { approval, change: Change { transactions, entries }, ..Decision::only("00") }
    }

    fn entry(&self, reference: &str, kind: book::Kind, amount: i64, retrieval: &str, now: Timestamp) -> Entry {
        Entry {
            reference: reference.to_owned(),
            kind,
            amount,
            currency: self.currency.clone(),
            at: now,
            payment_intent: retrieval.to_owned(),
            order: None,
        }
    }

    fn purchased(mut self, now: Timestamp) -> Decision {
        self.taken = self.amount;
        self.charged_as = Some(self.key.clone());
        let entry = self.entry(&self.key, book::Kind::Charge, self.amount, &self.retrieval, now);
        let approval = approval(&self.number);
        self.carried_out(Some(approval), Vec::new(), vec![entry])
    }

    /// An advice about a hold: it takes the whole or a part of it, once.
    fn captured(mut self, ledger: &Ledger, message: &Message, now: Timestamp) -> Decision {
        let Some(original) = original(ledger, message) else { return self.declined("25") };
        if original.kind != Kind::Hold || !original.stands() || original.taken > 0 {
            return self.declined("12");
        }
        if self.amount > original.amount || self.currency != original.currency {
            return self.declined("64");
        }
        let hold = Self { taken: self.amount, charged_as: Some(self.key.clone()), ..original.clone() };
        let entry = self.entry(&self.key, book::Kind::Charge, self.amount, &hold.retrieval, now);
        self.original = Some(hold.identity.clone());
        let approval = hold.approval.clone();
        self.carried_out(approval, vec![hold], vec![entry])
    }

    fn given_back(mut self, ledger: &Ledger, message: &Message, now: Timestamp) -> Decision {
        let Some(original) = original(ledger, message) else { return self.declined("25") };
        if !matches!(original.kind, Kind::Purchase | Kind::Hold) || !original.stands() {
            return self.declined("12");
        }
        if self.currency != original.currency || self.amount > original.taken - original.refunded {
            return self.declined("64");
        }
        let paid = Self { refunded: original.refunded + self.amount, ..original.clone() };
        let entry = self.entry(&self.key, book::Kind::Refund, self.amount, &paid.retrieval, now);
        self.original = Some(paid.identity.clone());
        let approval = approval(&self.number);
        self.carried_out(Some(approval), vec![paid], vec![entry])
    }

    /// 25 when the original has not come; it is remembered, so that one which was only held up on its way is not carried out behind its own
    /// reversal. What was declined or undone already is undone: there is nothing that stands.
    fn undone(mut self, ledger: &Ledger, message: &Message, now: Timestamp) -> Decision {
        let Some(original) = original(ledger, message) else {
            let named = named(message).map(|identity| Self {
                number: format!("undone {identity}"),
                identity,
                reversed: true,
                code: "25".to_owned(),
                ..self.clone()
            });
            let mut decision = self.declined("25");
            decision.change.transactions.extend(named);
            return decision;
        };
        self.original = Some(original.identity.clone());
        if !original.stands() {
            return self.carried_out(None, Vec::new(), Vec::new());
        }
        if self.amount != original.amount && self.amount != original.taken || self.currency != original.currency {
            return self.declined("64");
        }
        if original.refunded > 0 {
            return self.declined("12");
        }
        let mut also = Vec::new();
        let mut entries = Vec::new();
        if original.kind == Kind::Refund {
            let paid = original.original.as_ref().and_then(|identity| ledger.find(identity));
            also.extend(paid.map(|paid| Self { refunded: paid.refunded - original.amount, ..paid.clone() }));
            let retrieval = paid.map_or(original.retrieval.as_str(), |paid| paid.retrieval.as_str());
            entries.push(self.entry(&original.key, book::Kind::Reversal, original.amount, retrieval, now));
        } else if let Some(charged_as) = original.charged_as.as_ref().filter(|_| original.taken > 0) {
            entries.push(self.entry(charged_as, book::Kind::Reversal, original.taken, &original.retrieval, now));
        }
        also.push(Self { reversed: true, taken: 0, ..original.clone() });
        self.carried_out(None, also, entries)
    }
}

/// What field 90 names, of the same terminal and merchant.
fn original<'a>(ledger: &'a Ledger, message: &Message) -> Option<&'a Transaction> {
    ledger.find(&named(message)?)
}

/// The identity that field 90 names.
fn named(message: &Message) -> Option<String> {
    let data = message.get(90);
    let (mti, stan, transmitted) = (data.get(..4)?, data.get(4..10)?, data.get(10..20)?);
    Some(Identity::of(mti, stan, transmitted, message.get(41), message.get(42)))
}

/// Six characters that depend on the number alone, so that a test knows them.
fn approval(number: &str) -> String {
    let digits: String = number.chars().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect();
    format!("A{digits:0>5}")
}

/// The attempt's key as the orchestrator made it: field 7 (UTC) with the year that brings it nearest to now, the STAN, and the reference
/// `YDDDhh` + STAN.
fn key(transmitted: &str, stan: &str, now: Timestamp) -> Option<String> {
    let this_year = Offset::UTC.to_datetime(now).year();
    let at = |year: i16| {
        let text = format!(
            "{year:04}-{}-{}T{}:{}:{}Z",
            transmitted.get(..2)?,
            transmitted.get(2..4)?,
            transmitted.get(4..6)?,
            transmitted.get(6..8)?,
            transmitted.get(8..10)?
        );
        text.parse::<Timestamp>().ok()
    };
    let sent_at = [this_year - 1, this_year, this_year + 1].into_iter().filter_map(at).min_by_key(|at| (at.as_second() - now.as_second()).abs())?;
    let sent_at = Offset::UTC.to_datetime(sent_at);
    let reference = format!("{}{:03}{:02}{stan}", sent_at.year() % 10, sent_at.date().day_of_year(), sent_at.hour());
    Some(format!("{:04}{transmitted}{stan}{reference}", sent_at.year()))
}

/// Whether the month `YYMM` is over.
fn is_expired(expiry: &str, now: Timestamp) -> bool {
    let now = Offset::UTC.to_datetime(now).strftime("%y%m").to_string();
    expiry.len() == 4 && expiry < now.as_str()
}

/// The letters of field 49.
fn currency(number: &str) -> Option<String> {
    Some(iso_currency::Currency::from_numeric(number.parse().ok()?)?.code().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_worked_out_as_it_was_made_also_across_a_year_s_end() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(key("1120090807", "000123", at("2026-11-20T09:08:09Z")).as_deref(), Some("20261120090807000123632409000123"));
        assert_eq!(key("1231235959", "000001", at("2027-01-01T00:00:30Z")).as_deref(), Some("20261231235959000001636523000001"));
        assert_eq!(key("1320090807", "000123", at("2026-11-20T09:08:09Z")), None);
    }
}
