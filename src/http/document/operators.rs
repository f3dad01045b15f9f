//! The routes of those who run the installation, of providers, and of probes.
//!
//! A new route under `/ops/v1` belongs into [`routes`], in the order of `routes.rs`, and its answer's schema into `schema/operations.rs`:
//!
//! ```text
//! operator(Route::get("/ops/v1/audit", "listAudit", "List what operators did, newest first"))
//!     .about("Who did what, when and why, with what was before and after.")
//!     .pages()
//!     .answers(200, "A page.", "AuditList"),
//! ```

use super::answer;
use super::route::{Caller, Route};
use super::shape;
use super::{OPERATIONS, PROBES, PROVIDERS};
use crate::http::problem::ProblemCode as Code;

/// The routes, in the order in which they are shown.
pub fn routes() -> Vec<Route> {
    let mut routes = vec![notifications()];
    routes.extend(probes());
    routes.extend(operations());
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
        operator(Route::get("/ops/v1/unknowns", "listUnknowns", "See how much money is in doubt"))
            .about("By channel and operation: how many attempts have an unknown outcome, since when, and over how much.")
            .answers(200, "All that is in doubt.", "UnknownList"),
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
            .answers(200, "The alert.", "Alert")
            .refuses(&[Code::Forbidden]),
    ]
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
        .path("channel", "The channel's id in the settings.", shape::visible("A channel's id.", 64, "stripe_main"))
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
