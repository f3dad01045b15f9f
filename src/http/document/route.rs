//! One route as the document tells it: who may call it, what it takes, what it answers. What all routes of one kind share is added here, so
//! that a route's own description holds only what is its own.

use serde_json::Value;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::Components;
use utoipa::openapi::{ContentBuilder, Required, SecurityRequirement};

use super::answer::{self, Mark};
use super::shape::{self, Shape, named};
use crate::http::problem::ProblemCode as Code;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A merchant, by an API key.
    Merchant,
    /// A provider, whose message is signed.
    Provider,
    /// An operator, by a token.
    Operator,
    /// Anybody.
    Anybody,
}

/// A route under description.
pub struct Route {
    /// The address.
    pub template: &'static str,
    /// The method.
    pub method: HttpMethod,
    caller: Caller,
    moves_money: bool,
    may_wait: bool,
    operation: OperationBuilder,
    successes: Vec<(u16, ResponseBuilder)>,
    refusals: Vec<Code>,
}

impl Route {
    /// A route with its operation's id (what a generated client calls it) and its one line.
    pub fn new(method: HttpMethod, template: &'static str, id: &str, summary: &str) -> Self {
        let operation = OperationBuilder::new().operation_id(Some(id)).summary(Some(summary));
        Self {
            template,
            method,
            caller: Caller::Anybody,
            moves_money: false,
            may_wait: false,
            operation,
            successes: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// A GET.
    pub fn get(template: &'static str, id: &str, summary: &str) -> Self {
        Self::new(HttpMethod::Get, template, id, summary)
    }

    /// A POST.
    pub fn post(template: &'static str, id: &str, summary: &str) -> Self {
        Self::new(HttpMethod::Post, template, id, summary)
    }

    /// What it does, in Markdown.
    pub fn about(mut self, about: &str) -> Self {
        self.operation = self.operation.description(Some(about));
        self
    }

    /// Who may call it, and the tag under which it is shown.
    pub fn for_caller(mut self, caller: Caller, tag: &str) -> Self {
        self.caller = caller;
        self.operation = self.operation.tag(tag);
        let schemes: &[&str] = match caller {
            Caller::Merchant => &["merchantKey", "merchantKeyAsUser"],
            Caller::Operator => &["operatorToken"],
            Caller::Provider | Caller::Anybody => &[],
        };
        let securities = schemes.iter().map(|scheme| SecurityRequirement::new(*scheme, Vec::<String>::new()));
        self.operation = self.operation.securities(Some(securities));
        if caller != Caller::Anybody {
            // Whatever is said to a merchant, a channel or an address that asks too often.
            let too_often: Vec<Code> = Code::ALL.iter().copied().filter(|code| code.status() == 429).collect();
            self = self.refuses(&too_often);
        }
        match caller {
            Caller::Merchant => self.refuses(&[Code::UnknownParameter, Code::InvalidRequest, Code::Unauthenticated]).refuses(&[
                Code::InternalFault,
                Code::Overloaded,
                Code::DatabaseUnavailable,
            ]),
            // Also for what a viewer may do: a merchant's key opens nothing there.
            Caller::Operator => self.refuses(&[Code::Unauthenticated, Code::Forbidden, Code::InternalFault, Code::DatabaseUnavailable]),
            Caller::Provider => self.refuses(&[Code::InternalFault, Code::Overloaded, Code::DatabaseUnavailable, Code::RoleNotServed]),
            Caller::Anybody => self,
        }
    }

    /// It moves money: it needs a key of the merchant's, and the merchant may say how long to wait.
    pub fn moves_money(mut self) -> Self {
        self.moves_money = true;
        let key = "Your own key for this act, new for each thing that you want done once. The same key with the same request is never carried out \
                   twice, however often you send it. Remembered for seven days.";
        self.header("Idempotency-Key", Required::True, key, shape::visible(key, 255, "try-1")).may_wait().refuses(&[
            Code::IdempotencyKeyMissing,
            Code::IdempotencyKeyInvalid,
            Code::IdempotencyKeyInFlight,
            Code::IdempotencyKeyReused,
            Code::EveryChannelShut,
            Code::RoleNotServed,
        ])
    }

    /// It may take as long as a channel does, and the caller may say how long to wait.
    fn may_wait(mut self) -> Self {
        self.may_wait = true;
        let wait = "`wait=N`: how many seconds you are ready to wait for the end, 60 at most (RFC 7240). Shorter gives more 202s.";
        self.header("Prefer", Required::False, wait, shape::wish(wait, "wait=5"))
    }

    /// It may ask the channel before it answers.
    pub fn may_ask_the_channel(self) -> Self {
        let sync = "Ask the channel now instead of answering what is known; only what is not final is asked about.";
        self.may_wait().query("sync", sync, shape::flag(sync))
    }

    fn header(self, name: &str, required: Required, about: &str, shape: Shape) -> Self {
        self.parameter(ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header).required(required).description(Some(about)), shape)
    }

    fn parameter(mut self, parameter: ParameterBuilder, shape: Shape) -> Self {
        self.operation = self.operation.parameter(parameter.schema(Some(shape)).build());
        self
    }

    /// What stands in the address. What is not an id is nobody's object, and an unknown one is 404 as well.
    pub fn path(self, name: &str, about: &str, shape: Shape) -> Self {
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path).required(Required::True).description(Some(about));
        self.parameter(parameter, shape).refuses(&[Code::NotFound])
    }

    /// A query parameter, which may always be left out.
    pub fn query(self, name: &str, about: &str, shape: Shape) -> Self {
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).required(Required::False).description(Some(about));
        self.parameter(parameter, shape)
    }

    /// The parameters of a list.
    pub fn pages(self) -> Self {
        let limit = "How many objects a page may have.";
        let cursor = "Where to go on: `next_cursor` of the page before, unchanged.";
        self.query("limit", limit, shape::between(limit, 1, 100, 20)).query("cursor", cursor, shape::sealed(cursor)).refuses(&[Code::InvalidCursor])
    }

    /// Bounds on the time of creation; of two of a kind the narrower counts.
    pub fn between_times(self) -> Self {
        let bounds = [
            ("created_at[gte]", "Created at that time or later."),
            ("created_at[gt]", "Created later than that."),
            ("created_at[lt]", "Created earlier than that."),
            ("created_at[lte]", "Created at that time or earlier."),
        ];
        bounds.into_iter().fold(self, |route, (name, about)| route.query(name, about, shape::time(about)))
    }

    /// The channel and the order that something belongs to.
    pub fn of_channel_and_order(self) -> Self {
        let (channel, order) = ("Only those at this channel.", "Only those of this order.");
        self.query("channel", channel, shape::visible(channel, 64, "stripe_main")).query("merchant_order_id", order, shape::visible(order, 64, "A-1"))
    }

    /// A JSON body, with samples of it.
    pub fn body(self, schema: &str, samples: &[(&str, Value)]) -> Self {
        self.takes(schema, Required::True, samples)
    }

    /// A JSON body that may be left out.
    pub fn optional_body(self, schema: &str, samples: &[(&str, Value)]) -> Self {
        self.takes(schema, Required::False, samples)
    }

    fn takes(mut self, schema: &str, required: Required, samples: &[(&str, Value)]) -> Self {
        let examples = samples.iter().map(|(summary, value)| {
            let name: String = summary.to_lowercase().replace(' ', "_");
            (name, utoipa::openapi::example::ExampleBuilder::new().summary(*summary).value(Some(value.clone())).build())
        });
        let content = ContentBuilder::new().schema(Some(named(schema))).examples_from_iter(examples).build();
        self.operation =
            self.operation.request_body(Some(RequestBodyBuilder::new().required(Some(required)).content("application/json", content).build()));
        self.refuses(&[Code::InvalidJson, Code::UnknownField, Code::BodyTimeout, Code::BodyTooLarge, Code::UnsupportedMediaType])
    }

    /// A body that Breakwater takes as it comes.
    pub fn raw_body(mut self, about: &str) -> Self {
        let content = ContentBuilder::new().schema(Some(shape::anything(about))).build();
        let body = RequestBodyBuilder::new().description(Some(about)).required(Some(Required::True)).content("application/json", content);
        self.operation = self.operation.request_body(Some(body.build()));
        self.refuses(&[Code::InvalidRequest, Code::BodyTimeout, Code::BodyTooLarge])
    }

    /// What it answers when it succeeds.
    pub fn answers(self, status: u16, about: &str, schema: &str) -> Self {
        self.answers_with(status, answer::object(about, schema))
    }

    /// What it answers when it succeeds, where that is no JSON object.
    pub fn answers_with(mut self, status: u16, response: ResponseBuilder) -> Self {
        self.successes.push((status, response));
        self
    }

    /// What it can refuse with, beyond what all routes like it do.
    pub fn refuses(mut self, codes: &[Code]) -> Self {
        self.refusals.extend_from_slice(codes);
        self
    }

    /// The whole description; what it has in common with others goes to `components`.
    pub fn operation(self, components: &mut Components) -> (&'static str, HttpMethod, Operation) {
        let on_money = ["/v1/payments", "/v1/refunds"].iter().any(|start| self.template.starts_with(start));
        let mut operation = self.operation;
        for (status, mut response) in self.successes {
            if on_money {
                response = Mark::Overhead.on(response);
            }
            if self.moves_money {
                response = Mark::Replayed.on(response);
            }
            if self.may_wait {
                response = Mark::PreferenceApplied.on(response);
            }
            if self.caller == Caller::Merchant {
                response = Mark::RateLimitPolicy.on(Mark::RateLimit.on(response));
            }
            operation = operation.response(status.to_string(), response.build());
        }
        for (status, response) in answer::refusals(&self.refusals, components) {
            operation = operation.response(status, response);
        }
        (self.template, self.method, operation.build())
    }
}
