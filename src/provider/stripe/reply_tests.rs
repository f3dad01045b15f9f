//! What answers mean, by verb.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::sample::{KEY, answer, call, creating, error, intent, money, refund, response};
use super::*;
use crate::domain::NextAction;

fn fact(reply: &Reply) -> (Fact, CallClass) {
    match reply {
        Reply::News { news, class } => (news.fact, *class),
        other => panic!("{other:?} is no news"),
    }
}

fn heard(reply: Reply) -> News {
    match reply {
        Reply::News { news, .. } => news,
        other => panic!("{other:?} is no news"),
    }
}

fn code(reply: Reply) -> Option<FailureCode> {
    heard(reply).failure.map(|failure| failure.code)
}

/// An error whose intent is shown in that status.
fn refused(code: &str, status: &str) -> Value {
    let mut body = error("invalid_request_error", Some(code));
    body["error"]["payment_intent"] = intent(status);
    body
}

fn card_error(code: &str, decline_code: Option<&str>) -> Value {
    json!({"error": {"type": "card_error", "code": code, "decline_code": decline_code, "message": "no"}})
}

const STALE: &str = "payment_intent_unexpected_state";

#[test]
fn the_first_step_yields_the_reference_and_nothing_else() {
    assert_eq!(reply(&creating(), &answer(200, &intent("requires_confirmation"))), Reply::Step { reference: "pi_1".to_owned() });
}

#[test]
fn an_intent_for_another_amount_is_never_confirmed() {
    let mut other = intent("requires_confirmation");
    other["amount"] = json!(8889);
    assert_eq!(fact(&reply(&creating(), &answer(200, &other))), (Fact::NotSent, CallClass::FailHard));
}

#[test]
fn no_failure_of_the_first_step_is_unknown_because_nothing_can_be_charged_by_it() {
    for (status, body, expected) in [
        (500, error("api_error", None), (Fact::NotSent, CallClass::FailSoft)),
        (429, error("rate_limit_error", Some("rate_limit")), (Fact::NotSent, CallClass::RateLimited)),
        (409, error("idempotency_error", Some("idempotency_key_in_use")), (Fact::NotSent, CallClass::Success)),
        (401, error("invalid_request_error", None), (Fact::NotSent, CallClass::FailSoft)),
        (400, error("invalid_request_error", Some("resource_missing")), (Fact::Declined, CallClass::Success)),
        (400, error("idempotency_error", None), (Fact::Declined, CallClass::Success)),
        (402, card_error("expired_card", None), (Fact::Declined, CallClass::Success)),
        (200, json!({"id": "pi_1"}), (Fact::NotSent, CallClass::FailHard)),
        (302, json!({}), (Fact::NotSent, CallClass::FailHard)),
    ] {
        assert_eq!(fact(&reply(&creating(), &answer(status, &body))), expected, "{status}");
    }
    assert_eq!(code(reply(&creating(), &answer(400, &error("invalid_request_error", None)))), Some(FailureCode::ChannelRejected));
    assert_eq!(code(reply(&creating(), &answer(402, &card_error("expired_card", None)))), Some(FailureCode::ExpiredCard));
}

#[test]
fn a_confirm_is_read_by_the_intents_status() {
    for (status, expected) in [
        ("succeeded", (Fact::Approved, CallClass::Success)),
        ("requires_capture", (Fact::Authorized, CallClass::Success)),
        ("processing", (Fact::Accepted, CallClass::Success)),
        ("requires_action", (Fact::ActionRequired, CallClass::Success)),
        ("canceled", (Fact::Closed, CallClass::Success)),
        ("requires_confirmation", (Fact::Unknown, CallClass::Success)),
        ("a_new_status", (Fact::Unknown, CallClass::FailHard)),
    ] {
        let reply = reply(&call(Verb::Pay), &answer(200, &intent(status)));
        assert_eq!(fact(&reply), expected, "{status}");
    }
    let paid = heard(reply(&call(Verb::Pay), &answer(200, &intent("succeeded"))));
    assert_eq!((paid.money, paid.captured, paid.reference.as_deref()), (Some(money(8888, "CNY")), Some(8888), Some("pi_1")));
}

#[test]
fn a_confirm_that_shows_another_intent_is_not_believed() {
    let mut other = intent("succeeded");
    other["id"] = json!("pi_2");
    for verb in [Verb::Pay, Verb::Query, Verb::Close, Verb::Capture, Verb::Void] {
        assert_eq!(fact(&reply(&call(verb), &answer(200, &other))), (Fact::Unknown, CallClass::FailHard), "{verb:?}");
    }
}

#[test]
fn a_success_without_an_amount_or_with_one_we_cannot_express_is_not_understood() {
    for (field, value) in [("amount", Value::Null), ("currency", json!("zzz")), ("amount_received", json!(0)), ("amount", json!(-1))] {
        let mut body = intent("succeeded");
        body[field] = value;
        assert_eq!(fact(&reply(&call(Verb::Pay), &answer(200, &body))), (Fact::Unknown, CallClass::FailHard), "{field}");
    }
}

#[test]
fn what_stripe_took_is_what_counts_when_it_is_not_what_the_intent_asked_for() {
    let mut body = intent("succeeded");
    body["amount_received"] = json!(9000);
    assert_eq!(heard(reply(&call(Verb::Pay), &answer(200, &body))).money, Some(money(9000, "CNY")));
}

#[test]
fn a_hold_says_when_it_lapses_where_the_charge_does() {
    let mut body = intent("requires_capture");
    body["latest_charge"] = json!({"payment_method_details": {"card": {"capture_before": 1_764_000_000}}});
    let held = heard(reply(&call(Verb::Pay), &answer(200, &body)));
    assert_eq!(held.capture_before.map(jiff::Timestamp::as_second), Some(1_764_000_000));
    body["latest_charge"] = json!("ch_1");
    assert_eq!(heard(reply(&call(Verb::Pay), &answer(200, &body))).capture_before, None);
}

#[test]
fn the_customer_is_only_sent_to_a_web_address() {
    let mut body = intent("requires_action");
    body["next_action"] = json!({"type": "redirect_to_url", "redirect_to_url": {"url": "https://hooks.stripe.com/3ds"}});
    let action = heard(reply(&call(Verb::Pay), &answer(200, &body))).next_action;
    assert_eq!(
        action,
        Some(NextAction::Redirect { url: "https://hooks.stripe.com/3ds".to_owned(), method: "GET".to_owned(), fields: Default::default() })
    );
    for step in [json!({"redirect_to_url": {"url": "javascript:alert(1)"}}), json!({"type": "use_stripe_sdk", "use_stripe_sdk": {}}), Value::Null] {
        body["next_action"] = step;
        assert_eq!(heard(reply(&call(Verb::Pay), &answer(200, &body))).next_action, None);
    }
}

#[test]
fn a_confirm_that_failed_is_unknown_unless_stripe_says_that_it_did_nothing() {
    for (status, body, expected) in [
        (402, card_error("card_declined", Some("lost_card")), (Fact::Declined, CallClass::Success)),
        (402, error("invalid_request_error", None), (Fact::Unknown, CallClass::Success)),
        (400, error("invalid_request_error", Some("parameter_missing")), (Fact::Declined, CallClass::Success)),
        (400, error("idempotency_error", None), (Fact::Unknown, CallClass::Success)),
        (400, error("invalid_request_error", Some(STALE)), (Fact::Unknown, CallClass::Success)),
        (404, error("invalid_request_error", Some("resource_missing")), (Fact::Declined, CallClass::Success)),
        (401, error("invalid_request_error", None), (Fact::NotSent, CallClass::FailSoft)),
        (403, error("invalid_request_error", None), (Fact::NotSent, CallClass::FailSoft)),
        (409, error("idempotency_error", Some("idempotency_key_in_use")), (Fact::Unknown, CallClass::Success)),
        (429, error("rate_limit_error", Some("rate_limit")), (Fact::NotSent, CallClass::RateLimited)),
        (429, error("invalid_request_error", Some("lock_timeout")), (Fact::Unknown, CallClass::RateLimited)),
        (424, error("api_error", None), (Fact::Unknown, CallClass::FailSoft)),
        (500, error("api_error", None), (Fact::Unknown, CallClass::FailSoft)),
        (599, error("api_error", None), (Fact::Unknown, CallClass::FailSoft)),
        (418, error("api_error", None), (Fact::Unknown, CallClass::FailHard)),
        (201, intent("succeeded"), (Fact::Unknown, CallClass::FailHard)),
    ] {
        assert_eq!(fact(&reply(&call(Verb::Pay), &answer(status, &body))), expected, "{status} {body}");
    }
}

#[test]
fn a_decline_whose_own_intent_shows_money_moving_is_unknown() {
    let mut body = card_error("card_declined", Some("generic_decline"));
    for (status, expected) in [
        ("succeeded", Fact::Unknown),
        ("processing", Fact::Unknown),
        ("requires_capture", Fact::Unknown),
        ("requires_payment_method", Fact::Declined),
    ] {
        body["error"]["payment_intent"] = intent(status);
        assert_eq!(fact(&reply(&call(Verb::Pay), &answer(402, &body))).0, expected, "{status}");
    }
}

#[test]
fn a_refused_capture_or_void_is_declined_unless_its_intent_shows_the_hold_taken() {
    for verb in [Verb::Capture, Verb::Void] {
        assert_eq!(fact(&reply(&call(verb), &answer(400, &refused("amount_too_large", "requires_capture")))).0, Fact::Declined, "{verb:?}");
        assert_eq!(fact(&reply(&call(verb), &answer(400, &refused("amount_too_large", "processing")))).0, Fact::Unknown, "{verb:?}");
    }
}

#[test]
fn an_intent_that_has_moved_on_tells_where_it_is() {
    for (status, expected) in
        [("succeeded", Fact::Approved), ("processing", Fact::Accepted), ("canceled", Fact::Closed), ("requires_confirmation", Fact::Unknown)]
    {
        for verb in [Verb::Pay, Verb::Close] {
            assert_eq!(fact(&reply(&call(verb), &answer(400, &refused(STALE, status)))), (expected, CallClass::Success), "{verb:?} {status}");
        }
    }
}

#[test]
fn a_query_tells_the_unpaid_that_must_be_closed_from_the_declined() {
    let query = call(Verb::Query);
    for status in ["requires_payment_method", "requires_confirmation"] {
        assert_eq!(reply(&query, &answer(200, &intent(status))), Reply::Unpaid { reference: "pi_1".to_owned() }, "{status}");
    }
    let mut declined = intent("requires_payment_method");
    declined["last_payment_error"] = json!({"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds"});
    assert_eq!(code(reply(&query, &answer(200, &declined))), Some(FailureCode::InsufficientFunds));
    let gone = reply(&query, &answer(404, &error("invalid_request_error", Some("resource_missing"))));
    assert_eq!(gone, Reply::News { news: News::unknown(), class: CallClass::FailSoft }, "another account's key says nothing about the money");
}

#[test]
fn a_search_finds_nothing_or_the_one_intent_that_knows_most_of_money() {
    let search = Call { pay_reference: None, ..call(Verb::Query) };
    let found = |intents: &[Value]| answer(200, &json!({"object": "search_result", "data": intents, "has_more": false}));
    assert_eq!(reply(&search, &found(&[])), Reply::NotFound);
    assert_eq!(reply(&search, &found(&[intent("requires_confirmation")])), Reply::Unpaid { reference: "pi_1".to_owned() });
    assert_eq!(fact(&reply(&search, &found(&[intent("canceled"), intent("succeeded"), intent("requires_confirmation")]))).0, Fact::Approved);
    let mut foreign = intent("succeeded");
    foreign["metadata"] = json!({"attempt": "another"});
    assert_eq!(fact(&reply(&search, &found(&[foreign]))), (Fact::Unknown, CallClass::FailHard));
}

#[test]
fn a_close_is_confirmed_only_by_a_canceled_intent() {
    let close = call(Verb::Close);
    assert_eq!(fact(&reply(&close, &answer(200, &intent("canceled")))), (Fact::Closed, CallClass::Success));
    assert_eq!(fact(&reply(&close, &answer(404, &error("invalid_request_error", Some("resource_missing"))))), (Fact::Unknown, CallClass::Success));
    assert_eq!(fact(&reply(&close, &answer(400, &error("invalid_request_error", None)))), (Fact::Unknown, CallClass::Success));
}

#[test]
fn a_capture_that_took_another_amount_is_not_ours() {
    let mut body = intent("succeeded");
    body["capture_method"] = json!("manual");
    body["amount_received"] = json!(500);
    let asked = |amount| Call { money: money(amount, "CNY"), ..call(Verb::Capture) };
    let ours = heard(reply(&asked(500), &answer(200, &body)));
    assert_eq!((ours.fact, ours.captured, ours.money), (Fact::Approved, Some(500), Some(money(8888, "CNY"))));
    let other = heard(reply(&asked(600), &answer(200, &body)));
    assert_eq!((other.fact, other.captured), (Fact::Unknown, Some(500)));
}

#[test]
fn a_capture_of_a_hold_that_is_gone_is_closed() {
    assert_eq!(fact(&reply(&call(Verb::Capture), &answer(400, &refused(STALE, "canceled")))).0, Fact::Closed);
    assert_eq!(fact(&reply(&call(Verb::Capture), &answer(400, &refused(STALE, "succeeded")))).0, Fact::Approved);
    assert_eq!(fact(&reply(&call(Verb::Capture), &answer(500, &json!({})))), (Fact::Unknown, CallClass::FailSoft));
}

#[test]
fn a_void_is_done_when_the_intent_is_canceled_and_declined_when_it_was_captured() {
    for call in [call(Verb::Void), Call { held: true, ..call(Verb::Reverse) }] {
        assert_eq!(fact(&reply(&call, &answer(200, &intent("canceled")))).0, Fact::Approved);
        assert_eq!(fact(&reply(&call, &answer(400, &refused(STALE, "canceled")))).0, Fact::Approved);
        assert_eq!(fact(&reply(&call, &answer(400, &refused(STALE, "succeeded")))).0, Fact::Declined);
        assert_eq!(fact(&reply(&call, &answer(400, &refused(STALE, "processing")))).0, Fact::Unknown);
    }
}

#[test]
fn a_reversal_is_done_when_all_is_given_back_already_and_speaks_of_no_amount() {
    let reverse = call(Verb::Reverse);
    let done = heard(reply(&reverse, &answer(200, &refund("succeeded"))));
    assert_eq!((done.fact, done.money), (Fact::Approved, None));
    assert_eq!(fact(&reply(&reverse, &answer(200, &refund("pending")))).0, Fact::Accepted);
    assert_eq!(fact(&reply(&reverse, &answer(400, &error("invalid_request_error", Some("charge_already_refunded"))))).0, Fact::Approved);
}

#[test]
fn a_refund_is_read_by_its_status() {
    for verb in [Verb::Refund, Verb::QueryRefund] {
        let call = Call { reference: (verb == Verb::QueryRefund).then(|| "re_1".to_owned()), ..call(verb) };
        for (status, expected) in [
            ("succeeded", Fact::Approved),
            ("pending", Fact::Accepted),
            ("requires_action", Fact::Accepted),
            ("failed", Fact::Declined),
            ("canceled", Fact::Declined),
            ("a_new_status", Fact::Unknown),
        ] {
            assert_eq!(fact(&reply(&call, &answer(200, &refund(status)))).0, expected, "{verb:?} {status}");
        }
        let done = heard(reply(&call, &answer(200, &refund("succeeded"))));
        assert_eq!((done.money, done.reference.as_deref()), (Some(money(100, "CNY")), Some("re_1")));
    }
}

#[test]
fn a_refund_that_exceeds_is_final_and_one_that_lacks_balance_waits() {
    let refund = call(Verb::Refund);
    let refusal = |code| answer(400, &error("invalid_request_error", Some(code)));
    assert_eq!(code(reply(&refund, &refusal("charge_already_refunded"))), Some(FailureCode::RefundExceedsChannel));
    let mut too_large = error("invalid_request_error", None);
    too_large["error"]["param"] = json!("amount");
    assert_eq!(code(reply(&refund, &answer(400, &too_large))), Some(FailureCode::RefundExceedsChannel));
    assert_eq!(code(reply(&refund, &refusal("charge_disputed"))), Some(FailureCode::RefundFailed));
    assert_eq!(fact(&reply(&refund, &refusal("balance_insufficient"))), (Fact::NotSent, CallClass::Success));
}

#[test]
fn a_refund_of_another_payment_is_not_ours() {
    let mut other = refund("succeeded");
    other["payment_intent"] = json!("pi_2");
    assert_eq!(fact(&reply(&call(Verb::Refund), &answer(200, &other))), (Fact::Unknown, CallClass::FailHard));
}

#[test]
fn a_refund_is_looked_for_by_our_key_among_those_of_the_payment() {
    let look = call(Verb::QueryRefund);
    let mut other = refund("failed");
    other["metadata"] = json!({"attempt": "another"});
    let listed = |refunds: &[&Value], more: bool| answer(200, &json!({"object": "list", "data": refunds, "has_more": more}));
    assert_eq!(fact(&reply(&look, &listed(&[&other, &refund("succeeded")], false))).0, Fact::Approved);
    assert_eq!(reply(&look, &listed(&[&other], false)), Reply::NotFound);
    assert_eq!(fact(&reply(&look, &listed(&[&other], true))), (Fact::Unknown, CallClass::Success));
}

/// Whatever is asked, with and without names.
fn any_call() -> impl Strategy<Value = Call> {
    (proptest::sample::select(Verb::ALL.to_vec()), any::<[bool; 3]>()).prop_map(|(verb, [named, refund, held])| Call {
        pay_reference: named.then(|| "pi_1".to_owned()),
        reference: refund.then(|| "re_1".to_owned()),
        held,
        ..call(verb)
    })
}

proptest! {
    #[test]
    fn bytes_that_stripe_did_not_write_say_nothing_of_money(call in any_call(), status in 100u16..1000, body in proptest::collection::vec(any::<u8>(), 0..300)) {
        match reply(&call, &response(status, body)) {
            Reply::News { news, .. } => prop_assert!(matches!(news.fact, Fact::Unknown | Fact::NotSent), "{:?}", news),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn an_object_cut_off_anywhere_says_nothing_of_money(call in any_call(), cut in any::<proptest::sample::Index>()) {
        for whole in [intent("succeeded"), refund("succeeded"), json!({"data": [], "has_more": false}), refused(STALE, "succeeded"), card_error("card_declined", None)] {
            let whole = whole.to_string();
            let part = &whole[..cut.index(whole.len())];
            for status in [200, 400, 402, 404] {
                let reply = reply(&call, &response(status, part));
                prop_assert!(matches!(&reply, Reply::News { news, .. } if matches!(news.fact, Fact::Unknown | Fact::NotSent)), "{:?}", reply);
            }
        }
    }

    #[test]
    fn a_query_and_a_close_never_say_not_sent_nor_decline_for_their_own_failure(
        named in any::<bool>(),
        verb in proptest::sample::select(vec![Verb::Query, Verb::Close, Verb::QueryRefund]),
        status in 201u16..600,
        kind in proptest::sample::select(vec!["card_error", "invalid_request_error", "api_error", "idempotency_error", "rate_limit_error"]),
    ) {
        let call = Call { pay_reference: named.then(|| "pi_1".to_owned()), ..call(verb) };
        match reply(&call, &answer(status, &error(kind, None))) {
            Reply::News { news, .. } => prop_assert_eq!(news.fact, Fact::Unknown),
            Reply::NotFound => prop_assert!(status == 404 && verb != Verb::Close),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn a_confirm_is_only_not_sent_where_stripe_documents_it(status in 200u16..600, kind in proptest::sample::select(vec!["card_error", "invalid_request_error", "api_error"])) {
        let (fact, _) = fact(&reply(&call(Verb::Pay), &answer(status, &error(kind, None))));
        prop_assert_eq!(fact == Fact::NotSent, matches!(status, 401 | 403 | 429), "{}", status);
        prop_assert!(fact != Fact::Declined || matches!(status, 400 | 402 | 404));
    }

    #[test]
    fn any_mixture_of_fields_is_read_without_a_panic(call in any_call(), status in proptest::sample::select(vec![200u16, 400, 402]), amount in any::<i64>(), received in any::<i64>(), word in "[a-z_]{0,12}") {
        let body = json!({"id": "pi_1", "status": "succeeded", "amount": amount, "amount_received": received, "currency": word,
            "next_action": {"redirect_to_url": {"url": word}}, "latest_charge": {"payment_method_details": {"card": {"capture_before": amount}}},
            "metadata": {"attempt": KEY}, "error": {"type": word, "code": word, "payment_intent": {"id": "pi_1", "status": "requires_capture", "amount": amount}}});
        let _ = reply(&call, &answer(status, &body));
    }
}
