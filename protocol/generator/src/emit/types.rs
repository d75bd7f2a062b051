//! Rust types and default values of fields.

use crate::model::{Field, Shape, Type};

pub fn rust_type(field: &Field) -> String {
    let bare = match &field.shape {
        Shape::One(one) => type_name(one).to_owned(),
        Shape::Array(element) => format!("Vec<{}>", type_name(element)),
    };
    if field.is_option() {
        format!("Option<{bare}>")
    } else {
        bare
    }
}

pub fn type_name(of: &Type) -> &str {
    match of {
        Type::Bool => "bool",
        Type::Int8 => "i8",
        Type::Int16 => "i16",
        Type::Uint16 => "u16",
        Type::Int32 => "i32",
        Type::Uint32 => "u32",
        Type::Int64 => "i64",
        Type::Float64 => "f64",
        Type::Uuid => "Uuid",
        Type::String => "StrBytes",
        Type::Bytes => "Bytes",
        Type::Records => "Records",
        Type::Struct(name) => name,
    }
}

/// Whether `#[derive(Default)]` gives the field what Kafka gives it.
pub fn default_is_natural(field: &Field) -> bool {
    if field.is_option() {
        return field.defaults_to_null();
    }
    matches!(default_value(field).as_str(), "0" | "0.0" | "false")
        || (field.default.is_empty() || matches!(field.shape, Shape::Array(_)))
}

/// The default as a Rust expression.
pub fn default_value(field: &Field) -> String {
    match (field.is_option(), field.defaults_to_null()) {
        (true, true) => "None".to_owned(),
        (true, false) => format!("Some({})", bare_default(field)),
        (false, _) => bare_default(field),
    }
}

fn bare_default(field: &Field) -> String {
    let Shape::One(one) = &field.shape else {
        return "Vec::new()".to_owned();
    };
    let text = field.default.as_str();
    match one {
        Type::Bool => (text == "true").to_string(),
        Type::Float64 => {
            if text.is_empty() {
                "0.0".to_owned()
            } else {
                text.to_owned()
            }
        }
        Type::String if text.is_empty() => "StrBytes::new()".to_owned(),
        Type::String => format!("StrBytes::from_static({text:?})"),
        Type::Bytes => "Bytes::new()".to_owned(),
        Type::Records => "Records::new()".to_owned(),
        Type::Uuid => "Uuid::nil()".to_owned(),
        Type::Struct(name) => format!("{name}::default()"),
        _ => integer(text),
    }
}

fn integer(text: &str) -> String {
    let value = match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None if text.is_empty() => Ok(0),
        None => text.parse(),
    };
    match value.expect("integer defaults are decimal or 0x") {
        i64::MAX => "i64::MAX".to_owned(),
        value if value == i64::from(i32::MAX) => "i32::MAX".to_owned(),
        value => value.to_string(),
    }
}

/// A condition that the field holds something else than its default.
pub fn is_not_default(field: &Field) -> String {
    let place = format!("self.{}", field.name);
    if field.is_option() {
        return match field.defaults_to_null() {
            true => format!("{place}.is_some()"),
            false => format!("{place}.as_ref().is_none_or(|value| !value.is_empty())"),
        };
    }
    match &field.shape {
        Shape::Array(_) | Shape::One(Type::Bytes) => format!("!{place}.is_empty()"),
        Shape::One(Type::String) if field.default.is_empty() => format!("!{place}.is_empty()"),
        Shape::One(Type::String) => format!("{place} != {:?}", field.default),
        Shape::One(Type::Uuid) => format!("!{place}.is_nil()"),
        Shape::One(Type::Bool) if field.default == "true" => format!("!{place}"),
        Shape::One(Type::Bool) => place,
        Shape::One(_) => format!("{place} != {}", default_value(field)),
    }
}

/// Name of the method of `Reader` and `Writer` for a type that is not a struct.
pub fn method(of: &Type) -> &'static str {
    match of {
        Type::Bool => "bool",
        Type::Int8 => "i8",
        Type::Int16 => "i16",
        Type::Uint16 => "u16",
        Type::Int32 => "i32",
        Type::Uint32 => "u32",
        Type::Int64 => "i64",
        Type::Float64 => "f64",
        Type::Uuid => "uuid",
        Type::String => "string",
        Type::Bytes => "bytes",
        Type::Records => "records",
        Type::Struct(_) => "struct",
    }
}

/// Whether the type has a length, and so a compact form.
pub fn has_length(of: &Type) -> bool {
    matches!(of, Type::String | Type::Bytes | Type::Records)
}
