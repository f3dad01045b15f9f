//! `/ops/v1/payments/{id}/resolve`: a person says what an outcome was that no channel will tell.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::super::ask::remember;
use super::super::body;
use super::super::field::Fields;
use super::super::page::Query;
use super::super::problem::{Problem, ProblemCode};
use super::super::{Api, answers, key, render};
use super::{WORDS, acting, ask};
use crate::domain::{Payment, PaymentId};
use crate::router::operator::{Refusal, Resolution, Resolve, Verdict};
use crate::store::account::OperatorRow;

/// Characters of the evidence, at most: where it is, not the document itself.
pub(in crate::http) const EVIDENCE: usize = 2_000;
/// Characters of a channel's own name for something, at most.
pub(in crate::http) const REFERENCE: usize = 128;

/// `POST /ops/v1/payments/{id}/resolve` `{outcome, note, evidence, attempt?, channel_reference?}`: 200 when it is done; 202 when, above the set
/// amount, a second person must say the same.
pub async fn resolve(request: HttpRequest, payload: web::Payload, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let operator = key::operator(&api, &request).await?;
    Query::of(&request, &[])?;
    let payment: PaymentId = request.match_info().get("id").and_then(|id| id.parse().ok()).ok_or_else(no_payment)?;
    remember(&request, payment);
    let body = body::object(&request, payload, api.settings.body_limit, false).await?;
    let fields = Fields::of(&body, &["outcome", "note", "evidence", "attempt", "channel_reference"])?;
    let order = order(&fields, payment, operator)?;
    match ask(&api, order).await? {
        Resolution::Settled { payment, n } => Ok(answers::json(StatusCode::OK, &settled(&payment, n))),
        Resolution::AwaitsSecond { n, proposed_by, expires_at } => Ok(answers::json(
            StatusCode::ACCEPTED,
            &json!({
                "object": "resolution", "state": "awaits_second_person", "payment_id": payment.to_string(), "attempt": n,
                "proposed_by": proposed_by, "expires_at": render::rfc3339(expires_at),
            }),
        )),
        Resolution::Refused(refusal) => Err(problem(&refusal)),
    }
}

fn order(fields: &Fields<'_>, payment: PaymentId, operator: OperatorRow) -> Result<Resolve, Problem> {
    let words = |field: &str, longest| {
        let text = fields.free_text(field, longest)?.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        text.ok_or_else(|| fields.missing(field))
    };
    let verdict = fields.one_of("outcome", &Verdict::ALL.map(Verdict::as_str), Verdict::parse)?.ok_or_else(|| fields.missing("outcome"))?;
    let attempt = match fields.value("attempt") {
        None => None,
        Some(value) => {
            let n = value.as_i64().and_then(|n| i16::try_from(n).ok()).filter(|n| *n >= 1);
            Some(n.ok_or_else(|| fields.wrong("attempt", "must be an attempt's number, from 1"))?)
        }
    };
    let reference = match fields.value("channel_reference") {
        None => None,
        Some(_) => Some(fields.visible("channel_reference", REFERENCE)?.to_owned()),
    };
    let (note, evidence) = (words("note", WORDS)?, words("evidence", EVIDENCE)?);
    Ok(Resolve { payment, attempt, verdict, reference, note, evidence, operator: acting(operator) })
}

fn settled(payment: &Payment, n: i16) -> Value {
    json!({
        "object": "resolution", "state": "resolved", "payment_id": payment.id.to_string(), "attempt": n,
        "attempt_state": payment.attempt(n).map(|attempt| attempt.state.as_str()), "status": payment.status.as_str(),
        "outcome": payment.outcome.as_str(), "sequence": payment.sequence,
    })
}

fn no_payment() -> Problem {
    Problem::new(ProblemCode::NotFound, "There is no such payment.")
}

/// What the person did wrong, or who was first.
fn problem(refusal: &Refusal) -> Problem {
    let wrong_state = |detail: String| Problem::new(ProblemCode::WrongState, detail);
    match refusal {
        Refusal::NoPayment => no_payment(),
        Refusal::NoAttempt => Problem::new(ProblemCode::NotFound, "The payment has no attempt of this number.").about("attempt"),
        Refusal::NothingInDoubt => wrong_state(
            "Nothing of this payment is in doubt: only an unknown outcome can be resolved. Money that must go back goes as a refund.".to_owned(),
        ),
        Refusal::NotInDoubt { state } => {
            wrong_state(format!("The attempt is {state}, and not unknown: only an unknown outcome can be resolved.")).about("attempt")
        }
        Refusal::BeingAsked { until } => {
            let until = render::rfc3339(*until);
            wrong_state(format!("The channel is being asked about it at this moment, until {until} at most. Read the payment, and ask again."))
        }
        Refusal::SeveralInDoubt { attempts } => {
            let numbers: Vec<String> = attempts.iter().map(i16::to_string).collect();
            Problem::new(ProblemCode::MissingField, format!("The attempts {} are in doubt: say which.", numbers.join(", "))).about("attempt")
        }
        Refusal::DoesNotFit { operation } => {
            Problem::new(ProblemCode::InvalidRequest, format!("That cannot be said of a {operation} of this payment.")).about("outcome")
        }
        Refusal::ReferenceNeeded => {
            Problem::new(ProblemCode::MissingField, "channel_reference is required: without the channel's name for it nothing could be refunded.")
                .about("channel_reference")
        }
        Refusal::OtherReference => {
            wrong_state("The attempt is known by another channel_reference: it may be another payment's.".to_owned()).about("channel_reference")
        }
        Refusal::Disagrees { proposed_by, outcome, expires_at } => {
            let until = render::rfc3339(*expires_at);
            wrong_state(format!("{proposed_by} has said {outcome}, which waits for a second person until {until}. Agree among yourselves first."))
        }
        Refusal::SecondMustBeAdmin => Problem::new(ProblemCode::Forbidden, "The second person must be an admin.").about("Authorization"),
    }
}
