//! Alipay's notices: the fields of one, and how it is signed when it is sent. A notice that is sent again is the same notice, `notify_id` included.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;

use super::china;
use super::ledger::{Refund, Status, Trade};
use super::parameters::{self, Parameters};
use crate::sandbox::notify::{Sealed, Stamp};
use crate::sandbox::rsa::RsaKeys;

/// What is told of a trade, or of one of its refunds.
pub fn of(app_id: &str, seller_id: &str, trade: &Trade, refund: Option<&Refund>, now: Timestamp) -> Parameters {
    let mut notice = Parameters::new();
    let mut put = |name: &str, value: String| {
        notice.insert(name.to_owned(), value);
    };
    put("notify_time", china::time(now));
    put("notify_type", "trade_status_sync".to_owned());
    put("notify_id", uuid::Uuid::new_v4().simple().to_string());
    put("app_id", app_id.to_owned());
    put("auth_app_id", app_id.to_owned());
    put("charset", "utf-8".to_owned());
    put("version", "1.0".to_owned());
    put("trade_no", trade.trade_no.clone());
    put("out_trade_no", trade.number.clone());
    put("buyer_id", "2088000000000001".to_owned());
    put("seller_id", seller_id.to_owned());
    put("trade_status", trade.status.as_str().to_owned());
    put("total_amount", china::yuan(trade.amount));
    put("subject", trade.subject.clone());
    put("gmt_create", china::time(trade.created));
    if let Some(passback_params) = &trade.passback_params {
        put("passback_params", passback_params.clone());
    }
    if let Some(paid) = trade.paid {
        let amount = china::yuan(trade.amount);
        put("gmt_payment", china::time(paid));
        put("fund_bill_list", format!("[{{\"amount\":\"{amount}\",\"fundChannel\":\"ALIPAYACCOUNT\"}}]"));
        for name in ["receipt_amount", "invoice_amount", "buyer_pay_amount"] {
            put(name, amount.clone());
        }
        put("point_amount", "0.00".to_owned());
    }
    if let Some(refund) = refund {
        put("out_biz_no", refund.number.clone());
        put("refund_fee", china::yuan(trade.refunded));
        put("gmt_refund", format!("{}.000", china::time(refund.done.unwrap_or(now))));
    }
    if trade.status == Status::Closed {
        put("gmt_close", china::time(now));
    }
    notice
}

/// How an account signs its notices. It is handed the fields as JSON.
#[derive(Debug)]
pub struct Seal {
    /// The account's keys.
    pub keys: Arc<RsaKeys>,
}

impl Stamp for Seal {
    fn sealed(&self, message: &Bytes, forged: bool) -> Sealed {
        let mut notice: Parameters = serde_json::from_slice(message).unwrap_or_default();
        let content = parameters::content(&notice, &[]);
        let sign = if forged { self.keys.sign(format!("{content}&of=somebody_else")) } else { self.keys.sign(&content) };
        notice.insert("sign_type".to_owned(), "RSA2".to_owned());
        notice.insert("sign".to_owned(), sign);
        let kind = ("content-type", "application/x-www-form-urlencoded; charset=utf-8".to_owned());
        Sealed { headers: vec![kind, ("user-agent", "Mozilla/4.0".to_owned())], body: parameters::form(&notice).into() }
    }

    fn is_acknowledged(&self, status: StatusCode, body: &[u8]) -> bool {
        status == StatusCode::OK && body == b"success"
    }
}
