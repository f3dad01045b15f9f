use serde_json::{Value, json};

use super::super::WechatPay;
use super::super::sample::{KEY, NOW, call, credentials, headers, money, redirect, refund, reversal, signed, signed_at};
use super::*;
use crate::domain::method::RedirectFlow;
use crate::provider::HttpProtocol;

const UNKNOWN: (Fact, CallClass) = (Fact::Unknown, CallClass::Success);
const STRANGE: (Fact, CallClass) = (Fact::Unknown, CallClass::FailHard);
const BROKEN: (Fact, CallClass) = (Fact::Unknown, CallClass::FailSoft);

fn read(call: &Call, response: &HttpResponse) -> Reply {
    WechatPay.reply(call, response, &credentials())
}

/// What the signed answer to a call means.
fn said(call: &Call, status: u16, body: &Value) -> Reply {
    read(call, &signed(status, &body.to_string()))
}

fn refused(call: &Call, status: u16, code: &str) -> Reply {
    said(call, status, &json!({"code": code, "message": "不行"}))
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

fn ordering() -> Call {
    Call { pay_reference: None, ..call(Verb::Pay) }
}

fn order(state: &str) -> Value {
    json!({
        "mchid": "1900009191", "appid": "wxd678efh567hg6787", "out_trade_no": KEY, "trade_state": state,
        "amount": {"total": 8888, "payer_total": 8000, "currency": "CNY", "payer_currency": "CNY"},
    })
}

fn refund_object(trade: &str, status: &str, fen: i64) -> Value {
    let amount = json!({"refund": fen, "total": 8888, "currency": "CNY"});
    json!({"out_trade_no": trade, "out_refund_no": KEY, "refund_id": "5000", "status": status, "amount": amount})
}

#[test]
fn a_code_is_shown_until_it_or_the_payment_expires() {
    let body = json!({"code_url": "weixin://wxpay/bizpayurl?pr=p4lpSuKzz"});
    let news = heard(said(&ordering(), 200, &body));
    assert_eq!((news.fact, news.reference.as_deref()), (Fact::ActionRequired, Some(KEY)));
    let text = "weixin://wxpay/bizpayurl?pr=p4lpSuKzz".to_owned();
    assert_eq!(news.next_action, Some(NextAction::Qr { text: text.clone(), expires_at: Some(ordering().expires_at) }));
    let long = Call { expires_at: ordering().now + SignedDuration::from_hours(24), ..ordering() };
    let in_two_hours = Some(long.now + SignedDuration::from_hours(2));
    assert_eq!(heard(said(&long, 200, &body)).next_action, Some(NextAction::Qr { text, expires_at: in_two_hours }));
    for strange in
        [json!({}), json!({"code_url": ""}), json!({"code_url": 1}), json!({"code_url": "weixin://\u{6d4b}"}), json!({"h5_url": "https://x"})]
    {
        assert_eq!(fact(&said(&ordering(), 200, &strange)), STRANGE, "{strange}");
    }
}

#[test]
fn a_page_is_an_address_and_the_wallet_s_browser_gets_signed_parameters() {
    let h5 = Call { method: redirect(RedirectFlow::H5), ..ordering() };
    let url = "https://wx.tenpay.com/cgi-bin/mmpayweb-bin/checkmweb?prepay_id=wx2016&package=2150917749";
    let action = heard(said(&h5, 200, &json!({"h5_url": url}))).next_action;
    assert_eq!(action, Some(NextAction::Redirect { url: url.to_owned(), method: "GET".to_owned(), fields: Default::default() }));
    assert_eq!(fact(&said(&h5, 200, &json!({"h5_url": "javascript:alert(1)"}))), STRANGE);

    let jsapi = Call { method: redirect(RedirectFlow::Jsapi), ..ordering() };
    let action = heard(said(&jsapi, 200, &json!({"prepay_id": "wx201410272009395522657a690389285100"}))).next_action;
    let Some(NextAction::Jsapi { parameters }) = action else { panic!("{action:?}") };
    assert_eq!(parameters["package"], "prepay_id=wx201410272009395522657a690389285100");
    assert_eq!((parameters["timeStamp"].as_str(), parameters["signType"].as_str()), ("1763600887", "RSA"));
    assert_eq!(fact(&said(&jsapi, 200, &json!({"prepay_id": "with\nline"}))), STRANGE);
}

#[test]
fn every_refusal_of_an_order_is_in_the_table_or_asked_after() {
    use FailureCode as C;
    let again = Call { repeat: true, ..ordering() };
    let rows = [
        (400, "PARAM_ERROR", C::ChannelRejected, true),
        (400, "INVALID_REQUEST", C::ChannelRejected, false),
        (403, "RULE_LIMIT", C::LimitExceeded, true),
        (403, "TRADE_ERROR", C::ProcessingError, true),
        (403, "ACCOUNT_ERROR", C::NotPermitted, true),
    ];
    for (status, code, ours, even_repeated) in rows {
        let news = heard(refused(&ordering(), status, code));
        let failure = news.failure.expect("a failure");
        assert_eq!((news.fact, failure.code, failure.channel_code.as_deref()), (Fact::Declined, ours, Some(code)));
        assert_eq!(failure.message, "不行");
        assert_eq!(fact(&refused(&again, status, code)).0, if even_repeated { Fact::Declined } else { Fact::Unknown }, "{code} repeated");
    }
    for (status, code) in [
        (403, "OUT_TRADE_NO_USED"),
        (400, "ORDER_CLOSED"),
        (400, "ORDERPAID"),
        (400, "ORDER_PAID"),
        (404, "ORDER_NOT_EXIST"),
        (400, "NEVER_HEARD_OF"),
    ] {
        assert_eq!(fact(&refused(&ordering(), status, code)), UNKNOWN, "{code}");
    }
}

#[test]
fn answers_are_sorted_by_what_was_executed() {
    let acts = [ordering(), refund(Verb::Refund), reversal(Verb::Reverse)];
    let questions = [call(Verb::Query), call(Verb::Close), refund(Verb::QueryRefund)];
    let turned_away = (Fact::NotSent, CallClass::FailSoft);
    let slower = |fact| (fact, CallClass::RateLimited);
    let rows = [
        (401, "SIGN_ERROR", turned_away, BROKEN),
        (403, "NO_AUTH", turned_away, BROKEN),
        (400, "APPID_MCHID_NOT_MATCH", turned_away, BROKEN),
        (400, "MCH_NOT_EXISTS", turned_away, BROKEN),
        (429, "FREQUENCY_LIMITED", slower(Fact::NotSent), slower(Fact::Unknown)),
        (403, "RATELIMIT_EXCEEDED", slower(Fact::NotSent), slower(Fact::Unknown)),
        (500, "SYSTEM_ERROR", BROKEN, BROKEN),
        (400, "SYSTEM_ERROR", BROKEN, BROKEN),
        (502, "", BROKEN, BROKEN),
        (202, "", UNKNOWN, UNKNOWN),
        (302, "", STRANGE, STRANGE),
        (201, "", STRANGE, STRANGE),
        (400, "NEVER_HEARD_OF", UNKNOWN, UNKNOWN),
    ];
    for (status, code, of_an_act, of_a_question) in rows {
        for call in &acts {
            assert_eq!(fact(&refused(call, status, code)), of_an_act, "{status} {code} {:?}", call.verb);
        }
        for call in &questions {
            assert_eq!(fact(&refused(call, status, code)), of_a_question, "{status} {code} {:?}", call.verb);
        }
    }
}

#[test]
fn an_unsigned_answer_is_believed_only_when_it_turns_the_account_away() {
    let unsigned = |call: &Call, status: u16, body: &Value| {
        fact(&read(call, &HttpResponse { status, headers: http::HeaderMap::new(), body: body.to_string().into() }))
    };
    assert_eq!(unsigned(&ordering(), 200, &json!({"code_url": "weixin://wxpay/x"})), STRANGE);
    assert_eq!(unsigned(&call(Verb::Query), 200, &order("SUCCESS")), STRANGE);
    assert_eq!(unsigned(&call(Verb::Close), 204, &Value::Null), STRANGE);
    for code in ["PARAM_ERROR", "ORDER_NOT_EXIST", "FREQUENCY_LIMITED", "NOT_ENOUGH"] {
        assert_eq!(unsigned(&ordering(), 400, &json!({"code": code})), STRANGE, "{code}");
    }
    assert_eq!(unsigned(&call(Verb::Query), 404, &json!({"code": "ORDER_NOT_EXIST"})), STRANGE, "or a stranger could end a payment");
    for code in ["SIGN_ERROR", "NO_AUTH", "APPID_MCHID_NOT_MATCH", "MCH_NOT_EXISTS"] {
        assert_eq!(unsigned(&ordering(), 401, &json!({"code": code})), (Fact::NotSent, CallClass::FailSoft), "{code}");
    }
    assert_eq!(unsigned(&ordering(), 429, &Value::Null), (Fact::NotSent, CallClass::RateLimited));
    assert_eq!(unsigned(&ordering(), 503, &Value::Null), BROKEN);
}

#[test]
fn what_is_not_wechat_pays_is_unknown() {
    let paid = order("SUCCESS").to_string();
    let query = call(Verb::Query);
    let answer = |headers: http::HeaderMap, body: &str| fact(&read(&query, &HttpResponse { status: 200, headers, body: body.to_owned().into() }));
    let genuine = signed_at(NOW, &paid);
    assert_eq!(answer(genuine.clone(), &paid).0, Fact::Approved);
    for body in [paid.replace("8888", "8889"), paid[..paid.len() - 1].to_owned(), format!("{paid} "), String::new()] {
        assert_eq!(answer(genuine.clone(), &body), STRANGE, "{body}");
    }
    assert_eq!(answer(signed_at(NOW - 301, &paid), &paid), STRANGE, "a true answer of before");
    assert_eq!(answer(headers(&[("wechatpay-signature", "QUJD")]), &paid), STRANGE);
    let forged = HttpResponse { headers: signed_at(NOW, ""), ..signed(401, &json!({"code": "SIGN_ERROR"}).to_string()) };
    assert_eq!(fact(&read(&ordering(), &forged)), STRANGE, "a signature that is there and wrong");
    assert_eq!(fact(&read(&query, &signed(404, "<html>"))), STRANGE);
}

#[test]
fn a_query_reads_the_order() {
    let query = call(Verb::Query);
    for state in ["SUCCESS", "REFUND"] {
        let news = heard(said(&query, 200, &order(state)));
        assert_eq!((news.fact, news.money), (Fact::Approved, Some(money(8888, "CNY"))), "{state}");
        assert_eq!(news.reference.as_deref(), Some(KEY));
    }
    for (state, fact) in [
        ("NOTPAY", Fact::ActionRequired),
        ("USERPAYING", Fact::ActionRequired),
        ("ACCEPT", Fact::Accepted),
        ("CLOSED", Fact::Closed),
        ("REVOKED", Fact::Closed),
        ("PAYERROR", Fact::Declined),
    ] {
        assert_eq!(heard(said(&query, 200, &order(state))).fact, fact, "{state}");
    }
    assert_eq!(fact(&said(&query, 200, &order("MOVED"))), STRANGE);
    for (name, value) in [("out_trade_no", json!("another")), ("mchid", json!("1")), ("appid", json!("wx1")), ("amount", Value::Null)] {
        let mut other = order("SUCCESS");
        other[name] = value;
        assert_eq!(fact(&said(&query, 200, &other)), STRANGE, "{name}");
    }
    assert_eq!(refused(&query, 404, "ORDER_NOT_EXIST"), Reply::NotFound);
}

#[test]
fn an_order_whose_making_was_not_answered_and_that_nobody_paid_must_be_closed() {
    let lost = Call { pay_reference: None, ..call(Verb::Query) };
    assert_eq!(said(&lost, 200, &order("NOTPAY")), Reply::Unpaid { reference: KEY.to_owned() });
    assert_eq!(heard(said(&lost, 200, &order("SUCCESS"))).fact, Fact::Approved);
}

#[test]
fn a_close_is_confirmed_by_an_empty_signed_answer_and_by_nothing_else() {
    let close = call(Verb::Close);
    let news = heard(read(&close, &signed(204, "")));
    assert_eq!((news.fact, news.failure.map(|failure| failure.code)), (Fact::Closed, Some(FailureCode::Closed)));
    assert_eq!(fact(&said(&close, 200, &json!({}))), STRANGE);
    assert_eq!(fact(&said(&close, 204, &json!({}))), STRANGE, "204 has no body");
    assert_eq!(fact(&read(&call(Verb::Query), &signed(204, ""))), STRANGE, "nothing is no order");
    assert_eq!(fact(&read(&ordering(), &signed(204, ""))), STRANGE);
    for (status, code) in [(400, "ORDER_PAID"), (400, "ORDER_CLOSED"), (404, "ORDER_NOT_EXIST"), (400, "INVALID_REQUEST")] {
        assert_eq!(fact(&refused(&close, status, code)), UNKNOWN, "{code}");
    }
}

#[test]
fn a_refund_is_what_its_state_says() {
    for verb in [Verb::Refund, Verb::QueryRefund] {
        let state = |status: &str| said(&refund(verb), 200, &refund_object("trade", status, 1));
        let done = heard(state("SUCCESS"));
        assert_eq!((done.fact, done.money, done.reference.as_deref()), (Fact::Approved, Some(money(1, "CNY")), Some(KEY)));
        assert_eq!(heard(state("PROCESSING")).fact, Fact::Accepted);
        for failed in ["CLOSED", "ABNORMAL"] {
            let news = heard(state(failed));
            assert_eq!((news.fact, news.failure.map(|failure| failure.code)), (Fact::Declined, Some(FailureCode::RefundFailed)), "{failed}");
        }
        assert_eq!(fact(&state("LOST")), STRANGE);
        assert_eq!(fact(&said(&refund(verb), 200, &refund_object("another", "SUCCESS", 1))), STRANGE);
        assert_eq!(fact(&said(&refund(verb), 200, &refund_object("trade", "SUCCESS", 0))), STRANGE);
        assert_eq!(
            heard(said(&reversal(if verb == Verb::Refund { Verb::Reverse } else { verb }), 200, &refund_object("trade", "SUCCESS", 8888))).fact,
            Fact::Approved
        );
    }
    for call in [refund(Verb::QueryRefund), reversal(Verb::QueryRefund)] {
        assert_eq!(refused(&call, 404, "RESOURCE_NOT_EXISTS"), Reply::NotFound);
    }
}

#[test]
fn a_refused_refund_is_final_only_where_no_earlier_call_can_have_carried_it_out() {
    let rows = [
        (403, "USER_ACCOUNT_ABNORMAL", true),
        (400, "PARAM_ERROR", true),
        (400, "INVALID_REQUEST", false),
        (403, "RULE_LIMIT", false),
        (403, "TRADE_ERROR", false),
        (404, "RESOURCE_NOT_EXISTS", false),
    ];
    for (status, code, even_repeated) in rows {
        let why = heard(refused(&refund(Verb::Refund), status, code)).failure.map(|failure| failure.code);
        assert_eq!(why, Some(FailureCode::RefundFailed), "{code}");
        let again = refused(&Call { repeat: true, ..refund(Verb::Refund) }, status, code);
        assert_eq!(fact(&again).0, if even_repeated { Fact::Declined } else { Fact::Unknown }, "{code} repeated");
    }
    assert_eq!(fact(&refused(&reversal(Verb::Reverse), 400, "INVALID_REQUEST")), UNKNOWN, "perhaps it was made before");
    assert_eq!(fact(&refused(&refund(Verb::Refund), 400, "NEVER_HEARD_OF")), UNKNOWN);
    let waits = heard(refused(&refund(Verb::Refund), 403, "NOT_ENOUGH"));
    assert_eq!((waits.fact, waits.failure.map(|failure| failure.code)), (Fact::NotSent, Some(FailureCode::NotSent)));
}
