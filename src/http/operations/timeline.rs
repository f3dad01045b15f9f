//! `/ops/v1/channels/{id}/timeline`: what happened at a channel just now, as this process saw it.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value, json};

use super::super::page::Query;
use super::super::problem::{Problem, ProblemCode};
use super::super::{Api, answers, key, render};
use super::overrides::channel;
use crate::channel::timeline::{Happened, Happening, SECONDS_KEPT, Second};
use crate::domain::OperationClass;

/// Seconds that are told, unless the request says otherwise.
const USUAL: u32 = 300;

/// `GET /ops/v1/channels/{id}/timeline?seconds=300`: breakers that changed, overrides that began and ended, and counts a second.
pub async fn read(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    key::operator(&api, &request).await?;
    let query = Query::of(&request, &["seconds"])?;
    let channel = channel(&request, &api)?;
    let must = format!("a whole number from 1 to {SECONDS_KEPT}");
    let most = u32::try_from(SECONDS_KEPT).unwrap_or(u32::MAX);
    let seconds = query.parsed("seconds", &must, |text| text.parse().ok().filter(|seconds| (1..=most).contains(seconds)))?.unwrap_or(USUAL);
    let excerpt = api.switchboard.timeline(&channel, seconds);
    let excerpt = excerpt.ok_or_else(|| Problem::new(ProblemCode::NotFound, "This installation has no channel of this id."))?;
    let answer = json!({
        "object": "timeline", "channel": channel, "seconds": seconds, "until": render::rfc3339(api.clock.wall()),
        "events": excerpt.happened.iter().map(happening).collect::<Vec<_>>(),
        "counts": excerpt.seconds.iter().map(counts).collect::<Vec<_>>(),
    });
    Ok(answers::json(StatusCode::OK, &answer))
}

fn happening(happened: &Happened) -> Value {
    let (at, operation) = (render::rfc3339(happened.at), happened.class.as_str());
    match &happened.what {
        Happening::Changed(transition) => json!({
            "at": at, "type": "breaker", "operation": operation, "from": transition.from.as_str(), "to": transition.to.as_str(),
            "reason": transition.reason.as_str(), "epoch": transition.epoch,
        }),
        Happening::OverrideBegan { mode, author, reason, until } => json!({
            "at": at, "type": "override_began", "operation": operation, "mode": mode.as_str(), "author": author, "reason": reason,
            "until": render::rfc3339(*until),
        }),
        Happening::OverrideEnded { mode } => json!({"at": at, "type": "override_ended", "operation": operation, "mode": mode.as_str()}),
    }
}

fn counts(second: &Second) -> Value {
    let mut row = Map::new();
    row.insert("at".to_owned(), json!(render::rfc3339(second.at)));
    for (class, counts) in OperationClass::ALL.into_iter().zip(second.classes) {
        let told = json!({
            "admitted": counts.admitted, "ended": counts.recorded, "failed": counts.failed, "rejected": counts.rejected,
            "in_flight": counts.in_flight, "state": counts.state.as_str(),
        });
        row.insert(class.as_str().to_owned(), told);
    }
    Value::Object(row)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;

    use super::*;
    use crate::channel::breaker::{Mode, Reason, State, Transition};
    use crate::channel::timeline::Counts;
    use crate::clock::Moment;
    use crate::http::document::tests::{assert_fields, fields_of};

    #[test]
    fn what_happened_is_shown_as_the_document_says() {
        let at = Timestamp::UNIX_EPOCH;
        let transition = Transition { from: State::Closed, to: State::Open, reason: Reason::Failures, epoch: 2, at: Moment::from_nanos(0) };
        let happenings = [
            Happening::Changed(transition),
            Happening::OverrideBegan { mode: Mode::Drain, author: "os:alice".to_owned(), reason: "cut-off".to_owned(), until: at },
            Happening::OverrideEnded { mode: Mode::Drain },
        ];
        let (always, sometimes) = fields_of("Happening");
        let mut seen = BTreeSet::new();
        for what in happenings {
            let shown = happening(&Happened { at, class: OperationClass::Pay, what });
            let keys: BTreeSet<String> = shown.as_object().expect("an object").keys().cloned().collect();
            assert!(keys.is_superset(&always), "{shown}");
            seen.extend(keys);
        }
        assert_eq!(seen, &always | &sometimes);
        let second = counts(&Second { at, classes: [Counts::none(State::Closed); 3] });
        assert_fields(&second, "Second");
        assert_fields(&second["pay"], "ClassCounts");
    }
}
