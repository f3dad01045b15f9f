//! The API's document: OpenAPI 3.1, of everything that this version serves, in a merchant's words. It is served at `/openapi.json`, shown at
//! `/docs`, printed by `breakwater openapi`, and committed as `openapi.json`, so that a change of the API is a change that a reviewer sees.
//!
//! It is written beside the handlers and not in their attributes, because a handler is a script to be read and this is a text to be read; what
//! keeps the two together are tests. `tests.rs` compares it with `ROUTES`, with the closed lists of codes, types and states (which it takes from
//! the domain, so that they cannot drift), and with what is really rendered; `.ci/openapi` has other people's software judge the document and
//! the running server by it.
//!
//! Where to put a new route: a [`route::Route`] into `merchant.rs`, `telling.rs` or `operators.rs`; its body and its answer into `schema/`; then
//! `cargo run -- openapi > openapi.json`.
//!
//! There is one document, with the operators' routes in it under a tag of their own, whichever listener serves it: a document that says less
//! hides nothing that matters, since every one of those routes wants a token.

mod answer;
mod merchant;
mod operators;
pub mod page;
mod route;
mod schema;
mod shape;
mod telling;

use std::sync::OnceLock;

use utoipa::openapi::path::{PathItem, Paths, PathsBuilder};
use utoipa::openapi::schema::Components;
use utoipa::openapi::security::{Http, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::{Tag, TagBuilder};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder, Server, ServerBuilder};

const PAYMENTS: &str = "Payments";
const REFUNDS: &str = "Refunds";
const EVENTS: &str = "Events";
const ENDPOINTS: &str = "Webhooks";
const PROVIDERS: &str = "Providers";
const OPERATIONS: &str = "Operations";
const PROBES: &str = "Probes";

const ABOUT: &str = "Breakwater carries payments and refunds over third-party payment channels that fail, stall and lie; nobody is charged twice, and no \
    payment is lost.\n\n\
    **Authenticate** with `Authorization: Bearer bwk_test_…`, or with the key as the user of HTTP Basic. **Amounts** are whole minor units. \
    **Times** are RFC 3339. Every POST that moves money needs an `Idempotency-Key`: send it again with the same key whenever you are in doubt, \
    and it is never carried out twice. A field or parameter that is not known is refused by name, and so is a parameter that is empty.\n\n\
    **Status codes** are about the call, not about the money: a declined payment is 201 with its `failure`; 202 means that the end is not known \
    yet. Whatever is not a success is `application/problem+json` with a `code` from one closed list. An address that does not exist is 404 \
    `unknown_route`, another method on one that does is 405 `method_not_allowed` with `Allow`. `HEAD` is taken wherever `GET` is.";

/// The document.
pub fn document() -> OpenApi {
    let info = InfoBuilder::new().title("Breakwater").version(env!("CARGO_PKG_VERSION")).description(Some(ABOUT));
    let mut components = schema::describe(answer::describe(security(Components::new())));
    let paths = paths(&mut components);
    OpenApiBuilder::new()
        .info(info.build())
        .servers(Some(servers()))
        .paths(paths)
        .webhooks(Some(telling::webhooks()))
        .components(Some(components))
        .tags(Some(tags()))
        .build()
}

/// The document as it is served, printed and committed: JSON, indented, with a newline at its end. Made once.
pub fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        // Strings, numbers and lists under string keys: this cannot fail, and if it did, an empty text would fail the test that compares it.
        let mut text = document().to_pretty_json().unwrap_or_default();
        text.push('\n');
        text
    })
}

fn paths(components: &mut Components) -> Paths {
    let routes = merchant::routes().into_iter().chain(telling::routes()).chain(operators::routes());
    let mut paths = PathsBuilder::new();
    for route in routes {
        let (template, method, operation) = route.operation(components);
        // The same address again adds its method to it.
        paths = paths.path(template, PathItem::new(method, operation));
    }
    paths.build()
}

fn servers() -> [Server; 2] {
    [
        ServerBuilder::new().url("/").description(Some("The installation that serves this document")).build(),
        ServerBuilder::new().url("http://127.0.0.1:8080").description(Some("`breakwater demo`, on your own machine")).build(),
    ]
}

fn security(mut components: Components) -> Components {
    let key: Http = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("bwk_test_… or bwk_live_…")
        .description(Some("A merchant's API key. `bwk_test_` keys move no real money; each key sees one merchant in one mode."))
        .build();
    let user: Http = HttpBuilder::new()
        .scheme(HttpAuthScheme::Basic)
        .description(Some("The same key as the user name, with any password or none: `curl -u KEY:`."))
        .build();
    let operator: Http = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("bwo_…")
        .description(Some("An operator's token, of role viewer, operator or admin."))
        .build();
    for (name, scheme) in [("merchantKey", key), ("merchantKeyAsUser", user), ("operatorToken", operator)] {
        components.security_schemes.insert(name.to_owned(), SecurityScheme::Http(scheme).into());
    }
    components
}

fn tags() -> [Tag; 7] {
    [
        (PAYMENTS, "Take money."),
        (REFUNDS, "Give money back."),
        (EVENTS, "What happened."),
        (ENDPOINTS, "Where you are told, and what you are told: see the webhooks below."),
        (PROVIDERS, "What payment channels call. Not for merchants."),
        (OPERATIONS, "For those who run the installation, on a listener of their own unless the settings say otherwise (the demo's do)."),
        (PROBES, "For machines that look after it, and for this page."),
    ]
    .map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build())
}

#[cfg(test)]
pub(super) mod tests;
