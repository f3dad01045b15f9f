//! What comes back: the headers, and for each status of a refusal the codes that the route can give with it.

use std::collections::BTreeMap;

use utoipa::openapi::header::Header;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{AllOfBuilder, Components, ObjectBuilder};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Ref, RefOr, Response, Type};

use super::shape::{self, Record, Shape, every, named};
use crate::domain::RequestId;
use crate::http::problem::{Problem, ProblemCode, ProblemSource, Retry};

/// A header that answers carry, by its name in `components`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    RequestId,
    Overhead,
    Replayed,
    RateLimit,
    RateLimitPolicy,
    RetryAfter,
    Authenticate,
    PreferenceApplied,
}

impl Mark {
    const ALL: [Self; 8] = [
        Self::RequestId,
        Self::Overhead,
        Self::Replayed,
        Self::RateLimit,
        Self::RateLimitPolicy,
        Self::RetryAfter,
        Self::Authenticate,
        Self::PreferenceApplied,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::RequestId => "Request-Id",
            Self::Overhead => "Breakwater-Overhead-Us",
            Self::Replayed => "Idempotent-Replayed",
            Self::RateLimit => "RateLimit",
            Self::RateLimitPolicy => "RateLimit-Policy",
            Self::RetryAfter => "Retry-After",
            Self::Authenticate => "WWW-Authenticate",
            Self::PreferenceApplied => "Preference-Applied",
        }
    }

    fn header(self) -> Header {
        let (about, shape) = match self {
            Self::RequestId => {
                let about = "The request's id. It is in our log too: name it when you ask us about a request.";
                (about, shape::id(about, RequestId::PREFIX))
            }
            Self::Overhead => {
                let about = "How much of the answer's time was Breakwater's own and not the channel's, in microseconds.";
                (about, shape::whole(about, 0))
            }
            Self::Replayed => {
                let about = "There when this key was used before: nothing new was done, and the answer is what has become of it by now.";
                (about, shape::one_of(about, ["true"]))
            }
            Self::RateLimit => {
                let about = "What is left of your limit, and in how many seconds it is whole again (draft-ietf-httpapi-ratelimit-headers).";
                (about, shape::text(about))
            }
            Self::RateLimitPolicy => {
                let about = "Your limit: how many requests in how many seconds.";
                (about, shape::text(about))
            }
            Self::RetryAfter => {
                let about = "In how many seconds to ask again.";
                (about, shape::whole(about, 1))
            }
            Self::PreferenceApplied => {
                let about = "How long it was ready to wait, when `Prefer` asked for it: `wait=N`, cut to the longest that is possible.";
                (about, shape::pattern(about, "^wait=[0-9]+$", "wait=5"))
            }
            Self::Authenticate => {
                let about = "How to authenticate (RFC 9110, 11.6.1).";
                (about, shape::text(about))
            }
        };
        HeaderBuilder::new().schema(Some(shape)).description(Some(about)).build()
    }

    /// Hangs the header on a response.
    pub fn on(self, response: ResponseBuilder) -> ResponseBuilder {
        response.header_ref(self.name(), Ref::new(format!("#/components/headers/{}", self.name())))
    }
}

/// Codes of a response that has a name of its own, at most: the name is made of them.
const COMMON: usize = 3;

/// Adds the headers and the problem, which every route's answers share.
pub fn describe(mut components: Components) -> Components {
    for mark in Mark::ALL {
        components.headers.insert(mark.name().to_owned(), mark.header().into());
    }
    components.schemas.insert("Problem".to_owned(), problem());
    components
}

fn problem() -> Shape {
    let about = "What is wrong with a call (RFC 9457). `code` is from a closed list, and never changes its meaning; the sentences are for people and may change.";
    let sample: RequestId = RequestId(uuid::Uuid::from_u128(0x01a2_0104_cc99_7a29_8007_2f69_77ea_9015));
    let example =
        Problem::new(ProblemCode::IdempotencyKeyReused, "Key try-1 stands for another request, about pay_01a20104cc5370dcb52fb7a70a86ccd7.")
            .about("Idempotency-Key")
            .existing("pay_01a20104cc5370dcb52fb7a70a86ccd7")
            .answering(sample, "https://breakwater.example");
    Record::of(about)
        .must(
            "type",
            shape::pattern("The code again, as an address that ends in it.", "/errors/[a-z_]+$", "https://breakwater.example/errors/not_found"),
        )
        .must("title", shape::text("The code in words."))
        .must("status", status())
        .must("code", shape::one_of("What is wrong: branch on this.", ProblemCode::ALL.iter().map(|code| code.as_str())))
        .must("detail", shape::text("What is wrong with this very call, in a sentence."))
        .must("param", shape::or_null(shape::text("The field, header or query parameter that it is about.")))
        .must(
            "source",
            shape::one_of_values(
                "Whose fault it is: the request's, ours, the third party's, or the one's who pays.",
                &every!(ProblemSource: Client, Breakwater, Channel, Customer),
            ),
        )
        .must(
            "retry",
            shape::one_of_values(
                "What to do: `never` (the same will never succeed), `same_key` (send it again with the same Idempotency-Key), `after` (wait for \
                 Retry-After, then send it again), `query` (read the object: its state decides).",
                &every!(Retry: Never, SameKey, After, Query),
            ),
        )
        .must("request_id", shape::or_null(shape::id("The request's id.", RequestId::PREFIX)))
        .must("existing", shape::or_null(shape::text("The id of what exists already.")))
        .may("reasons", shape::list("With `not_ready`: why not.", shape::text("A reason.")))
        .may("differences", shape::list("With `books_do_not_hold`: where they do not.", named("Difference")))
        .example(serde_json::from_slice(&example.json()).unwrap_or_default())
        .open()
}

fn status() -> Shape {
    ObjectBuilder::new().schema_type(Type::Integer).description(Some("The HTTP status.")).minimum(Some(400)).maximum(Some(599)).into()
}

/// The responses of a route that refuses with these codes: one a status, each with exactly the codes that it can have. Those that many routes
/// have in common stand among the components, once.
pub fn refusals(codes: &[ProblemCode], components: &mut Components) -> Vec<(String, RefOr<Response>)> {
    let mut by_status: BTreeMap<u16, Vec<ProblemCode>> = BTreeMap::new();
    for code in codes {
        let same = by_status.entry(code.status()).or_default();
        if !same.contains(code) {
            same.push(*code);
        }
    }
    let mut refusals = Vec::with_capacity(by_status.len());
    for (status, mut codes) in by_status {
        codes.sort_unstable_by_key(|code| code.as_str());
        let told = if codes.len() <= COMMON {
            let name = name_of(&codes);
            let reference = Ref::from_response_name(&name);
            let schema = format!("{name}Problem");
            let response = refusal(status, &codes, named(&schema));
            components.schemas.insert(schema, narrowed(&codes));
            components.responses.insert(name, response.into());
            reference.into()
        } else {
            refusal(status, &codes, narrowed(&codes)).into()
        };
        refusals.push((status.to_string(), told));
    }
    refusals
}

/// `InternalFault`, `DatabaseUnavailableOrOverloaded`.
fn name_of(codes: &[ProblemCode]) -> String {
    let names: Vec<String> = codes.iter().map(|code| format!("{code:?}")).collect();
    names.join("Or")
}

/// A problem that can have only these codes.
fn narrowed(codes: &[ProblemCode]) -> Shape {
    let code = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("code", shape::one_of("What is wrong.", codes.iter().map(|code| code.as_str())))
        .required("code");
    let about: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
    AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(code).description(Some(format!("A problem: {}.", about.join(", ")))).into()
}

fn refusal(status: u16, codes: &[ProblemCode], schema: Shape) -> Response {
    let about: Vec<String> = codes.iter().map(|code| format!("`{code}`: {}.", code.title())).collect();
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let mut response = Mark::RequestId.on(ResponseBuilder::new().description(about.join("\n")).content("application/problem+json", content));
    if status == 401 {
        response = Mark::Authenticate.on(response);
    }
    if status == 503 || codes.iter().any(|code| code.retry() == Retry::After) {
        response = Mark::RetryAfter.on(response);
    }
    if status == 429 {
        response = Mark::RateLimitPolicy.on(Mark::RateLimit.on(response));
    }
    response.build()
}

/// An object as an answer.
pub fn object(about: &str, schema: &str) -> ResponseBuilder {
    let content = ContentBuilder::new().schema(Some(named(schema))).build();
    Mark::RequestId.on(ResponseBuilder::new().description(about).content("application/json", content))
}

/// A text as an answer.
pub fn plain(about: &str, kind: &str) -> ResponseBuilder {
    let content = ContentBuilder::new().schema(Some(shape::text(about))).build();
    Mark::RequestId.on(ResponseBuilder::new().description(about).content(kind, content))
}

/// What a provider is told: that we have it, in its own form.
pub fn acknowledgement() -> ResponseBuilder {
    let about = "We have it: the provider need not send it again.";
    let json = ContentBuilder::new().schema(Some(shape::anything(about))).build();
    let text = ContentBuilder::new().schema(Some(shape::text(about))).build();
    Mark::RequestId.on(ResponseBuilder::new().description(about).content("application/json", json).content("text/plain", text))
}

/// A file of the documentation's page.
pub fn page_file() -> ResponseBuilder {
    let content = || ContentBuilder::new().schema(Some(shape::text("The file."))).build();
    let kinds = ["text/javascript", "text/css", "image/png"];
    kinds.iter().fold(Mark::RequestId.on(ResponseBuilder::new().description("The file.")), |response, kind| response.content(*kind, content()))
}
