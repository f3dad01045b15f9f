use serde_json::json;

use super::super::Alipay;
use super::super::sample::{KEY, answer, barcode, call, credentials, money, refund, reversal, signed};
use super::*;
use crate::domain::PaymentMethod;
use crate::provider::HttpProtocol;

fn read(call: &Call, response: &HttpResponse) -> Reply {
    Alipay.reply(call, response, &credentials())
}

/// The node of a business refusal.
fn refusal(sub_code: &str) -> String {
    json!({"code": "40004", "msg": "Business Failed", "sub_code": sub_code, "sub_msg": "不行"}).to_string()
}

/// What the signed answer `node` to a call means.
fn said(call: &Call, node: &str) -> Reply {
    read(call, &signed(Api::of(call).method(), node))
}

fn fact(reply: &Reply) -> (Fact, CallClass) {
    match reply {
        Reply::News { news, class } => (news.fact, *class),
        other => panic!("{other:?}"),
    }
}

fn heard(reply: Reply) -> News {
    match reply {
        Reply::News { news, class: CallClass::Success } => news,
        other => panic!("{other:?}"),
    }
}

fn showing() -> Call {
    Call { pay_reference: None, ..call(Verb::Pay) }
}

fn charging() -> Call {
    Call { method: barcode(), ..showing() }
}

const UNKNOWN: (Fact, CallClass) = (Fact::Unknown, CallClass::Success);
const STRANGE: (Fact, CallClass) = (Fact::Unknown, CallClass::FailHard);
const BROKEN: (Fact, CallClass) = (Fact::Unknown, CallClass::FailSoft);

#[test]
fn a_code_is_shown_until_the_payment_expires() {
    let node = json!({"code": "10000", "msg": "Success", "out_trade_no": KEY, "qr_code": "https://qr.alipay.com/bav"}).to_string();
    let news = heard(said(&showing(), &node));
    assert_eq!((news.fact, news.reference.as_deref()), (Fact::ActionRequired, Some(KEY)));
    assert_eq!(news.next_action, Some(NextAction::Qr { text: "https://qr.alipay.com/bav".to_owned(), expires_at: Some(showing().expires_at) }));
    assert_eq!(fact(&said(&showing(), &node.replace(KEY, "another"))), STRANGE);
    assert_eq!(fact(&said(&showing(), &node.replace("qr_code", "code_qr"))), STRANGE);
}

#[test]
fn a_payment_by_a_shown_code_is_approved_for_the_amount_that_alipay_says() {
    let paid = json!({"code": "10000", "msg": "Success", "out_trade_no": KEY, "trade_no": "2026", "total_amount": "88.88"}).to_string();
    let news = heard(said(&charging(), &paid));
    assert_eq!((news.fact, news.money, news.reference.as_deref()), (Fact::Approved, Some(money(8888, "CNY")), Some(KEY)));
    assert_eq!(heard(said(&charging(), &paid.replace("88.88", "88.8"))).money, Some(money(8880, "CNY")));
    for strange in [paid.replace(KEY, "another"), paid.replace("88.88", "88.888"), paid.replace("total_amount", "amount")] {
        assert_eq!(fact(&said(&charging(), &strange)), STRANGE, "{strange}");
    }
    let waits = json!({"code": "10003", "msg": "order success pay inprocess", "out_trade_no": KEY}).to_string();
    assert_eq!(heard(said(&charging(), &waits)).fact, Fact::ActionRequired);
}

#[test]
fn every_refusal_of_a_payment_is_in_the_table_or_asked_after() {
    use FailureCode as C;
    let listed = [
        ("ACQ.INVALID_PARAMETER", C::ChannelRejected),
        ("ACQ.ACCESS_FORBIDDEN", C::ChannelRejected),
        ("ACQ.PARTNER_ERROR", C::ChannelRejected),
        ("ACQ.EXIST_FORBIDDEN_WORD", C::ChannelRejected),
        ("ACQ.TOTAL_FEE_EXCEED", C::LimitExceeded),
        ("ACQ.PAYMENT_AUTH_CODE_INVALID", C::InvalidCard),
        ("ACQ.BUYER_BALANCE_NOT_ENOUGH", C::InsufficientFunds),
        ("ACQ.BUYER_BANKCARD_BALANCE_NOT_ENOUGH", C::InsufficientFunds),
        ("ACQ.ERROR_BALANCE_PAYMENT_DISABLE", C::NotPermitted),
        ("ACQ.PAYMENT_FAIL", C::CardDeclined),
        ("ACQ.BUYER_ENABLE_STATUS_FORBID", C::NotPermitted),
        ("ACQ.BUYER_SELLER_EQUAL", C::NotPermitted),
        ("ACQ.BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR", C::LimitExceeded),
        ("ACQ.SELLER_BEEN_BLOCKED", C::ChannelRejected),
    ];
    for call in [showing(), charging()] {
        for (sub_code, code) in listed {
            let news = heard(said(&call, &refusal(sub_code)));
            let failure = news.failure.expect("a failure");
            assert_eq!((news.fact, failure.code, failure.channel_code.as_deref()), (Fact::Declined, code, Some(sub_code)));
            assert_eq!(failure.message, "不行");
        }
        for sub_code in
            ["ACQ.TRADE_HAS_SUCCESS", "ACQ.TRADE_HAS_CLOSE", "ACQ.CONTEXT_INCONSISTENT", "ACQ.TRADE_BUYER_NOT_MATCH", "ACQ.NEVER_HEARD_OF", ""]
        {
            assert_eq!(fact(&said(&call, &refusal(sub_code))), UNKNOWN, "{sub_code}");
        }
        assert_eq!(fact(&said(&call, &refusal("ACQ.SYSTEM_ERROR"))), BROKEN);
    }
}

#[test]
fn the_gateways_codes_are_sorted_by_what_was_executed() {
    let gateway = |code: &str, sub_code: &str| json!({"code": code, "msg": "m", "sub_code": sub_code, "sub_msg": "s"}).to_string();
    let acts = [showing(), charging(), refund(Verb::Refund), reversal(Verb::Reverse)];
    let questions = [call(Verb::Query), call(Verb::Close), Call { method: barcode(), ..call(Verb::Close) }, refund(Verb::QueryRefund)];
    let rows = [
        ("20000", "isp.unknow-error", BROKEN, BROKEN),
        ("20000", "aop.ACQ.SYSTEM_ERROR", BROKEN, BROKEN),
        ("20001", "aop.invalid-auth-token", (Fact::NotSent, CallClass::FailSoft), BROKEN),
        ("40001", "isv.missing-method", (Fact::Declined, CallClass::Success), UNKNOWN),
        ("40002", "isv.invalid-parameter", (Fact::Declined, CallClass::Success), UNKNOWN),
        ("40002", "isv.invalid-signature", (Fact::NotSent, CallClass::FailSoft), BROKEN),
        ("40002", "isv.invalid-app-id", (Fact::NotSent, CallClass::FailSoft), BROKEN),
        ("40003", "isv.condition-not-met", (Fact::Declined, CallClass::Success), UNKNOWN),
        ("40005", "isp.call-limited", (Fact::NotSent, CallClass::RateLimited), (Fact::Unknown, CallClass::RateLimited)),
        ("40006", "isv.insufficient-isv-permissions", (Fact::NotSent, CallClass::FailSoft), BROKEN),
        ("99999", "isv.new", STRANGE, STRANGE),
        ("", "", STRANGE, STRANGE),
    ];
    for (code, sub_code, of_an_act, of_a_question) in rows {
        for call in &acts {
            assert_eq!(fact(&said(call, &gateway(code, sub_code))), of_an_act, "{code} {sub_code} {:?}", call.verb);
        }
        for call in &questions {
            assert_eq!(fact(&said(call, &gateway(code, sub_code))), of_a_question, "{code} {sub_code} {:?}", call.verb);
        }
    }
}

#[test]
fn an_unsigned_answer_is_believed_only_when_it_turns_the_request_away() {
    let unsigned = |node: &str| read(&charging(), &answer(200, format!(r#"{{"alipay_trade_pay_response":{node}}}"#)));
    let paid = json!({"code": "10000", "out_trade_no": KEY, "total_amount": "88.88"}).to_string();
    assert_eq!(fact(&unsigned(&paid)), STRANGE);
    assert_eq!(fact(&unsigned(&refusal("ACQ.PAYMENT_FAIL"))), STRANGE);
    for code in ["40001", "40002", "40003", "40006"] {
        assert_eq!(fact(&unsigned(&json!({"code": code, "msg": "m"}).to_string())), (Fact::NotSent, CallClass::FailSoft), "{code}");
    }
    for code in ["20000", "20001", "40005"] {
        assert_eq!(fact(&unsigned(&json!({"code": code, "msg": "m"}).to_string())), STRANGE, "{code}");
    }
    let error = r#"{"error_response":{"code":"40002","msg":"Invalid Arguments","sub_code":"isv.invalid-app-id"}}"#;
    assert_eq!(fact(&read(&charging(), &answer(200, error.to_owned()))), (Fact::NotSent, CallClass::FailSoft));
    assert_eq!(fact(&read(&call(Verb::Query), &answer(200, error.to_owned()))), BROKEN);
}

#[test]
fn what_is_not_alipays_is_unknown() {
    let paid = json!({"code": "10000", "out_trade_no": KEY, "total_amount": "88.88"}).to_string();
    let genuine = String::from_utf8(signed("alipay.trade.pay", &paid).body.to_vec()).expect("UTF-8");
    assert_eq!(fact(&read(&charging(), &answer(200, genuine.clone()))).0, Fact::Approved);
    let error = String::from_utf8(signed("alipay.trade.pay", r#"{"code":"40002"}"#).body.to_vec()).expect("UTF-8");
    for body in [
        genuine.replace("88.88", "88.89"),
        genuine.replace("trade_pay", "trade_query"),
        genuine[..genuine.len() / 2].to_owned(),
        genuine.replace("\"sign\":\"", "\"sign\":\"A"),
        error.replace("40002", "40006"),
        String::new(),
        "<html>502</html>".to_owned(),
        r#"{"alipay_trade_pay_response":{"code":40002}}"#.to_owned(),
    ] {
        assert_eq!(fact(&read(&charging(), &answer(200, body.clone()))), STRANGE, "{body}");
    }
    assert_eq!(fact(&read(&charging(), &answer(502, String::new()))), BROKEN);
    assert_eq!(fact(&read(&charging(), &answer(429, String::new()))), (Fact::NotSent, CallClass::RateLimited));
    assert_eq!(fact(&read(&charging(), &answer(302, genuine))), STRANGE);
}

#[test]
fn a_query_reads_the_trade() {
    let trade = |status: &str, more: serde_json::Value| {
        let mut node = json!({"code": "10000", "msg": "Success", "out_trade_no": KEY, "trade_status": status, "total_amount": "88.88"});
        node.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        said(&call(Verb::Query), &node.to_string())
    };
    assert_eq!(heard(trade("WAIT_BUYER_PAY", json!({}))).fact, Fact::ActionRequired);
    for status in ["TRADE_SUCCESS", "TRADE_FINISHED"] {
        let news = heard(trade(status, json!({"send_pay_date": "2026-11-20 09:08:07"})));
        assert_eq!((news.fact, news.money), (Fact::Approved, Some(money(8888, "CNY"))));
    }
    let unpaid = heard(trade("TRADE_CLOSED", json!({"buyer_pay_amount": "0.00"})));
    assert_eq!((unpaid.fact, unpaid.failure.map(|failure| failure.code)), (Fact::Closed, Some(FailureCode::Closed)));
    let refunded = heard(trade("TRADE_CLOSED", json!({"send_pay_date": "2026-11-20 09:08:07", "buyer_pay_amount": "88.88"})));
    assert_eq!((refunded.fact, refunded.money), (Fact::Approved, Some(money(8888, "CNY"))), "paid, and given back since");
    assert_eq!(fact(&trade("TRADE_CLOSED", json!({"buyer_pay_amount": "88.88"}))), STRANGE, "a contradiction");
    assert_eq!(fact(&trade("TRADE_MOVED", json!({}))), STRANGE);
    assert_eq!(fact(&trade("TRADE_SUCCESS", json!({"out_trade_no": "another"}))), STRANGE);
}

#[test]
fn a_trade_that_is_not_there_is_not_found_and_never_closed() {
    for query in [call(Verb::Query), Call { method: barcode(), ..call(Verb::Query) }] {
        assert_eq!(said(&query, &refusal("ACQ.TRADE_NOT_EXIST")), Reply::NotFound);
    }
}

#[test]
fn a_close_that_finds_no_trade_has_closed_nothing() {
    let close = call(Verb::Close);
    assert_eq!(heard(said(&close, &json!({"code": "10000", "msg": "Success", "out_trade_no": KEY, "trade_no": "1"}).to_string())).fact, Fact::Closed);
    assert_eq!(fact(&said(&close, &json!({"code": "10000", "out_trade_no": "another"}).to_string())), STRANGE);
    for sub_code in ["ACQ.TRADE_NOT_EXIST", "ACQ.TRADE_STATUS_ERROR", "ACQ.REASON_TRADE_STATUS_INVALID", "ACQ.TRADE_HAS_CLOSE"] {
        assert_eq!(fact(&said(&close, &refusal(sub_code))), UNKNOWN, "{sub_code}");
    }
}

#[test]
fn a_cancel_closes_or_gives_back_and_only_then_has_ended_the_trade() {
    let cancel = Call { method: barcode(), ..call(Verb::Close) };
    let done =
        |retry: &str, action: &str| said(&cancel, &json!({"code": "10000", "out_trade_no": KEY, "retry_flag": retry, "action": action}).to_string());
    assert_eq!(heard(done("N", "close")).fact, Fact::Closed);
    assert_eq!(heard(done("N", "refund")).fact, Fact::Closed);
    assert_eq!(fact(&done("Y", "close")), BROKEN);
    assert_eq!(fact(&done("N", "")), UNKNOWN);
    for sub_code in ["ACQ.TRADE_NOT_EXIST", "ACQ.SELLER_BALANCE_NOT_ENOUGH", "ACQ.TRADE_CANCEL_TIME_OUT", "ACQ.CANCEL_NOT_ALLOWED"] {
        assert_eq!(fact(&said(&cancel, &refusal(sub_code))), UNKNOWN, "{sub_code}");
    }
    assert_eq!(fact(&said(&cancel, &refusal("AQC.SYSTEM_ERROR"))), BROKEN);
}

#[test]
fn only_moved_funds_make_a_refund() {
    let done = |change: &str| {
        said(&refund(Verb::Refund), &json!({"code": "10000", "out_trade_no": "trade", "fund_change": change, "refund_fee": "5.00"}).to_string())
    };
    let news = heard(done("Y"));
    assert_eq!((news.fact, news.money), (Fact::Approved, None), "the fee is the sum of all refunds");
    assert_eq!(fact(&done("N")), UNKNOWN);
    assert_eq!(fact(&done("")), UNKNOWN);
    assert_eq!(fact(&said(&refund(Verb::Refund), &json!({"code": "10000", "out_trade_no": "x", "fund_change": "Y"}).to_string())), STRANGE);
}

#[test]
fn a_refused_refund_is_final_only_where_no_earlier_call_can_have_carried_it_out() {
    use FailureCode as C;
    let rows = [
        ("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", Some(C::RefundExceedsChannel), false),
        ("ACQ.REASON_TRADE_REFUND_FEE_ERR", Some(C::RefundExceedsChannel), false),
        ("ACQ.TRADE_STATUS_ERROR", Some(C::RefundFailed), false),
        ("ACQ.REASON_TRADE_STATUS_INVALID", Some(C::RefundFailed), false),
        ("ACQ.TRADE_NOT_EXIST", Some(C::RefundFailed), false),
        ("ACQ.TRADE_HAS_FINISHED", Some(C::RefundFailed), true),
        ("ACQ.TRADE_NOT_ALLOW_REFUND", Some(C::RefundFailed), true),
        ("ACQ.REASON_TRADE_BEEN_FREEZEN", Some(C::RefundFailed), true),
        ("ACQ.DISCORDANT_REPEAT_REQUEST", None, false),
        ("ACQ.NEVER_HEARD_OF", None, false),
    ];
    for (sub_code, code, even_repeated) in rows {
        let first = said(&refund(Verb::Refund), &refusal(sub_code));
        match code {
            Some(code) => assert_eq!(heard(first).failure.map(|failure| failure.code), Some(code), "{sub_code}"),
            None => assert_eq!(fact(&first), UNKNOWN, "{sub_code}"),
        }
        let again = said(&Call { repeat: true, ..refund(Verb::Refund) }, &refusal(sub_code));
        assert_eq!(fact(&again).0, if even_repeated { Fact::Declined } else { Fact::Unknown }, "{sub_code} repeated");
    }
    let waits = heard(said(&refund(Verb::Refund), &refusal("ACQ.SELLER_BALANCE_NOT_ENOUGH")));
    assert_eq!((waits.fact, waits.failure.map(|failure| failure.code)), (Fact::NotSent, Some(C::NotSent)));
}

#[test]
fn a_refund_is_done_when_its_query_says_so() {
    let node = |more: serde_json::Value| {
        let mut node = json!({"code": "10000", "msg": "Success", "out_trade_no": "trade", "out_request_no": KEY, "refund_amount": "0.01"});
        node.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        said(&refund(Verb::QueryRefund), &node.to_string())
    };
    let done = heard(node(json!({"refund_status": "REFUND_SUCCESS"})));
    assert_eq!((done.fact, done.money), (Fact::Approved, Some(money(1, "CNY"))));
    assert_eq!(heard(node(json!({}))).fact, Fact::Accepted);
    assert_eq!(fact(&node(json!({"refund_status": "REFUND_SUCCESS", "out_request_no": "another"}))), STRANGE);
    assert_eq!(fact(&node(json!({"refund_status": "REFUND_SUCCESS", "refund_amount": "0"}))), STRANGE);
    assert_eq!(said(&refund(Verb::QueryRefund), r#"{"code":"10000","msg":"Success"}"#), Reply::NotFound);
    assert_eq!(said(&refund(Verb::QueryRefund), &refusal("ACQ.TRADE_NOT_EXIST")), Reply::NotFound);
}

#[test]
fn a_reversal_is_done_when_nothing_is_left_of_the_trade() {
    let reversal = reversal(Verb::QueryRefund);
    let trade = |status: &str| said(&reversal, &json!({"code": "10000", "out_trade_no": "trade", "trade_status": status}).to_string());
    assert_eq!(heard(trade("TRADE_CLOSED")).fact, Fact::Approved);
    assert_eq!(trade("TRADE_SUCCESS"), Reply::NotFound);
    assert_eq!(heard(trade("TRADE_FINISHED")).fact, Fact::Declined);
    assert_eq!(fact(&trade("WAIT_BUYER_PAY")), STRANGE);
    let sent = Call { verb: Verb::Reverse, ..reversal };
    assert_eq!(fact(&said(&sent, &refusal("ACQ.REASON_TRADE_REFUND_FEE_ERR"))), UNKNOWN, "perhaps nothing is left: the trade knows");
}

#[test]
fn a_page_has_no_answer() {
    let page = PaymentMethod::Redirect { wallet: None, flow: crate::domain::method::RedirectFlow::Page, openid: None, client_ip: None };
    assert_eq!(fact(&said(&Call { method: page, ..showing() }, r#"{"code":"10000"}"#)), STRANGE);
}
