//! `/ops/v1/channels/{id}/override` and `/ops/v1/overrides`: an operator switches a channel off, holds it on, or lets it run dry; for a while,
//! with a reason.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::super::body;
use super::super::field::Fields;
use super::super::page::{Page, Query};
use super::super::problem::{Problem, ProblemCode};
use super::super::{Api, answers, key, render};
use super::{WORDS, acting, at_switchboard};
use crate::channel::breaker::Mode;
use crate::domain::recurrence::{DAYS, EVERY_DAY, clock_time, day_of, days_in_words, minute_of};
use crate::domain::{OperationClass, OverrideId, Recurrence};
use crate::store::channel_override::{LONGEST, MOST, NewOverride, OverrideRow, PageOfOverrides};

const LIST: &str = "overrides";
/// What a list of overrides may be asked for by.
const STATES: [&str; 3] = ["active", "ended", "all"];

/// `PUT /ops/v1/channels/{id}/override`: from now until `expires_at`, in the place of the one-off that stands for the same operations; or in a
/// window that `recurs`. It holds in this process when this is answered, and within a second in the others.
pub async fn put(request: HttpRequest, payload: web::Payload, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let operator = key::operator(&api, &request).await?;
    Query::of(&request, &[])?;
    let channel = channel(&request, &api)?;
    let body = body::object(&request, payload, api.settings.body_limit, false).await?;
    let new = wanted(&body, channel, api.clock.wall())?;
    let (board, operator) = (api.switchboard.clone(), acting(operator));
    let put = at_switchboard(&api, async move { board.put(&new, &operator).await }).await?;
    let row =
        put.ok_or_else(|| Problem::new(ProblemCode::WrongState, format!("{MOST} overrides stand already, which is as many as may: end some.")))?;
    Ok(answers::json(StatusCode::OK, &shown(&row, api.clock.wall())))
}

/// `DELETE /ops/v1/channels/{id}/override?operation=pay`: ends the one-off of these operations, or with `id` the override of that id.
pub async fn end(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let operator = key::operator(&api, &request).await?;
    let query = Query::of(&request, &["operation", "id", "reason"])?;
    let channel = channel(&request, &api)?;
    let class = query.parsed("operation", &format!("one of {}", classes()), OperationClass::parse)?.unwrap_or(OperationClass::Pay);
    let id: Option<OverrideId> = query.parsed("id", "an override's id, ovr_…", |text| text.parse().ok())?;
    let why = query.words("reason", WORDS)?;
    let (board, operator, asked) = (api.switchboard.clone(), acting(operator), channel.clone());
    let ended = at_switchboard(&api, async move { board.end(&asked, class, id, why.as_deref(), &operator).await }).await?;
    let row = ended.ok_or_else(|| {
        let what = id.map_or_else(|| format!("one-off override of {}", class.as_str()), |id| format!("override {id}"));
        Problem::new(ProblemCode::NotFound, format!("No {what} stands at channel {channel}."))
    })?;
    Ok(answers::json(StatusCode::OK, &shown(&row, api.clock.wall())))
}

/// `GET /ops/v1/overrides`: those that stand (also what recurs, between its windows), newest first; `?state=ended|all` for the others.
pub async fn list(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    key::operator(&api, &request).await?;
    let query = Query::of(&request, &["state", "channel", "cursor", "limit"])?;
    let limit = query.limit()?;
    let state = query.parsed("state", &format!("one of {}", STATES.join(", ")), |text| STATES.iter().find(|state| **state == text).copied())?;
    let standing = match state {
        None | Some("active") => Some(true),
        Some("ended") => Some(false),
        Some(_) => None,
    };
    let page = PageOfOverrides { before: query.cursor(&api.fingerprint_secret, LIST)?, channel: query.name("channel")?, standing, limit: limit + 1 };
    let now = api.clock.wall();
    let rows = api.read(move |store| async move { store.overrides(&page, now).await }).await?;
    let rows = rows.iter().map(|row| (row.id.0, shown(row, now))).collect();
    Ok(answers::json(StatusCode::OK, &Page::of(rows, limit, &api.fingerprint_secret, LIST)))
}

/// The channel in the address.
pub(super) fn channel(request: &HttpRequest, api: &Api) -> Result<String, Problem> {
    let id = request.match_info().get("id").unwrap_or_default();
    if api.channels.known(id) { Ok(id.to_owned()) } else { Err(Problem::new(ProblemCode::NotFound, "This installation has no channel of this id.")) }
}

fn classes() -> String {
    OperationClass::ALL.map(OperationClass::as_str).join(", ")
}

/// What the body asks for, if it may be.
fn wanted(body: &Map<String, Value>, channel: String, now: Timestamp) -> Result<NewOverride, Problem> {
    let fields = Fields::of(body, &["mode", "operation", "reason", "expires_at", "recurs"])?;
    let mode = fields.one_of("mode", &Mode::ALL.map(Mode::as_str), Mode::parse)?.ok_or_else(|| fields.missing("mode"))?;
    let class = fields.one_of("operation", &OperationClass::ALL.map(OperationClass::as_str), OperationClass::parse)?.unwrap_or(OperationClass::Pay);
    let reason = fields.free_text("reason", WORDS)?.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    let reason = reason.ok_or_else(|| fields.missing("reason"))?;
    let recurs = recurs(&fields)?;
    let expires_at = match fields.text("expires_at")? {
        None => None,
        Some(text) => {
            Some(text.parse::<Timestamp>().map_err(|_| fields.wrong("expires_at", "must be an RFC 3339 time such as 2026-11-21T23:01:14Z"))?)
        }
    };
    let out_of_range = |detail: &'static str| Problem::new(ProblemCode::InvalidExpiry, detail).about("expires_at");
    match expires_at {
        None if recurs.is_none() => return Err(fields.missing("expires_at")),
        Some(end) if end <= now => return Err(out_of_range("expires_at is not in the future.")),
        Some(end) if recurs.is_none() && end.duration_since(now) > LONGEST => {
            return Err(out_of_range("expires_at is more than 24 hours away: an override that is still needed then is put again."));
        }
        _ => {}
    }
    // The database keeps microseconds.
    let expires_at = expires_at.map(|end| Timestamp::from_microsecond(end.as_microsecond()).unwrap_or(end));
    Ok(NewOverride { channel, class, mode: mode.as_str(), reason, expires_at, recurs })
}

fn recurs(fields: &Fields<'_>) -> Result<Option<Recurrence>, Problem> {
    let Some(window) = fields.object("recurs", &["from", "until", "zone", "days"])? else { return Ok(None) };
    let minute = |field: &str| {
        let text = window.required_text(field)?;
        minute_of(text).ok_or_else(|| window.wrong(field, "must be a time of the day such as 23:30"))
    };
    let (from, until) = (minute("from")?, minute("until")?);
    let zone = TimeZone::get(window.required_text("zone")?)
        .ok()
        .filter(|zone| zone.iana_name().is_some())
        .ok_or_else(|| window.wrong("zone", "must be a time zone that this machine knows, such as Asia/Shanghai"))?;
    let days = match window.value("days") {
        None => EVERY_DAY,
        Some(Value::Array(names)) => {
            let bits = names.iter().map(|name| name.as_str().and_then(day_of)).try_fold(0, |days, bit| bit.map(|bit| days | bit));
            bits.filter(|days| *days > 0).ok_or_else(|| window.wrong("days", &format!("must be a list of {}", DAYS.join(", "))))?
        }
        Some(_) => return Err(window.wrong("days", &format!("must be a list of {}", DAYS.join(", ")))),
    };
    Recurrence::new(from, until, days, zone)
        .map(Some)
        .map_err(|error| Problem::new(ProblemCode::InvalidRequest, format!("recurs: {error}.")).about("recurs"))
}

fn shown(row: &OverrideRow, now: Timestamp) -> Value {
    let time = |time: Option<Timestamp>| time.map(render::rfc3339);
    let recurs = row.recurs.as_ref().map(|recurs| {
        json!({
            "from": clock_time(recurs.from_minute()), "until": clock_time(recurs.until_minute()), "zone": recurs.zone(),
            "days": days_in_words(recurs.days()), "next_at": time(recurs.next(now).map(|window| window.from)),
        })
    });
    let holds_until = row.holds_until(now);
    let state = match (row.stands(now), holds_until) {
        (false, _) => "ended",
        (true, Some(_)) => "holding",
        (true, None) => "waiting",
    };
    json!({
        "object": "override", "id": row.id.to_string(), "channel": row.channel, "operation": row.class.as_str(), "mode": row.mode, "state": state,
        "author": row.author, "reason": row.reason, "created_at": render::rfc3339(row.created_at), "expires_at": time(row.expires_at),
        "recurs": recurs, "holds_until": time(holds_until), "ended_at": time(row.ended_at), "ended_by": row.ended_by,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(body: &Value) -> Result<NewOverride, (ProblemCode, Option<String>)> {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().expect("a time");
        let body = body.as_object().expect("an object");
        wanted(body, "a".to_owned(), now).map_err(|problem| (problem.code(), problem.param().map(str::to_owned)))
    }

    #[test]
    fn an_override_needs_a_mode_a_reason_and_an_end_within_a_day() {
        let whole = json!({"mode": "drain", "reason": "cut-off", "expires_at": "2026-11-22T12:00:00Z"});
        let asked = ask(&whole).expect("whole");
        assert_eq!((asked.mode, asked.class, asked.reason.as_str()), ("drain", OperationClass::Pay, "cut-off"));
        let wrong = |field: &str, value: Value| {
            let mut body = whole.clone();
            body[field] = value;
            ask(&body).expect_err(field)
        };
        let about = |field: &str| Some(field.to_owned());
        assert_eq!(wrong("mode", Value::Null), (ProblemCode::MissingField, about("mode")));
        assert_eq!(wrong("mode", json!("off")), (ProblemCode::InvalidRequest, about("mode")));
        assert_eq!(wrong("reason", Value::Null), (ProblemCode::MissingField, about("reason")));
        assert_eq!(wrong("reason", json!("  ")), (ProblemCode::MissingField, about("reason")));
        assert_eq!(wrong("expires_at", Value::Null), (ProblemCode::MissingField, about("expires_at")));
        assert_eq!(wrong("expires_at", json!("2026-11-21T12:00:00Z")), (ProblemCode::InvalidExpiry, about("expires_at")));
        assert_eq!(wrong("expires_at", json!("2026-11-22T12:00:00.001Z")), (ProblemCode::InvalidExpiry, about("expires_at")));
        assert_eq!(wrong("expires_at", json!("tomorrow")), (ProblemCode::InvalidRequest, about("expires_at")));
        assert_eq!(wrong("operation", json!("capture")), (ProblemCode::InvalidRequest, about("operation")));
        assert_eq!(wrong("until", json!(1)), (ProblemCode::UnknownField, about("until")));
    }

    #[test]
    fn what_recurs_needs_no_end_but_a_window_in_a_zone() {
        let daily =
            json!({"mode": "drain", "reason": "cut-off", "recurs": {"from": "23:30", "until": "00:30", "zone": "UTC", "days": ["mon", "sun"]}});
        let asked = ask(&daily).expect("whole");
        assert_eq!(asked.recurs.expect("a window").to_string(), "23:30-00:30 on mon,sun UTC");
        let wrong = |field: &str, value: Value| {
            let mut body = daily.clone();
            body["recurs"][field] = value;
            ask(&body).expect_err(field)
        };
        assert_eq!(wrong("from", json!("25:00")), (ProblemCode::InvalidRequest, Some("recurs.from".to_owned())));
        assert_eq!(wrong("zone", json!("Mars/Base")), (ProblemCode::InvalidRequest, Some("recurs.zone".to_owned())));
        assert_eq!(wrong("days", json!([])), (ProblemCode::InvalidRequest, Some("recurs.days".to_owned())));
        assert_eq!(wrong("days", json!(["someday"])), (ProblemCode::InvalidRequest, Some("recurs.days".to_owned())));
        assert_eq!(wrong("until", json!("23:30")), (ProblemCode::InvalidRequest, Some("recurs".to_owned())));
    }
    #[test]
    fn an_override_is_taken_and_shown_as_the_document_says() {
        use crate::http::document::tests::{assert_fields, fields_of};

        let (always, sometimes) = fields_of("PutOverride");
        let asked = json!({"mode": "drain", "operation": "pay", "reason": "cut-off", "expires_at": "2026-11-22T12:00:00Z", "recurs":
            {"from": "23:30", "until": "00:30", "zone": "UTC", "days": ["mon"]}});
        assert_eq!(asked.as_object().expect("an object").keys().cloned().collect::<std::collections::BTreeSet<_>>(), &always | &sometimes);
        let new = ask(&asked).expect("whole");
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().expect("a time");
        let row = OverrideRow {
            id: OverrideId(uuid::Uuid::nil()),
            channel: new.channel,
            class: new.class,
            mode: new.mode.to_owned(),
            author: "os:alice".to_owned(),
            reason: new.reason,
            created_at: now,
            expires_at: new.expires_at,
            recurs: new.recurs,
            ended_at: None,
            ended_by: None,
        };
        let shown = shown(&row, now);
        assert_fields(&shown, "Override");
        assert_eq!((&shown["state"], &shown["recurs"]["next_at"]), (&"waiting".into(), &"2026-11-23T23:30:00.000Z".into()));
    }
}
