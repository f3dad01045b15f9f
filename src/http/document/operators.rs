//! The routes of those who run the installation, of providers, and of probes.
//!
//! A new route under `/ops/v1` belongs into one of the lists below, and its schemas into `schema/`:
//!
//! ```text
//! operator(Route::get("/ops/v1/tides", "listTides", "List the tides, newest first"))
//!     .about("When the water rose, and how far.")
//!     .pages()
//!     .answers(200, "A page.", "TideList"),
//! ```

use serde_json::json;
use utoipa::openapi::path::HttpMethod;

use super::answer;
use super::merchant::payment_id;
use super::route::{Caller, Route};
use super::shape::{self, Shape};
use super::{OPERATIONS, PROBES, PROVIDERS};
use crate::channel::timeline::SECONDS_KEPT;
use crate::domain::{OperationClass, OverrideId};
use crate::http::operations::WORDS;
use crate::http::operations::records::FILTER;
use crate::http::problem::ProblemCode as Code;
use crate::store::notification::STATES;

/// The routes, in the order in which they are shown.
pub fn routes() -> Vec<Route> {
    let mut routes = vec![notifications()];
    routes.extend(probes());
    routes.extend(operations());
    routes.extend(switching());
    routes.extend(doubt());
    routes.extend(records());
    routes
}

fn operations() -> Vec<Route> {
    vec![
        Route::get("/metrics", "readMetrics", "Read the metrics")
            .for_caller(Caller::Operator, OPERATIONS)
            .about("As Prometheus reads them. On the operators' own listener no token is needed.")
            .answers_with(200, answer::plain("Metrics in Prometheus' text form.", "text/plain")),
        operator(Route::get("/ops/v1/channels", "listChannels", "List the channels"))
            .about("Every channel with its health, its breakers and its override, as this process sees them now.")
            .answers(200, "All channels, in the order of the settings.", "ChannelList"),
        operator(Route::get("/ops/v1/integrity", "checkIntegrity", "Check the books"))
            .about("Sums, ceilings, every success has its attempt, events have no gap: over all payments, in one snapshot.")
            .answers(200, "The books hold.", "Integrity")
            .refuses(&[Code::BooksDoNotHold]),
        operator(Route::get("/ops/v1/alerts", "listAlerts", "List the newest alerts"))
            .about("The newest hundred, newest first, each with what was sent about it to whom, and with what result.")
            .answers(200, "The alerts.", "AlertList"),
        operator(Route::post("/ops/v1/alerts/{id}/acknowledge", "acknowledgeAlert", "Say that you look after an alert"))
            .about("Nobody is woken for it any more. Said again it changes nothing: who was first stays. A viewer may not.")
            .path("id", "The alert.", shape::uuid("An alert's id."))
            .answers(200, "The alert.", "Alert"),
    ]
}

fn switching() -> Vec<Route> {
    const OF: &str = "/ops/v1/channels/{id}/override";
    let at_channel = |route: Route| operator(route).path("id", "The channel.", channel_id());
    let classes = || shape::one_of("A class of operations.", OperationClass::ALL.map(OperationClass::as_str));
    vec![
        at_channel(Route::new(HttpMethod::Put, OF, "putOverride", "Switch a channel off, hold it on, or let it run dry"))
            .about(
                "Until `expires_at`, at most 24 hours away; or in a window that `recurs`. A one-off takes the place of the one that stands for the same \
                 operations. It holds in the process that answers at once, in the others within a second. Needs the role operator.",
            )
            .body(
                "PutOverride",
                &[
                    (
                        "Off for a while",
                        json!({"mode": "forced_open", "operation": "pay", "reason": "The bank asked us to.", "expires_at": "2026-11-22T03:17:46Z"}),
                    ),
                    (
                        "A bank's night",
                        json!({"mode": "drain", "reason": "The bank closes its books.",
                            "recurs": {"from": "23:30", "until": "00:30", "zone": "Asia/Shanghai", "days": ["mon", "tue"]}}),
                    ),
                ],
            )
            .answers(200, "The override.", "Override")
            .refuses(&[Code::MissingField, Code::WrongState, Code::InvalidExpiry, Code::CardNumberRefused]),
        at_channel(Route::new(HttpMethod::Delete, OF, "endOverride", "End an override"))
            .about("The one-off of these operations, or with the parameter `id` the override of that id, which may recur. Needs the role operator.")
            .query("operation", "Whose one-off ends: `pay` when left out.", classes())
            .query("id", "The override that ends.", shape::id("An override's id.", OverrideId::PREFIX))
            .query("reason", "Why, for the audit.", shape::filter_text("Why.", WORDS))
            .answers(200, "The override, as it ended.", "Override"),
        operator(Route::get("/ops/v1/overrides", "listOverrides", "List overrides, newest first"))
            .about("Those that stand, also what recurs and waits for its window; or those that have ended.")
            .query("state", "Which: `active` when left out.", shape::one_of("A state.", ["active", "ended", "all"]))
            .query("channel", "Only those of this channel.", channel_id())
            .pages()
            .answers(200, "A page.", "OverrideList"),
        at_channel(Route::get("/ops/v1/channels/{id}/timeline", "readTimeline", "See what happened at a channel just now"))
            .about("Breakers that changed, overrides that began and ended, and counts a second, as this very process saw them.")
            .query("seconds", "How far back.", shape::between("Seconds.", 1, i64::try_from(SECONDS_KEPT).unwrap_or(i64::MAX), 300))
            .answers(200, "What happened.", "Timeline"),
    ]
}

fn doubt() -> Vec<Route> {
    vec![
        operator(Route::get("/ops/v1/unknowns", "listUnknowns", "See what is in doubt, and how much money that is"))
            .about("Every payment with an attempt whose outcome is not known, oldest first; and the sums over all of them, whatever the page.")
            .query("channel", "Only what is in doubt at this channel.", channel_id())
            .pages()
            .answers(200, "A page, and the sums.", "UnknownList"),
        operator(Route::post("/ops/v1/unknowns/requery", "requeryUnknowns", "Have the channels asked again now"))
            .about(
                "What is open and fits all that is said becomes due at once, and is asked after as fast as the channel's share for that allows. At least \
                 one of `payment_ids`, `channel` and `since` must be said. Needs the role operator.",
            )
            .body(
                "Requery",
                &[
                    ("A channel is back", json!({"channel": "stripe_main", "since": "2026-11-22T02:00:00Z", "reason": "The channel is back."})),
                    ("Some payments", json!({"payment_ids": ["pay_01a2010b98b57bbf9175066f4f7a9dc6"]})),
                ],
            )
            .answers(202, "How many attempts are due now.", "RequeryQueued")
            .refuses(&[Code::MissingField, Code::UnknownChannel, Code::CardNumberRefused, Code::Overloaded]),
        operator(Route::post("/ops/v1/payments/{id}/resolve", "resolvePayment", "Say what an outcome was that no channel will tell"))
            .about(
                "Only an outcome that is unknown can be resolved, and what a channel says later is compared with it. Above the amount that the settings \
                 let one person resolve alone, it waits for a second person, an admin, to say the same. A channel that is not in the settings any more \
                 is no hindrance, unless what follows from the word depends on its contract. Needs the role operator.",
            )
            .path("id", "The payment.", payment_id())
            .body(
                "Resolve",
                &[
                    (
                        "It was paid",
                        json!({"outcome": "approved", "note": "It is on the bank's statement.", "evidence": "Statement of 22 November, line 17",
                            "channel_reference": "pi_c4T86RoCeWsM8Wk5zCDdR5"}),
                    ),
                    (
                        "It never arrived",
                        json!({"outcome": "not_found", "note": "The bank has no such order.", "evidence": "Mail of the bank, ticket 4711", "attempt": 1}),
                    ),
                ],
            )
            .answers(200, "It is resolved.", "Resolution")
            .answers(202, "It is kept until a second person says the same.", "Proposal")
            .refuses(&[Code::MissingField, Code::WrongState, Code::ChannelNotConfigured, Code::CardNumberRefused, Code::Overloaded]),
    ]
}

fn records() -> Vec<Route> {
    let exactly = |about: &str| shape::filter_text(about, FILTER);
    vec![
        operator(Route::get("/ops/v1/notifications", "listNotifications", "List what providers told, newest first"))
            .about("What came and was believed, with what was made of it; without the messages themselves.")
            .query("channel", "Only those for this channel.", channel_id())
            .query("state", "Only those in this state.", shape::one_of("A state.", STATES))
            .pages()
            .answers(200, "A page.", "NotificationList"),
        operator(Route::get("/ops/v1/audit", "listAudit", "List what people did, newest first"))
            .about("Who did what, when and why, with what was before and after: here and on the command line.")
            .query("who", "Only acts of this person.", exactly("`operator:NAME` or `os:NAME`."))
            .query("act", "Only acts of this kind.", exactly("An act's name."))
            .query("subject", "Only acts on this.", exactly("`channel:ID`, `payment:ID` and the like."))
            .query("at[gte]", "Done at that time or later.", shape::time("Done at that time or later."))
            .query("at[lt]", "Done earlier than that.", shape::time("Done earlier than that."))
            .pages()
            .answers(200, "A page.", "AuditList"),
    ]
}

fn channel_id() -> Shape {
    shape::visible("A channel's id.", 64, "stripe_main")
}

fn operator(route: Route) -> Route {
    route.for_caller(Caller::Operator, OPERATIONS).refuses(&[Code::UnknownParameter, Code::InvalidRequest])
}

fn notifications() -> Route {
    Route::post("/v1/notifications/{channel}", "notify", "Take in what a provider tells")
        .for_caller(Caller::Provider, PROVIDERS)
        .about(
            "For providers, not for merchants. The message is believed for its signature alone, stored before it is answered, and applied once; the \
             answer is the provider's own form of acknowledgement.",
        )
        .path("channel", "The channel's id in the settings.", channel_id())
        .raw_body("The provider's message, in the provider's own form.")
        .answers_with(200, answer::acknowledgement())
        .refuses(&[Code::NotificationRefused])
}

fn probes() -> Vec<Route> {
    vec![
        probe(Route::get("/livez", "isAlive", "Ask whether the process runs")).answers(200, "It runs, and its event loop turns.", "Alive"),
        probe(Route::get("/readyz", "isReady", "Ask whether the process wants traffic"))
            .about("Asks nobody: it is answered at once, above all when the database is slow.")
            .answers(200, "It wants traffic.", "Ready")
            .refuses(&[Code::NotReady]),
        probe(Route::get("/version", "readVersion", "Ask which version runs")).answers(200, "Name, version and revision.", "Version"),
        probe(Route::get("/openapi.json", "readDocument", "Read this document")).answers(
            200,
            "The OpenAPI document of this very version.",
            "Document",
        ),
        probe(Route::get("/docs", "readDocs", "Read this document as a page"))
            .about("A page for people, with all that it needs: nothing is loaded from elsewhere.")
            .answers_with(200, answer::plain("A page.", "text/html")),
        probe(Route::get("/docs/{file}", "readDocsFile", "Read a file of the page"))
            .path("file", "The file's name.", shape::pattern("A file's name.", "^[A-Za-z0-9.-]{1,64}$", "swagger-ui.css"))
            .answers_with(200, answer::page_file()),
    ]
}

fn probe(route: Route) -> Route {
    route.for_caller(Caller::Anybody, PROBES)
}
