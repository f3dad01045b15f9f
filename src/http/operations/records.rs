//! What is on record: providers' messages, and what people did.
//!
//! A provider's message is shown without its body: that holds whatever the provider knows of a customer, and is evidence for whoever may read the
//! database. Its kind, its state, why it was set aside and the payment it is about are what one acts on.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::super::page::{Page, Query};
use super::super::problem::Problem;
use super::super::{Api, answers, key, render};
use crate::store::audit::{AuditRow, PageOfAudit};
use crate::store::notification::{NotificationRow, PageOfNotifications, STATES};

const NOTIFICATIONS: &str = "notifications";
const AUDIT: &str = "audit";
/// Characters of a filter, at most.
pub(in crate::http) const FILTER: usize = 200;

/// `GET /ops/v1/notifications?channel=&state=`: newest first.
pub async fn notifications(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    key::operator(&api, &request).await?;
    let query = Query::of(&request, &["channel", "state", "cursor", "limit"])?;
    let limit = query.limit()?;
    let must = format!("one of {}", STATES.join(", "));
    let state = query.parsed("state", &must, |text| STATES.iter().find(|state| **state == text).copied())?;
    let after = query.cursor(&api.fingerprint_secret, NOTIFICATIONS)?;
    let page = PageOfNotifications { after, channel: query.name("channel")?, state, limit: limit + 1 };
    let rows = api.read(move |store| async move { store.notifications(&page).await }).await?;
    let rows = rows.iter().map(|row| (row.place(), notification(row))).collect();
    Ok(answers::json(StatusCode::OK, &Page::of(rows, limit, &api.fingerprint_secret, NOTIFICATIONS)))
}

/// `GET /ops/v1/audit?who=&act=&subject=&at[gte]=&at[lt]=`: newest first.
pub async fn audit(request: HttpRequest, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    key::operator(&api, &request).await?;
    let query = Query::of(&request, &["who", "act", "subject", "at[gte]", "at[lt]", "cursor", "limit"])?;
    let limit = query.limit()?;
    let exact = |name| query.words(name, FILTER);
    let page = PageOfAudit {
        before: query.cursor(&api.fingerprint_secret, AUDIT)?.map(PageOfAudit::number),
        who: exact("who")?,
        act: exact("act")?,
        subject: exact("subject")?,
        since: query.time("at[gte]")?,
        until: query.time("at[lt]")?,
        limit: limit + 1,
    };
    let rows = api.read(move |store| async move { store.audit(&page).await }).await?;
    let rows = rows.iter().map(|row| (row.place(), act(row))).collect();
    Ok(answers::json(StatusCode::OK, &Page::of(rows, limit, &api.fingerprint_secret, AUDIT)))
}

fn notification(row: &NotificationRow) -> Value {
    json!({
        "object": "notification", "channel": row.channel, "event_id": row.event_id, "type": row.kind, "state": row.state, "note": row.note,
        "payment_id": row.payment.map(|id| id.to_string()), "received_at": render::rfc3339(row.received_at),
        "applied_at": row.applied_at.map(render::rfc3339), "body_bytes": row.body_bytes,
    })
}

fn act(row: &AuditRow) -> Value {
    json!({
        "object": "act", "id": row.id, "at": render::rfc3339(row.at), "who": row.who, "act": row.act, "subject": row.subject, "why": row.why,
        "before": row.before, "after": row.after,
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::http::document::tests::assert_fields;

    #[test]
    fn an_act_is_shown_as_the_document_says() {
        let row = AuditRow {
            id: 1,
            at: Timestamp::UNIX_EPOCH,
            who: "os:alice".to_owned(),
            act: "channel.override".to_owned(),
            subject: "channel:a".to_owned(),
            why: None,
            before: Value::Null,
            after: json!({"mode": "drain"}),
        };
        assert_fields(&act(&row), "Act");
    }
}
