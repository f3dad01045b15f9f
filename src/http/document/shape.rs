//! The words in which the schemas are written: an object with its fields, an id, a time, an amount, a closed list of names. Each says what it
//! means in one sentence, which is what a merchant reads, and holds what the parser of the same field checks, which is what a machine reads.

use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, RefBuilder, Schema, SchemaFormat, SchemaType,
};
use utoipa::openapi::{Object, Ref, RefOr, Type};

use crate::domain::money::AMOUNT_MAX;

/// A schema, or the name of one.
pub type Shape = RefOr<Schema>;

/// A list of values of an enum which the compiler proves complete: a new variant that is not named here does not compile. It is for enums
/// whose `ALL` nothing but this document would need.
macro_rules! every {
    ($kind:ident: $($variant:ident),+ $(,)?) => {{
        // Never called: it is here so that the match must know every variant.
        const _: fn($kind) = |value| match value { $($kind::$variant => ()),+ };
        [$($kind::$variant),+]
    }};
}
pub(super) use every;

/// An object, field by field in the order in which it is written.
pub struct Record(ObjectBuilder);

impl Record {
    /// What it is.
    pub fn of(about: &str) -> Self {
        Self(ObjectBuilder::new().schema_type(Type::Object).description(Some(about)))
    }

    /// A field that is always there.
    pub fn must(self, name: &str, shape: impl Into<Shape>) -> Self {
        Self(self.0.property(name, shape).required(name))
    }

    /// A field that may be left out.
    pub fn may(self, name: &str, shape: impl Into<Shape>) -> Self {
        Self(self.0.property(name, shape))
    }

    /// What a whole one looks like.
    pub fn example(self, example: Value) -> Self {
        Self(self.0.examples([example]))
    }

    /// Of an answer: another version may add fields, and a client must not mind.
    pub fn open(self) -> Shape {
        self.0.into()
    }

    /// Of a request: a field that is not here is refused by name.
    pub fn closed(self) -> Shape {
        self.0.additional_properties(Some(AdditionalProperties::FreeForm(false))).into()
    }
}

/// A schema of the document by its name.
pub fn named(name: &str) -> Shape {
    Ref::from_schema_name(name).into()
}

/// A schema of the document by its name, with what it means in this place.
pub fn named_as(name: &str, about: &str) -> Shape {
    RefBuilder::new().ref_location_from_schema_name(name).description(Some(about)).into()
}

/// That, or null.
pub fn or_null(shape: impl Into<Shape>) -> Shape {
    match shape.into() {
        RefOr::T(Schema::Object(mut object)) => {
            if let SchemaType::Type(kind) = object.schema_type.clone() {
                object.schema_type = SchemaType::from_iter([kind, Type::Null]);
            }
            if let Some(names) = &mut object.enum_values {
                names.push(Value::Null);
            }
            object.into()
        }
        RefOr::T(Schema::Array(mut array)) => {
            array.schema_type = SchemaType::from_iter([Type::Array, Type::Null]);
            array.into()
        }
        other => OneOfBuilder::new().item(other).item(Object::with_type(Type::Null)).into(),
    }
}

/// Of a request alone: no answer ever has it.
pub fn write_only(shape: Shape) -> Shape {
    match shape {
        RefOr::T(Schema::Object(mut object)) => {
            object.write_only = Some(true);
            object.into()
        }
        other => other,
    }
}

/// A text of ours.
pub fn text(about: &str) -> Shape {
    string(about).into()
}

/// A text of any form, such as a preference: what cannot be read in it is passed over.
pub fn wish(about: &str, example: &str) -> Shape {
    string(about).examples([example]).into()
}

/// A text that holds to a pattern (ECMA-262).
pub fn pattern(about: &str, pattern: &str, example: &str) -> Shape {
    string(about).pattern(Some(pattern)).examples([example]).into()
}

/// A cursor. Without an example: one that was not given out is refused, so every example would be a wrong one.
pub fn sealed(about: &str) -> Shape {
    string(about).pattern(Some("^[A-Za-z0-9_-]{32}$")).into()
}

/// A text for people, of at most `longest` characters. U+0000 cannot be stored.
pub fn free_text(about: &str, longest: usize) -> Shape {
    string(about).max_length(Some(longest)).pattern(Some("^[^\\u0000]*$")).into()
}

/// The same in a query, where a parameter without a text is refused.
pub fn filter_text(about: &str, longest: usize) -> Shape {
    string(about).min_length(Some(1)).max_length(Some(longest)).pattern(Some("^[^\\u0000]*$")).into()
}

/// A text for people that must say something: blanks alone do not.
pub fn words(about: &str, longest: usize) -> Shape {
    string(about).max_length(Some(longest)).pattern(Some(r"^[^\u0000]*[^\s\u0000][^\u0000]*$")).into()
}

/// A name as merchants give them: visible ASCII without blanks.
pub fn visible(about: &str, longest: usize, example: &str) -> Shape {
    string(about).pattern(Some(format!("^[!-~]{{1,{longest}}}$"))).examples([example]).into()
}

/// An id: its prefix and 32 hex digits.
pub fn id(about: &str, prefix: &str) -> Shape {
    pattern(about, &format!("^{prefix}[0-9a-f]{{32}}$"), &format!("{prefix}01a2010b98b57bbf9175066f4f7a9dc6"))
}

/// An id of operators' things: a UUID.
pub fn uuid(about: &str) -> Shape {
    string(about).format(Some(SchemaFormat::Custom("uuid".to_owned()))).examples(["01a2010b-98b5-7bbf-9175-066f4f7a9dc6"]).into()
}

/// A time: RFC 3339.
pub fn time(about: &str) -> Shape {
    string(about).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).examples(["2026-11-22T02:17:46.933Z"]).into()
}

/// An address, of at most 2,048 characters.
pub fn url(about: &str, example: &str) -> Shape {
    string(about)
        .format(Some(SchemaFormat::Custom("uri".to_owned())))
        .pattern(Some("^[Hh][Tt][Tt][Pp][Ss]?://[!-~]+$"))
        .max_length(Some(2_048))
        .examples([example])
        .into()
}

/// An amount that can be asked for: 1 to a million million minor units.
pub fn amount(about: &str) -> Shape {
    minor(about, 1)
}

/// A sum, which may be 0.
pub fn sum(about: &str) -> Shape {
    minor(about, 0)
}

fn minor(about: &str, least: i64) -> Shape {
    let format = Some(SchemaFormat::KnownFormat(KnownFormat::Int64));
    whole_builder(about).format(format).minimum(Some(least)).maximum(Some(AMOUNT_MAX)).examples([1_250]).into()
}

/// A whole number from `least` on.
pub fn whole(about: &str, least: i64) -> Shape {
    whole_builder(about).minimum(Some(least)).into()
}

/// A whole number in a range.
pub fn within(about: &str, least: i64, most: i64) -> Shape {
    whole_builder(about).minimum(Some(least)).maximum(Some(most)).into()
}

/// A whole number in a range, with what it is when it is left out.
pub fn between(about: &str, least: i64, most: i64, usual: i64) -> Shape {
    whole_builder(about).minimum(Some(least)).maximum(Some(most)).default(Some(usual.into())).into()
}

/// True or false.
pub fn flag(about: &str) -> Shape {
    ObjectBuilder::new().schema_type(Type::Boolean).description(Some(about)).into()
}

/// One name of a closed list.
pub fn one_of<'a>(about: &str, names: impl IntoIterator<Item = &'a str>) -> Shape {
    string(about).enum_values(Some(names)).into()
}

/// One name of a closed list, as serde writes the values.
pub fn one_of_values(about: &str, values: &[impl Serialize]) -> Shape {
    let names: Vec<Value> = values.iter().filter_map(|value| serde_json::to_value(value).ok()).collect();
    string(about).enum_values(Some(names)).into()
}

/// The one value that is always there.
pub fn always(about: &str, value: impl Into<Value>) -> Shape {
    let value = value.into();
    let kind = if value.is_boolean() { Type::Boolean } else { Type::String };
    ObjectBuilder::new().schema_type(kind).description(Some(about)).enum_values(Some([value])).into()
}

/// A list.
pub fn list(about: &str, of: impl Into<Shape>) -> ArrayBuilder {
    ArrayBuilder::new().items(of.into()).description(Some(about))
}

/// Names with texts, as many as there are.
pub fn texts(about: &str) -> Shape {
    map(about, string("A text.")).into()
}

/// An object whose fields all have this shape.
pub fn map(about: &str, of: impl Into<Shape>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Object).description(Some(about)).additional_properties(Some(AdditionalProperties::RefOr(of.into())))
}

/// An object that may hold anything.
pub fn anything(about: &str) -> Shape {
    ObjectBuilder::new().schema_type(Type::Object).description(Some(about)).additional_properties(Some(AdditionalProperties::FreeForm(true))).into()
}

fn string(about: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(about))
}

fn whole_builder(about: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer).description(Some(about))
}
