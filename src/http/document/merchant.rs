//! The merchants' routes on money: payments and refunds.

use serde_json::json;

use super::route::{Caller, Route};
use super::shape::{self, Shape};
use super::{PAYMENTS, REFUNDS};
use crate::domain::{PaymentId, PaymentStatus, RefundId, RefundStatus};
use crate::http::problem::ProblemCode as Code;

/// The routes, in the order in which they are shown.
pub fn routes() -> Vec<Route> {
    vec![create_payment(), list_payments(), read_payment(), capture(), cancel(), create_refund(), list_refunds(), read_refund()]
}

fn create_payment() -> Route {
    Route::post("/v1/payments", "createPayment", "Create a payment and carry it out")
        .for_caller(Caller::Merchant, PAYMENTS)
        .about(
            "The payment is on disk before any channel hears of it, so nothing is lost whatever happens then. The status code is about the call, \
             not about the money: a *declined* payment is 201 with `status` `failed` and its `failure`. With 202 the end is not known yet: read the \
             payment again after `poll_after`, or wait for the webhook. A field that is null counts as left out.",
        )
        .moves_money()
        .body(
            "CreatePayment",
            &[
                (
                    "A card by its token",
                    json!({"amount": 1250, "currency": "CNY", "merchant_order_id": "A-1", "payment_method": {"type": "card_token", "token": "pm_card_visa"}}),
                ),
                (
                    "Every field",
                    json!({"amount": 1250, "currency": "CNY", "merchant_order_id": "A-2", "payment_method": {"type": "card_token", "token": "pm_card_visa"},
                        "capture_method": "manual", "channel": "stripe_main", "description": "One blue kite", "metadata": {"shelf": "12"},
                        "return_url": "https://shop.example/thanks", "expires_at": null}),
                ),
                (
                    "A QR code of a wallet",
                    json!({"amount": 1250, "currency": "CNY", "merchant_order_id": "A-3", "payment_method": {"type": "qr", "wallet": "alipay"}}),
                ),
            ],
        )
        .answers(201, "The payment was made, and is final or waits for somebody: see `status`.", "Payment")
        .answers(202, "The payment was made, and its outcome is pending or unknown.", "Payment")
        .refuses(&[
            Code::MissingField,
            Code::DuplicateOrder,
            Code::InvalidAmount,
            Code::UnknownCurrency,
            Code::UnknownChannel,
            Code::UnsupportedPaymentMethod,
            Code::CardNumberRefused,
            Code::InvalidExpiry,
            Code::NoChannel,
            Code::ChannelCannotCarry,
        ])
}

fn list_payments() -> Route {
    Route::get("/v1/payments", "listPayments", "List payments, newest first")
        .for_caller(Caller::Merchant, PAYMENTS)
        .about("Your payments in this key's mode. There are no totals: counting what has no bound has no bound.")
        .query("status", "Only those in this status.", shape::one_of("A status.", PaymentStatus::ALL.iter().map(|status| status.as_str())))
        .of_channel_and_order()
        .between_times()
        .pages()
        .answers(200, "A page.", "PaymentList")
}

fn read_payment() -> Route {
    Route::get("/v1/payments/{id}", "readPayment", "Read a payment")
        .for_caller(Caller::Merchant, PAYMENTS)
        .about("The payment as it is known now; with `include`, all that happened to it.")
        .path("id", "The payment.", payment_id())
        .may_ask_the_channel()
        .query(
            "include",
            "What to show with it: `attempts`, `refunds`, `events`, with commas between.",
            shape::pattern("What to show with it.", "^(attempts|refunds|events)(,(attempts|refunds|events))*$", "attempts,refunds,events"),
        )
        .answers(200, "The payment.", "Payment")
}

fn capture() -> Route {
    Route::post("/v1/payments/{id}/capture", "capturePayment", "Take the money that a payment holds")
        .for_caller(Caller::Merchant, PAYMENTS)
        .about(
            "For a payment with `capture_method` `manual`: takes the held money, or a part of it; the rest is released. Of parallel captures \
                exactly one is sent.",
        )
        .path("id", "The payment.", payment_id())
        .moves_money()
        .optional_body("Capture", &[("All of it", json!({})), ("A part", json!({"amount": 1000}))])
        .answers(200, "It is decided. If the channel refused it, `failure` says why.", "Payment")
        .answers(202, "It is under way.", "Payment")
        .refuses(&[Code::WrongState, Code::CaptureInProgress, Code::ChannelNotConfigured, Code::InvalidAmount, Code::CaptureExceedsHold])
}

fn cancel() -> Route {
    Route::post("/v1/payments/{id}/cancel", "cancelPayment", "End a payment that is not final")
        .for_caller(Caller::Merchant, PAYMENTS)
        .about(
            "Closes or releases it at its channel. If it turns out that the money was taken meanwhile, it is refunded (`source` `cancel`), and the \
             payment stays `succeeded`.",
        )
        .path("id", "The payment.", payment_id())
        .moves_money()
        .optional_body("Empty", &[("Nothing more to say", json!({}))])
        .answers(200, "It has ended.", "Payment")
        .answers(202, "The cancel is written down, and under way.", "Payment")
        .refuses(&[Code::WrongState, Code::ChannelNotConfigured])
}

fn create_refund() -> Route {
    Route::post("/v1/refunds", "createRefund", "Give money back")
        .for_caller(Caller::Merchant, REFUNDS)
        .about(
            "Through the channel that took it, which is asked until it has answered: a refund waits in a queue that survives everything. \
             `merchant_refund_id` stands for one refund for ever. Without `amount`, all that is left is given back.",
        )
        .moves_money()
        .body(
            "CreateRefund",
            &[
                ("A part", json!({"payment_id": "pay_01a2010b98b57bbf9175066f4f7a9dc6", "merchant_refund_id": "R-1", "amount": 250, "reason": "one kite too many"})),
                ("All that is left", json!({"payment_id": "pay_01a2010b98b57bbf9175066f4f7a9dc6", "merchant_refund_id": "R-2"})),
            ],
        )
        .answers(201, "The refund was made, and is final: see `status`.", "Refund")
        .answers(202, "The refund is queued, under way, or in doubt.", "Refund")
        .refuses(&[
            Code::MissingField,
            Code::NotFound,
            Code::DuplicateRefund,
            Code::WrongState,
            Code::PaymentUnresolved,
            Code::ChannelNotConfigured,
            Code::InvalidAmount,
            Code::CardNumberRefused,
            Code::RefundExceedsCaptured,
            Code::RefundWindowClosed,
            Code::TooManyRefunds,
        ])
}

fn list_refunds() -> Route {
    Route::get("/v1/refunds", "listRefunds", "List refunds, newest first")
        .for_caller(Caller::Merchant, REFUNDS)
        .about("Your refunds in this key's mode.")
        .query("status", "Only those in this status.", shape::one_of("A status.", RefundStatus::ALL.iter().map(|status| status.as_str())))
        .query("payment_id", "Only those of this payment.", payment_id())
        .query("merchant_refund_id", "Only the one of this name.", shape::visible("Your name for the refund.", 64, "R-1"))
        .of_channel_and_order()
        .between_times()
        .pages()
        .answers(200, "A page.", "RefundList")
}

fn read_refund() -> Route {
    Route::get("/v1/refunds/{id}", "readRefund", "Read a refund")
        .for_caller(Caller::Merchant, REFUNDS)
        .about("The refund as it is known now.")
        .path("id", "The refund.", shape::id("A refund's id.", RefundId::PREFIX))
        .may_ask_the_channel()
        .answers(200, "The refund.", "Refund")
}

/// A payment's id, in an address or a query.
pub fn payment_id() -> Shape {
    shape::id("A payment's id.", PaymentId::PREFIX)
}
