//! How the customer pays: what the merchant chose, parsed once at the door.

use serde::{Deserialize, Serialize};

/// A wallet. They are not interchangeable: a code, a QR or a token of one means nothing to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wallet {
    /// Alipay.
    Alipay,
    /// WeChat Pay.
    Wechatpay,
    /// UnionPay.
    Unionpay,
}

/// Where a customer is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedirectFlow {
    /// A page on a desk machine.
    Page,
    /// A page on a phone.
    H5,
    /// Inside the wallet's own browser.
    Jsapi,
    /// From an app into the wallet's app.
    App,
}

/// The payment method of a create request, and of a row (it holds nothing that must not be stored).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum PaymentMethod {
    /// We show a code, the customer scans it.
    Qr {
        /// Whose code; left out, the merchant's rules choose.
        #[serde(skip_serializing_if = "Option::is_none")]
        wallet: Option<Wallet>,
    },
    /// The customer shows a code, we scan it. Its prefix names the wallet.
    Barcode {
        /// The digits that were scanned.
        code: String,
    },
    /// The customer is sent to the wallet.
    Redirect {
        /// Whose page.
        #[serde(skip_serializing_if = "Option::is_none")]
        wallet: Option<Wallet>,
        /// Which kind of page.
        flow: RedirectFlow,
        /// The customer's id at the wallet, for JSAPI.
        #[serde(skip_serializing_if = "Option::is_none")]
        openid: Option<String>,
        /// The customer's address, for H5.
        #[serde(skip_serializing_if = "Option::is_none")]
        client_ip: Option<String>,
    },
    /// A card that one Stripe account knows by a token.
    CardToken {
        /// `pm_…`.
        token: String,
    },
    /// A card whose number a bank takes. Here is what may be kept in clear; the number lies sealed, the security code nowhere.
    Card {
        /// The first six digits of the number.
        first_six: String,
        /// And the last four.
        last_four: String,
        /// 1 to 12.
        exp_month: u8,
        /// Four digits.
        exp_year: u16,
        /// As it stands on the card.
        #[serde(skip_serializing_if = "Option::is_none")]
        holder: Option<String>,
    },
}

/// The kinds of [`PaymentMethod`], for routing and settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MethodKind {
    /// [`PaymentMethod::Qr`].
    Qr,
    /// [`PaymentMethod::Barcode`].
    Barcode,
    /// [`PaymentMethod::Redirect`].
    Redirect,
    /// [`PaymentMethod::CardToken`].
    CardToken,
    /// [`PaymentMethod::Card`].
    Card,
}

impl PaymentMethod {
    /// Its kind.
    pub const fn kind(&self) -> MethodKind {
        match self {
            Self::Qr { .. } => MethodKind::Qr,
            Self::Barcode { .. } => MethodKind::Barcode,
            Self::Redirect { .. } => MethodKind::Redirect,
            Self::CardToken { .. } => MethodKind::CardToken,
            Self::Card { .. } => MethodKind::Card,
        }
    }

    /// Whose it is, where that is said: by the merchant, or by the first digits of a code that the customer showed.
    pub fn wallet(&self) -> Option<Wallet> {
        match self {
            Self::Qr { wallet } | Self::Redirect { wallet, .. } => *wallet,
            Self::Barcode { code } => match code.get(..2)?.parse::<u8>().ok()? {
                25..=30 => Some(Wallet::Alipay),
                10..=15 => Some(Wallet::Wechatpay),
                62 => Some(Wallet::Unionpay),
                _ => None,
            },
            Self::CardToken { .. } | Self::Card { .. } => None,
        }
    }

    /// Whether what the customer gave belongs to a single account, so that no other channel can take it.
    pub const fn belongs_to_one_account(&self) -> bool {
        matches!(self, Self::CardToken { .. })
    }
}
