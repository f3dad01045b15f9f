//! The schemas by their names: what is asked and what is answered. An answer's fields are those of `representation/` and of the handlers'
//! `json!`; a test writes real ones and compares.

mod doubt;
mod operations;
mod payment;
mod switching;
mod webhook;

use utoipa::openapi::schema::Components;

use super::shape::{self, Record, Shape, named};

/// Adds every schema.
pub fn describe(mut components: Components) -> Components {
    let merchants = payment::schemas().into_iter().chain(webhook::schemas());
    let operators = operations::schemas().into_iter().chain(switching::schemas()).chain(doubt::schemas());
    for (name, schema) in merchants.chain(operators) {
        components.schemas.insert(name.to_owned(), schema);
    }
    components
}

/// A page of a list.
fn page_of(schema: &str, about: &str) -> Shape {
    Record::of(about)
        .must("object", shape::always("What this is.", "list"))
        .must("data", shape::list("The objects.", named(schema)))
        .must("has_more", shape::flag("Whether there is another page."))
        .must("next_cursor", shape::or_null(shape::text("The `cursor` of the next page, if there is one.")))
        .open()
}
