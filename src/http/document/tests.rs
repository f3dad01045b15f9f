//! The document against the code: what is routed, what can be refused, what the closed lists hold, what is really written.

use std::collections::BTreeSet;

use actix_web::body::to_bytes;
use actix_web::web;
use serde_json::Value;

use super::*;
use crate::domain::topic::TOPICS;
use crate::domain::{AttemptState, CaptureMethod, FailureCode, Operation, Outcome, PaymentStatus, RefundSource, RefundStatus};
use crate::http::problem::ProblemCode;
use crate::http::routes::ROUTES;
use crate::store::webhook::delivery::DeliveryState;

fn json() -> Value {
    serde_json::from_str(text()).expect("JSON")
}

fn schema(name: &str) -> Value {
    json()["components"]["schemas"][name].clone()
}

/// The fields of a schema: those that are always there, and those that may be left out.
pub(in crate::http) fn fields_of(name: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let schema = schema(name);
    let required: BTreeSet<String> = texts(&schema["required"]).into_iter().collect();
    let all: BTreeSet<String> = schema["properties"].as_object().expect("an object").keys().cloned().collect();
    assert!(required.is_subset(&all), "{name} requires what it does not describe");
    let optional = all.difference(&required).cloned().collect();
    (required, optional)
}

/// Fails unless `written` has exactly the fields that `name` says are always there.
pub(in crate::http) fn assert_fields(written: &Value, name: &str) {
    let keys: BTreeSet<String> = written.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(keys, fields_of(name).0, "{name}");
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().expect("a list").iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

/// The closed list of a schema's field, or of the schema itself.
fn names(schema_name: &str, field: &str) -> Vec<String> {
    let schema = schema(schema_name);
    let place = if field.is_empty() { &schema } else { &schema["properties"][field] };
    texts(&place["enum"])
}

/// Every operation: its template, its method, and what it says.
fn operations() -> Vec<(String, String, Value)> {
    let paths = json()["paths"].as_object().expect("paths").clone();
    let mut found = Vec::new();
    for (template, item) in paths {
        for (method, operation) in item.as_object().expect("an item") {
            found.push((template.clone(), method.to_uppercase(), operation.clone()));
        }
    }
    found
}

/// Every code that an operation says it can refuse with.
fn codes_of(operation: &Value) -> BTreeSet<String> {
    let document = json();
    let mut codes = BTreeSet::new();
    for response in operation["responses"].as_object().expect("responses").values() {
        let problem = &resolve(&document, response)["content"]["application/problem+json"]["schema"];
        if let Some(list) = resolve(&document, problem).pointer("/allOf/1/properties/code/enum") {
            codes.extend(texts(list));
        }
    }
    codes
}

/// What stands there, or what it refers to.
fn resolve<'d>(document: &'d Value, place: &'d Value) -> &'d Value {
    place["$ref"].as_str().map_or(place, |path| document.pointer(path.trim_start_matches('#')).expect("a component"))
}

#[test]
fn every_route_is_in_the_document_and_the_document_has_no_other() {
    let described: BTreeSet<_> = operations().into_iter().map(|(template, method, _)| (template, method)).collect();
    let routed: BTreeSet<_> =
        ROUTES.iter().flat_map(|(template, methods)| methods.iter().map(|(method, _)| ((*template).to_owned(), (*method).to_owned()))).collect();
    let missing: Vec<_> = routed.difference(&described).collect();
    let extra: Vec<_> = described.difference(&routed).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "\nrouted and not described: {missing:?}\ndescribed and not routed: {extra:?}\n\
         A route is described by a `Route` in src/http/document/: merchant.rs, telling.rs or operators.rs (its opening shows one), its body and its \
         answer in schema/. Then: cargo run -- openapi > openapi.json\n"
    );
}

#[test]
fn the_usual_answer_of_every_route_is_described() {
    let operations = operations();
    for (template, methods) in ROUTES {
        for (method, usual) in *methods {
            let found = operations.iter().find(|(path, verb, _)| path == template && verb == method);
            let described = found.is_some_and(|(_, _, operation)| operation["responses"].get(*usual).is_some());
            assert!(described, "{method} {template} usually answers {usual}, and the document does not say so");
        }
    }
}

#[test]
fn every_code_of_a_problem_is_in_the_document_and_some_route_gives_it() {
    let all: Vec<String> = ProblemCode::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(names("Problem", "code"), all);
    // These two are what an address answers that is no operation.
    let mut given: BTreeSet<String> = ["unknown_route", "method_not_allowed"].map(str::to_owned).into();
    for (_, _, operation) in operations() {
        given.extend(codes_of(&operation));
    }
    let never: Vec<_> = all.into_iter().filter(|code| !given.contains(code)).collect();
    assert_eq!(never, Vec::<String>::new(), "no route says that it gives these: add them to the `refuses` of those that do");
}

#[test]
fn every_merchants_route_says_that_it_may_be_asked_too_often() {
    let too_often: BTreeSet<String> = ProblemCode::ALL.iter().filter(|code| code.status() == 429).map(ToString::to_string).collect();
    for (template, method, operation) in operations() {
        let merchants = template.starts_with("/v1/") && !template.starts_with("/v1/notifications");
        assert!(!merchants || codes_of(&operation).is_superset(&too_often), "{method} {template} does not say {too_often:?}");
    }
}

#[test]
fn the_closed_lists_are_those_of_the_domain() {
    let of = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(names("PaymentStatus", ""), of(PaymentStatus::ALL.iter().map(|one| one.as_str()).collect()));
    assert_eq!(names("Outcome", ""), of(Outcome::ALL.iter().map(|one| one.as_str()).collect()));
    assert_eq!(names("CaptureMethod", ""), of(CaptureMethod::ALL.iter().map(|one| one.as_str()).collect()));
    assert_eq!(names("Refund", "status"), of(RefundStatus::ALL.iter().map(|one| one.as_str()).collect()));
    assert_eq!(names("Refund", "source"), of(RefundSource::ALL.iter().map(|one| one.as_str()).collect()));
    assert_eq!(names("Attempt", "state"), of(AttemptState::ALL.iter().map(|one| one.as_str()).collect()));
    assert_eq!(names("Attempt", "operation"), of(Operation::ALL.iter().map(|one| one.as_str()).collect()));
    assert_eq!(names("DeliveryState", ""), of(DeliveryState::ALL.iter().map(|one| one.as_str()).collect()));
    assert_eq!(names("EventType", ""), of(TOPICS.to_vec()));
    for code in names("Failure", "code") {
        let read: Result<FailureCode, _> = serde_json::from_value(Value::String(code.clone()));
        assert!(read.is_ok(), "{code}");
    }
    assert!(names("Currency", "").iter().all(|code| crate::domain::Currency::parse(code).is_some()));
    assert!(names("Currency", "").len() > 150);
}

#[test]
fn every_type_of_event_has_its_webhook() {
    let webhooks = json()["webhooks"].as_object().expect("webhooks").clone();
    let described: BTreeSet<&str> = webhooks.keys().map(String::as_str).collect();
    assert_eq!(described, TOPICS.iter().copied().collect::<BTreeSet<_>>());
    for (topic, item) in &webhooks {
        let body = &item["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"];
        assert_eq!(texts(&body["type"]["enum"]), [topic.as_str()]);
        let subject = if topic.starts_with("refund.") { "Refund" } else { "Payment" };
        assert_eq!(body["data"]["properties"]["object"]["$ref"], format!("#/components/schemas/{subject}"));
        assert_ne!(item["post"]["summary"], "Something happened", "{topic} has no words of its own in telling.rs");
    }
}

#[test]
fn every_field_and_every_operation_is_explained_and_no_id_is_used_twice() {
    let mut ids = BTreeSet::new();
    for (template, method, operation) in operations() {
        assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{method} {template}");
        assert!(ids.insert(operation["operationId"].to_string()), "{method} {template} has the id of another");
        assert!(!operation["responses"].as_object().expect("responses").is_empty());
    }
    let document = json();
    let bodies = bodies(&document);
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        assert!(schema["description"].is_string(), "{name} says nothing of itself");
        let closed = schema["additionalProperties"] == Value::Bool(false);
        assert_eq!(closed, bodies.contains(name), "{name}: a body refuses fields that it does not know, an answer may get more");
    }
}

/// The schemas that bodies have, each way of paying among them.
fn bodies(document: &Value) -> BTreeSet<String> {
    let ways = document["components"]["schemas"]["PaymentMethod"]["oneOf"].as_array().expect("ways of paying").clone();
    let sent = operations().into_iter().map(|(_, _, operation)| operation["requestBody"]["content"]["application/json"]["schema"].clone());
    ways.into_iter().chain(sent).filter_map(|place| place["$ref"].as_str().map(|path| path.replace("#/components/schemas/", ""))).collect()
}

#[test]
fn what_is_committed_is_what_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    // Not assert_eq: nobody wants to read both.
    assert!(
        committed == text(),
        "the API has changed, and openapi.json has not. Renew it, and look at the difference: cargo run -- openapi > openapi.json"
    );
}

#[actix_web::test]
async fn the_page_holds_no_script_and_all_that_it_names_is_served() {
    let answer = page::page().await;
    let policy = answer.headers().get("content-security-policy").expect("a policy").to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let body = to_bytes(answer.into_body()).await.expect("a body");
    let html = String::from_utf8_lossy(&body).into_owned();
    assert!(!html.contains("<style") && !html.contains("style=") && html.matches("<script").count() == html.matches("<script src=\"docs/").count());
    let files: Vec<&str> = html.split('"').filter_map(|text| text.strip_prefix("docs/")).collect();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        let served = page::file(web::Path::from(file.to_owned())).await.expect(file);
        assert!(!to_bytes(served.into_body()).await.expect("a body").is_empty(), "{file}");
    }
    assert_eq!(page::file(web::Path::from("oauth2-redirect.html".to_owned())).await.expect_err("not ours").code(), ProblemCode::NotFound);
}
