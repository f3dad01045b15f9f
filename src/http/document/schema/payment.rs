//! Payments and refunds: what is asked for, and what is shown.

use serde_json::json;
use utoipa::openapi::schema::{AnyOfBuilder, Discriminator, KnownFormat, OneOfBuilder, SchemaFormat};
use utoipa::openapi::{ObjectBuilder, Type};

use super::super::shape::{self, Record, Shape, every, named, named_as, or_null};
use super::page_of;
use crate::domain::failure::Advice;
use crate::domain::method::RedirectFlow;
use crate::domain::{
    AttemptState, CaptureMethod, Currency, EventId, FailureCode, Operation, Outcome, PaymentId, PaymentStatus, RefundId, RefundSource, RefundStatus,
    Wallet,
};

pub fn schemas() -> Vec<(&'static str, Shape)> {
    vec![
        ("CreatePayment", create_payment()),
        ("PaymentMethod", payment_method()),
        ("Qr", qr()),
        ("Barcode", barcode()),
        ("Redirect", redirect()),
        ("CardToken", card_token()),
        ("Card", card()),
        ("Wallet", shape::one_of_values("A wallet.", &WALLETS)),
        ("Currency", currency()),
        ("Metadata", metadata()),
        ("Capture", Record::of("A capture.").may("amount", or_null(shape::amount("Minor units to take; all that is held when left out."))).closed()),
        ("Empty", Record::of("A body without fields.").closed()),
        ("CreateRefund", create_refund()),
        ("Payment", payment()),
        ("PaymentList", page_of("Payment", "A page of payments.")),
        ("PaymentStatus", payment_status()),
        ("Outcome", outcome()),
        ("CaptureMethod", capture_method()),
        ("Failure", failure()),
        ("NextAction", next_action()),
        ("ShowQr", show_qr()),
        ("SendThere", send_there()),
        ("CallScript", call_script()),
        ("Attempt", attempt()),
        ("TimelineEvent", timeline_event()),
        ("Refund", refund()),
        ("RefundList", page_of("Refund", "A page of refunds.")),
    ]
}

const WALLETS: [Wallet; 3] = every!(Wallet: Alipay, Wechatpay, Unionpay);

fn create_payment() -> Shape {
    Record::of("A payment to make. A field that is null counts as left out.")
        .must("amount", shape::amount("Whole minor units: 12.50 CNY is 1250, 1250 JPY is 1250."))
        .must("currency", named("Currency"))
        .must(
            "merchant_order_id",
            shape::visible("Your name for the order. One payment at a time holds it: it is free again once that has ended unpaid.", 64, "A-1"),
        )
        .must("payment_method", named("PaymentMethod"))
        .may("capture_method", or_null_ref("CaptureMethod"))
        .may("channel", or_null(shape::text("The one channel that may carry it. Left out, every channel that can is planned with.")))
        .may("description", or_null(shape::free_text("What is paid for, as the customer may read it. Never a card number.", 500)))
        .may("metadata", or_null_ref("Metadata"))
        .may("return_url", or_null(shape::url("Where the customer comes back to.", "https://shop.example/thanks")))
        .may("expires_at", or_null(shape::time("Until when the customer may pay: 15 minutes from now when left out, at most 7 days away.")))
        .closed()
}

fn or_null_ref(name: &str) -> Shape {
    or_null(named(name))
}

fn payment_method() -> Shape {
    let tagged = Discriminator::with_mapping(
        "type",
        [("qr", "Qr"), ("barcode", "Barcode"), ("redirect", "Redirect"), ("card_token", "CardToken"), ("card", "Card")]
            .map(|(name, schema)| (name, format!("#/components/schemas/{schema}"))),
    );
    ["Qr", "Barcode", "Redirect", "CardToken", "Card"]
        .iter()
        .fold(OneOfBuilder::new(), |one_of, name| one_of.item(named(name)))
        .schema_type(Type::Object)
        .description(Some("How the customer pays."))
        .discriminator(Some(tagged))
        .into()
}

fn qr() -> Shape {
    Record::of("We show a code, the customer scans it.")
        .must("type", shape::always("Which way of paying.", "qr"))
        .may("wallet", or_null_ref("Wallet"))
        .closed()
}

fn barcode() -> Shape {
    Record::of("The customer shows a code, we scan it.")
        .must("type", shape::always("Which way of paying.", "barcode"))
        .must("code", shape::pattern("The digits of the code; the first ones name the wallet.", "^[0-9]{16,24}$", "2876543210987654321"))
        .closed()
}

fn redirect() -> Shape {
    Record::of("The customer is sent to the wallet.")
        .must("type", shape::always("Which way of paying.", "redirect"))
        .may("wallet", or_null_ref("Wallet"))
        .must(
            "flow",
            shape::one_of_values(
                "`page` on a desk machine, `h5` on a phone, `jsapi` in the wallet's own browser, `app` from app to app.",
                &every!(RedirectFlow: Page, H5, Jsapi, App),
            ),
        )
        .may("openid", or_null(shape::visible("The customer's id at the wallet, for `jsapi`.", 128, "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o")))
        .may("client_ip", client_ip())
        .closed()
}

fn client_ip() -> Shape {
    let address = |kind| ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(kind)));
    AnyOfBuilder::new()
        .item(address(KnownFormat::Ipv4))
        .item(address(KnownFormat::Ipv6))
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .description(Some("The customer's IPv4 or IPv6 address, for `h5`."))
        .into()
}

fn card_token() -> Shape {
    Record::of("A card that one account knows by a token.")
        .must("type", shape::always("Which way of paying.", "card_token"))
        .must(
            "token",
            shape::pattern("What your card form made. Never a card number.", "^(?=.{1,255}$)[0-9]*[A-Za-z_-][A-Za-z0-9_-]*$", "pm_card_visa"),
        )
        .closed()
}

fn card() -> Shape {
    let number = "12 to 19 digits without blanks; the last one is their check digit (ISO/IEC 7812-1). Kept sealed, and never shown again.";
    Record::of("A card by its number, for a bank's channel. Where the installation has none, this is 422 `unsupported_payment_method`.")
        .must("type", shape::always("Which way of paying.", "card"))
        .must("number", shape::write_only(shape::pattern(number, "^[0-9]{12,19}$", "4111111111111111")))
        .must("exp_month", shape::within("The month in which it ends.", 1, 12))
        .must("exp_year", shape::within("The year, in four digits.", 2_000, 2_099))
        .may("cvc", shape::write_only(or_null(shape::pattern("The security code. Never stored.", "^[0-9]{3,4}$", "123"))))
        .may("holder", or_null(shape::free_text("The name on the card.", 45)))
        .closed()
}

/// Every code of ISO 4217 that has a minor unit.
fn currency() -> Shape {
    let letters = || (b'A'..=b'Z').map(char::from);
    let codes: Vec<&'static str> = letters()
        .flat_map(|first| letters().flat_map(move |second| letters().map(move |third| String::from_iter([first, second, third]))))
        .filter_map(|code| Currency::parse(&code).map(Currency::code))
        .collect();
    shape::one_of("An ISO 4217 code. How many decimals its minor unit has is ISO 4217's too: JPY 0, CNY 2, KWD 3.", codes)
}

fn metadata() -> Shape {
    shape::map("Your own notes: at most 20, each a text under a key of 1 to 40 characters. Never a card number.", shape::free_text("A note.", 500))
        .max_properties(Some(20))
        .property_names(Some(
            ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(40)).pattern(Some("^[^\\u0000]+$")).build(),
        ))
        .into()
}

fn create_refund() -> Shape {
    Record::of("A refund to make. A field that is null counts as left out.")
        .must("payment_id", shape::id("The payment whose money goes back.", PaymentId::PREFIX))
        .must(
            "merchant_refund_id",
            shape::pattern(
                "Your name for the refund, unique for ever. Names that begin with `breakwater:` are ours.",
                "^(?!breakwater:)[!-~]{1,64}$",
                "R-1",
            ),
        )
        .may("amount", or_null(shape::amount("Minor units to give back; all that is left when left out.")))
        .may("reason", or_null(shape::free_text("Why, in your words. Never a card number.", 500)))
        .may("metadata", or_null_ref("Metadata"))
        .closed()
}

fn payment() -> Shape {
    Record::of("A payment.")
        .must("id", shape::id("Its id.", PaymentId::PREFIX))
        .must("object", shape::always("What this is.", "payment"))
        .must("livemode", shape::flag("Whether real money moves."))
        .must("amount", shape::amount("What was asked for, in minor units."))
        .must("currency", named("Currency"))
        .must("status", named("PaymentStatus"))
        .must("outcome", named("Outcome"))
        .must("amount_capturable", shape::sum("What is held and not yet taken."))
        .must("amount_captured", shape::sum("What was taken."))
        .must("amount_refunded", shape::sum("What was given back. A refund never changes `status`."))
        .must("amount_disputed", shape::sum("What customers dispute."))
        .must("capture_method", named("CaptureMethod"))
        .must("capture_before", or_null(shape::time("Until when held money can be taken.")))
        .must("merchant_order_id", shape::text("Your name for the order."))
        .must("channel", or_null(shape::text("The channel that carries it.")))
        .must("channel_reference", or_null(shape::text("The channel's own name for it.")))
        .must("next_action", or_null(named_as("NextAction", "What the customer must do, with `requires_action`.")))
        .must("failure", or_null(named_as("Failure", "Why no money moved.")))
        .must("poll_after", or_null(shape::time("When to read it again: something will be known then.")))
        .must("metadata", shape::texts("Your own notes."))
        .must("sequence", shape::whole("How many events it has had. A larger number is a newer state.", 1))
        .must("created_at", shape::time("When it was created."))
        .must("updated_at", shape::time("When it last changed."))
        .may("attempts", shape::list("With `include`: every try on a channel.", named("Attempt")))
        .may("refunds", shape::list("With `include`: its refunds.", named("Refund")))
        .may("events", shape::list("With `include`: its timeline, more detailed than what webhooks tell.", named("TimelineEvent")))
        .example(json!({
            "id": "pay_01a2010b98b57bbf9175066f4f7a9dc6", "object": "payment", "livemode": false, "amount": 1250, "currency": "CNY",
            "status": "succeeded", "outcome": "approved", "amount_capturable": 0, "amount_captured": 1250, "amount_refunded": 0, "amount_disputed": 0,
            "capture_method": "automatic", "capture_before": null, "merchant_order_id": "A-1", "channel": "stripe_main",
            "channel_reference": "pi_c4T86RoCeWsM8Wk5zCDdR5", "next_action": null, "failure": null, "poll_after": null, "metadata": {}, "sequence": 4,
            "created_at": "2026-11-22T02:17:46.933Z", "updated_at": "2026-11-22T02:17:46.941Z"
        }))
        .open()
}

fn capture_method() -> Shape {
    shape::one_of(
        "`automatic`: the money is taken at once. `manual`: it is held, and you capture it.",
        CaptureMethod::ALL.iter().map(|method| method.as_str()),
    )
}

fn payment_status() -> Shape {
    let about = "Where a payment stands. `processing`, `requires_action` (the customer must do something), `requires_capture` (you may capture), and the \
                 final ones: `succeeded`, `partially_captured`, `failed`, `canceled`, `expired`.";
    shape::one_of(about, PaymentStatus::ALL.iter().map(|status| status.as_str()))
}

fn outcome() -> Shape {
    let about = "What is known about the money. `none`: nothing was sent yet, or the customer must act. `pending`: in flight. `approved`. `declined`: the \
                 channel said no, or the money went back. `not_sent`: it certainly did not reach a channel. `unknown`: it may or may not have moved, and \
                 Breakwater is finding out.";
    shape::one_of(about, Outcome::ALL.iter().map(|outcome| outcome.as_str()))
}

fn failure() -> Shape {
    let codes = every!(FailureCode: CardDeclined, InsufficientFunds, ExpiredCard, IncorrectCvc, InvalidCard, AuthenticationRequired, Fraudulent,
        NotPermitted, LimitExceeded, ProcessingError, ChannelRejected, NotSent, NoAnswer, Closed, NotFound, AmountMismatch, RefundFailed, RefundExceedsChannel);
    let advice = every!(Advice: RetryLater, CustomerMustAct, UseAnotherMethod, ContactSupport);
    Record::of("Why no money moved, or why a refund waits: one closed table of codes over all channels.")
        .must("code", shape::one_of_values("Why.", &codes))
        .must("advice", shape::one_of_values("What you can do.", &advice))
        .must("do_not_retry", shape::flag("Whether the same means of payment must not be tried again."))
        .must("channel_code", or_null(shape::text("The channel's own code.")))
        .must("message", shape::text("A sentence."))
        .open()
}

fn next_action() -> Shape {
    let tagged = Discriminator::with_mapping(
        "type",
        [("qr", "#/components/schemas/ShowQr"), ("redirect", "#/components/schemas/SendThere"), ("jsapi", "#/components/schemas/CallScript")],
    );
    OneOfBuilder::new()
        .item(named("ShowQr"))
        .item(named("SendThere"))
        .item(named("CallScript"))
        .schema_type(Type::Object)
        .description(Some("What the customer must do."))
        .discriminator(Some(tagged))
        .into()
}

fn show_qr() -> Shape {
    Record::of("Show this as a QR code.")
        .must("type", shape::always("What to do.", "qr"))
        .must("wallet", or_null_ref("Wallet"))
        .must("text", shape::text("What the code says."))
        .must("expires_at", or_null(shape::time("Until when it can be paid.")))
        .open()
}

fn send_there() -> Shape {
    Record::of("Send the customer there.")
        .must("type", shape::always("What to do.", "redirect"))
        .must("wallet", or_null_ref("Wallet"))
        .must("url", shape::text("Where."))
        .must("method", shape::one_of("How.", ["GET", "POST"]))
        .must("fields", shape::texts("The form's fields, for `POST`."))
        .open()
}

fn call_script() -> Shape {
    Record::of("Hand these to the wallet's script, on a page that is open in the wallet's own browser.")
        .must("type", shape::always("What to do.", "jsapi"))
        .must("wallet", or_null_ref("Wallet"))
        .must("parameters", shape::texts("By the names that the script knows them by. They are signed: change none."))
        .open()
}

fn attempt() -> Shape {
    Record::of("One try of one operation on one channel.")
        .must("n", shape::whole("Its number within the payment.", 1))
        .must("operation", shape::one_of("What was tried.", Operation::ALL.map(Operation::as_str)))
        .must("channel", shape::text("Where."))
        .must("state", shape::one_of("How it stands.", AttemptState::ALL.map(AttemptState::as_str)))
        .must("key", shape::text("The key that the channel knows it by."))
        .must("amount", shape::amount("Minor units."))
        .must("reference", or_null(shape::text("The channel's own name for it.")))
        .must("failure", or_null(named("Failure")))
        .must("reason", shape::text("Why this channel: its place in the plan, its priority, and what became of those before it."))
        .must(
            "passed_over",
            shape::list("Why not another: those before it in the plan; with the first attempt those that do not fit; when it failed and none went on, those that were left.", passed_over()),
        )
        .must("created_at", shape::time("When it was written down."))
        .must("updated_at", shape::time("When it last changed."))
        .open()
}

fn passed_over() -> Shape {
    let reasons = "What it does not fit (`mode`, `method`, `wallet`, `currency`, `not_chosen`, `account`), or why it was not taken (`open`, \
                   `half_open`, `forced_open`, `in_flight`, `over_rate`, `no_actor`, `not_expressible`).";
    Record::of("A channel that did not carry the attempt.").must("channel", shape::text("Which.")).must("reason", shape::text(reasons)).open()
}

fn timeline_event() -> Shape {
    Record::of("One row of a payment's timeline.")
        .must("id", shape::id("Its id.", EventId::PREFIX))
        .must("sequence", shape::whole("Its number within the payment.", 1))
        .must("type", shape::pattern("What happened. Only the types of webhooks are a contract.", "^[a-z_]+\\.[a-z_]+$", "attempt.succeeded"))
        .must("data", shape::anything("The details."))
        .must("created_at", shape::time("When."))
        .open()
}

fn refund() -> Shape {
    Record::of("A refund.")
        .must("id", shape::id("Its id.", RefundId::PREFIX))
        .must("object", shape::always("What this is.", "refund"))
        .must("payment_id", shape::id("The payment whose money goes back.", PaymentId::PREFIX))
        .must("merchant_refund_id", shape::text("Your name for it."))
        .must("amount", shape::amount("Minor units."))
        .must("currency", named("Currency"))
        .must("status", shape::one_of("Where it stands. Only `processing` is not final.", RefundStatus::ALL.iter().map(|status| status.as_str())))
        .must("outcome", named("Outcome"))
        .must("reason", or_null(shape::text("Why, in your words.")))
        .must(
            "source",
            shape::one_of(
                "Who wished for it: you, a cancel that found the money taken, or the channel by itself.",
                RefundSource::ALL.iter().map(|source| source.as_str()),
            ),
        )
        .must("channel", or_null(shape::text("The channel that carries it: the one that took the money.")))
        .must("channel_reference", or_null(shape::text("The channel's own name for it.")))
        .must("failure", or_null(named_as("Failure", "Why it failed, or why it waits.")))
        .must("poll_after", or_null(shape::time("When to read it again.")))
        .must("metadata", shape::texts("Your own notes."))
        .must("created_at", shape::time("When it was created."))
        .must("updated_at", shape::time("When it last changed."))
        .example(json!({
            "id": "ref_01a2010b98e0712e917a66345f6969ac", "object": "refund", "payment_id": "pay_01a2010b98b57bbf9175066f4f7a9dc6",
            "merchant_refund_id": "R-1", "amount": 250, "currency": "CNY", "status": "succeeded", "outcome": "approved", "reason": null,
            "source": "merchant", "channel": "stripe_main", "channel_reference": "re_xTmTFGGzsQAiR6VAQgFN10", "failure": null, "poll_after": null,
            "metadata": {}, "created_at": "2026-11-22T02:17:46.976Z", "updated_at": "2026-11-22T02:17:46.985Z"
        }))
        .open()
}
