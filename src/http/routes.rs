//! Every address, with the methods it takes. What is not here is a 404, and another method on what is here a 405 with `Allow`: both as problem
//! details.

use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::{Resource, Scope, web};

use super::document::page;
use super::problem::{Problem, ProblemCode};
use super::{Api, alerts, event, notification, observe, operations, payment, refund, webhook};
use crate::domain::{Part, Parts, Role};

/// The templates of all addresses, each with its methods and the code that a method usually answers. The templates are the only values of the
/// metrics' label `route`, beside `unmatched`.
pub const ROUTES: &[(&str, &[(&str, &str)])] = &[
    ("/v1/payments", &[("POST", "201"), ("GET", "200")]),
    ("/v1/payments/{id}", &[("GET", "200")]),
    ("/v1/payments/{id}/capture", &[("POST", "200")]),
    ("/v1/payments/{id}/cancel", &[("POST", "202")]),
    ("/v1/refunds", &[("POST", "201"), ("GET", "200")]),
    ("/v1/refunds/{id}", &[("GET", "200")]),
    ("/v1/events", &[("GET", "200")]),
    ("/v1/events/{id}", &[("GET", "200")]),
    ("/v1/events/{id}/redeliver", &[("POST", "202")]),
    ("/v1/webhook_endpoints", &[("POST", "201"), ("GET", "200")]),
    ("/v1/webhook_endpoints/{id}", &[("GET", "200"), ("PATCH", "200"), ("DELETE", "200")]),
    ("/v1/webhook_endpoints/{id}/rotate_secret", &[("POST", "200")]),
    ("/v1/webhook_endpoints/{id}/deliveries", &[("GET", "200")]),
    ("/v1/webhook_endpoints/{id}/replay", &[("POST", "202")]),
    ("/v1/notifications/{channel}", &[("POST", "200")]),
    ("/livez", &[("GET", "200")]),
    ("/readyz", &[("GET", "200")]),
    ("/version", &[("GET", "200")]),
    ("/openapi.json", &[("GET", "200")]),
    ("/docs", &[("GET", "200")]),
    ("/docs/{file}", &[("GET", "200")]),
    ("/metrics", &[("GET", "200")]),
    ("/ops/v1/channels", &[("GET", "200")]),
    ("/ops/v1/channels/{id}/override", &[("PUT", "200"), ("DELETE", "200")]),
    ("/ops/v1/channels/{id}/timeline", &[("GET", "200")]),
    ("/ops/v1/overrides", &[("GET", "200")]),
    ("/ops/v1/unknowns", &[("GET", "200")]),
    ("/ops/v1/unknowns/requery", &[("POST", "202")]),
    ("/ops/v1/payments/{id}/resolve", &[("POST", "200")]),
    ("/ops/v1/notifications", &[("GET", "200")]),
    ("/ops/v1/audit", &[("GET", "200")]),
    ("/ops/v1/integrity", &[("GET", "200")]),
    ("/ops/v1/alerts", &[("GET", "200")]),
    ("/ops/v1/alerts/{id}/acknowledge", &[("POST", "200")]),
];

/// Which role each operators' route takes at least, method by method. Two things are asked beside it where they are known: an outcome above the
/// set amount needs a second person who is an admin (`router/operator/resolve.rs`), and on a listener of their own the metrics need no token.
pub const OPERATIONS: &[(&str, &str, Role)] = &[
    ("/metrics", "GET", Role::Viewer),
    ("/ops/v1/channels", "GET", Role::Viewer),
    ("/ops/v1/channels/{id}/override", "PUT", Role::Operator),
    ("/ops/v1/channels/{id}/override", "DELETE", Role::Operator),
    ("/ops/v1/channels/{id}/timeline", "GET", Role::Viewer),
    ("/ops/v1/overrides", "GET", Role::Viewer),
    ("/ops/v1/unknowns", "GET", Role::Viewer),
    ("/ops/v1/unknowns/requery", "POST", Role::Operator),
    ("/ops/v1/payments/{id}/resolve", "POST", Role::Operator),
    ("/ops/v1/notifications", "GET", Role::Viewer),
    ("/ops/v1/audit", "GET", Role::Viewer),
    ("/ops/v1/integrity", "GET", Role::Viewer),
    ("/ops/v1/alerts", "GET", Role::Viewer),
    ("/ops/v1/alerts/{id}/acknowledge", "POST", Role::Operator),
];

/// The role that a method of an address takes; `None` when it is in no table.
pub(super) fn role_needed(template: &str, method: &Method) -> Option<Role> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    OPERATIONS.iter().find(|(address, takes, _)| *address == template && *takes == method).map(|(_, _, role)| *role)
}

/// The merchants' and providers' routes, and the operators' too where the settings say so. Register it last: it answers every address.
pub fn routes(config: &mut web::ServiceConfig, api: web::Data<Api>) {
    let (operators, parts) = (api.settings.serve_operations, api.settings.parts);
    let part = |part| parts.have(part);
    let mut scope = with_probes(whole(api))
        .service(on("/v1/payments", "GET, HEAD, POST").route(post(part(Part::Payment), payment::create)).route(get(payment::list)))
        .service(on("/v1/payments/{id}", "GET, HEAD").route(get(payment::read)))
        .service(on("/v1/payments/{id}/capture", "POST").route(post(part(Part::Payment), payment::capture)))
        .service(on("/v1/payments/{id}/cancel", "POST").route(post(part(Part::Payment), payment::cancel)))
        .service(on("/v1/refunds", "GET, HEAD, POST").route(post(part(Part::Refund), refund::create)).route(get(refund::list)))
        .service(on("/v1/refunds/{id}", "GET, HEAD").route(get(refund::read)))
        .service(on("/v1/events", "GET, HEAD").route(get(event::list)))
        .service(on("/v1/events/{id}", "GET, HEAD").route(get(event::read)))
        .service(on("/v1/events/{id}/redeliver", "POST").route(post(part(Part::Notifier), event::redeliver)))
        .service(on("/v1/webhook_endpoints", "GET, HEAD, POST").route(post(part(Part::Notifier), webhook::create)).route(get(webhook::list)))
        .service(
            on("/v1/webhook_endpoints/{id}", "DELETE, GET, HEAD, PATCH")
                .route(get(webhook::read))
                .route(served(web::patch(), part(Part::Notifier), webhook::change))
                .route(served(web::delete(), part(Part::Notifier), webhook::delete)),
        )
        .service(on("/v1/webhook_endpoints/{id}/rotate_secret", "POST").route(post(part(Part::Notifier), webhook::rotate_secret)))
        .service(on("/v1/webhook_endpoints/{id}/deliveries", "GET, HEAD").route(get(webhook::deliveries)))
        .service(on("/v1/webhook_endpoints/{id}/replay", "POST").route(post(part(Part::Notifier), webhook::replay)))
        .service(on("/v1/notifications/{channel}", "POST").route(post(parts.have_one_of(&HEARS), notification::receive)));
    if operators {
        scope = with_operations(scope, parts);
    }
    config.service(scope.wrap(from_fn(observe::observe)));
}

/// The operators' routes alone, for a listener of their own. Register it last: it answers every address.
pub fn operations_routes(config: &mut web::ServiceConfig, api: web::Data<Api>) {
    let parts = api.settings.parts;
    config.service(with_operations(with_probes(whole(api)), parts).app_data(operations::Apart).wrap(from_fn(observe::observe)));
}

fn whole(api: web::Data<Api>) -> Scope {
    web::scope("")
        .app_data(api)
        .default_service(web::to(|| async { Err::<&str, _>(Problem::new(ProblemCode::UnknownRoute, "There is nothing at this address.")) }))
}

fn with_probes(scope: Scope) -> Scope {
    scope
        .service(on("/livez", "GET, HEAD").route(get(operations::livez)))
        .service(on("/readyz", "GET, HEAD").route(get(operations::readyz)))
        .service(on("/version", "GET, HEAD").route(get(operations::version)))
        .service(on("/openapi.json", "GET, HEAD").route(get(page::document)))
        .service(on("/docs", "GET, HEAD").route(get(page::page)))
        .service(on("/docs/{file}", "GET, HEAD").route(get(page::file)))
}

fn with_operations(scope: Scope, parts: Parts) -> Scope {
    let scope = scope.service(on("/metrics", "GET, HEAD").route(get(operations::metrics)));
    if !parts.have(Part::Ops) {
        return scope.service(web::resource("/ops/v1/{rest:.*}").to(elsewhere));
    }
    scope
        .service(on("/ops/v1/channels", "GET, HEAD").route(get(operations::channels)))
        .service(
            on("/ops/v1/channels/{id}/override", "DELETE, PUT")
                .route(web::put().to(operations::overrides::put))
                .route(web::delete().to(operations::overrides::end)),
        )
        .service(on("/ops/v1/channels/{id}/timeline", "GET, HEAD").route(get(operations::timeline::read)))
        .service(on("/ops/v1/overrides", "GET, HEAD").route(get(operations::overrides::list)))
        .service(on("/ops/v1/unknowns", "GET, HEAD").route(get(operations::doubt::list)))
        .service(on("/ops/v1/unknowns/requery", "POST").route(web::post().to(operations::doubt::requery)))
        .service(on("/ops/v1/payments/{id}/resolve", "POST").route(web::post().to(operations::resolve::resolve)))
        .service(on("/ops/v1/notifications", "GET, HEAD").route(get(operations::records::notifications)))
        .service(on("/ops/v1/audit", "GET, HEAD").route(get(operations::records::audit)))
        .service(on("/ops/v1/integrity", "GET, HEAD").route(get(operations::integrity)))
        .service(on("/ops/v1/alerts", "GET, HEAD").route(get(alerts::list)))
        .service(on("/ops/v1/alerts/{id}/acknowledge", "POST").route(web::post().to(alerts::acknowledge)))
}

/// An address, which refuses every method that is not routed with `Allow: methods`.
fn on(template: &'static str, methods: &'static str) -> Resource {
    web::resource(template).default_service(web::to(move || async move {
        Err::<&str, _>(Problem::new(ProblemCode::MethodNotAllowed, format!("This address takes {methods}.")).allowing(methods))
    }))
}

/// The parts of which each takes in what providers tell: all of them change payments.
const HEARS: [Part; 3] = [Part::Payment, Part::Refund, Part::Poller];

/// `POST`, where this process takes on that part of the work.
fn post<H, Args>(here: bool, handler: H) -> actix_web::Route
where
    H: actix_web::Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    H::Output: actix_web::Responder + 'static,
{
    served(web::post(), here, handler)
}

/// A route whose part of the work this process takes on, or does not.
fn served<H, Args>(route: actix_web::Route, here: bool, handler: H) -> actix_web::Route
where
    H: actix_web::Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    H::Output: actix_web::Responder + 'static,
{
    if here { route.to(handler) } else { route.to(elsewhere) }
}

/// Nothing was read, and nothing written: another process is asked with the same key.
async fn elsewhere() -> Result<&'static str, Problem> {
    Err(Problem::new(ProblemCode::RoleNotServed, "This process does not take on this part of the work; another one does."))
}

/// `GET`, and `HEAD`, which is a `GET` whose body the server leaves out (RFC 9110, 9.3.2).
fn get<H, Args>(handler: H) -> actix_web::Route
where
    H: actix_web::Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    H::Output: actix_web::Responder + 'static,
{
    use actix_web::guard;
    web::route().guard(guard::Any(guard::Method(Method::GET)).or(guard::Method(Method::HEAD))).to(handler)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operators_route_has_its_role_and_no_role_is_without_its_route() {
        let routed: Vec<(&str, &str)> = ROUTES
            .iter()
            .filter(|(template, _)| template.starts_with("/ops/") || *template == "/metrics")
            .flat_map(|(template, methods)| methods.iter().map(|(method, _)| (*template, *method)))
            .collect();
        let mut guarded: Vec<(&str, &str)> = OPERATIONS.iter().map(|(template, method, _)| (*template, *method)).collect();
        let mut missing: Vec<_> = routed.iter().filter(|route| !guarded.contains(route)).collect();
        assert!(missing.is_empty(), "without a role: {missing:?}");
        guarded.retain(|route| !routed.contains(route));
        missing.extend(&guarded);
        assert!(missing.is_empty(), "without a route: {missing:?}");
    }

    #[test]
    fn what_acts_is_not_for_viewers() {
        for (template, method, role) in OPERATIONS {
            assert_eq!(*role > Role::Viewer, *method != "GET", "{method} {template}");
        }
    }
}
