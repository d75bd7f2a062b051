//! The generated `read` functions.

use std::fmt::Write;

use super::types::{default_value, has_length, method};
use crate::model::{Field, Message, Shape, Struct, Type};
use crate::names;
use crate::versions::Test;

pub fn function(out: &mut String, message: &Message, of: &Struct) {
    let body = body(message, of);
    let version = if super::uses(&body, "version") {
        "version"
    } else {
        "_version"
    };
    let reader = if super::uses(&body, "reader") {
        "reader"
    } else {
        "_reader"
    };
    let _ = writeln!(
        out,
        "fn read({reader}: &mut Reader, {version}: i16) -> Result<Self, DecodeError> {{"
    );
    out.push_str(&body);
    out.push_str("}\n\n");
}

fn body(message: &Message, of: &Struct) -> String {
    let mut body = String::new();
    for field in &of.fields {
        let local = names::local(&field.name);
        let default = default_value(field);
        let _ = match (field.tag, field.versions.test(of.versions)) {
            (Some(_), _) => writeln!(body, "let mut {local} = {default};"),
            (None, Test::When(condition)) => {
                let value = value(message, field);
                writeln!(
                    body,
                    "let {local} = if {condition} {{ {value} }} else {{ {default} }};"
                )
            }
            (None, _) => writeln!(body, "let {local} = {};", value(message, field)),
        };
    }
    match message.flexible.test(of.versions) {
        Test::Never => {}
        Test::Always => body.push_str(&tagged_fields(message, of)),
        Test::When(_) => {
            let _ = writeln!(body, "if flexible {{ {} }}", tagged_fields(message, of));
        }
    }
    if let (true, Test::When(condition)) = (
        super::uses(&body, "flexible"),
        message.flexible.test(of.versions),
    ) {
        body = format!("let flexible = {condition};\n{body}");
    }
    let fields: Vec<String> = of.fields.iter().map(initializer).collect();
    let _ = writeln!(body, "Ok(Self {{ {} }})", fields.join(", "));
    body
}

fn initializer(field: &Field) -> String {
    let local = names::local(&field.name);
    if local == field.name {
        local
    } else {
        format!("{}: {local}", field.name)
    }
}

fn tagged_fields(message: &Message, of: &Struct) -> String {
    let mut arms = String::new();
    for field in &of.fields {
        let Some(tag) = field.tag else { continue };
        let guard = match field.versions.test(message.flexible.intersect(of.versions)) {
            Test::When(condition) => format!(" if {condition}"),
            _ => String::new(),
        };
        let _ = writeln!(
            arms,
            "{tag}{guard} => {} = {},",
            names::local(&field.name),
            value(message, field)
        );
    }
    if arms.is_empty() {
        return "reader.skip_tagged_fields()?;\n".to_owned();
    }
    format!(
        "reader.tagged_fields(|reader, tag| {{
            match tag {{
                {arms}_ => return Ok(false),
            }}
            Ok(true)
        }})?;\n"
    )
}

/// An expression that reads the field in a version that has it.
fn value(message: &Message, field: &Field) -> String {
    let flexible = super::flexible(field);
    if !field.is_option() {
        return bare(message, field, &flexible, "");
    }
    let some = format!("Some({})", bare(message, field, &flexible, ""));
    let nullable = bare(message, field, &flexible, "nullable_");
    match field.nullable.test(field.versions) {
        Test::Always => nullable,
        Test::Never => some,
        Test::When(condition) => format!("if {condition} {{ {nullable} }} else {{ {some} }}"),
    }
}

fn bare(message: &Message, field: &Field, flexible: &str, nullable: &str) -> String {
    match &field.shape {
        Shape::One(Type::Struct(name)) if nullable.is_empty() => {
            format!("{name}::read(reader, version)?")
        }
        Shape::One(Type::Struct(name)) => {
            format!("reader.nullable_struct(|reader| {name}::read(reader, version))?")
        }
        Shape::One(one) if has_length(one) => {
            format!("reader.{nullable}{}({flexible})?", method(one))
        }
        Shape::One(one) => format!("reader.{}()?", method(one)),
        Shape::Array(element) => {
            let (min, read) = match element {
                Type::Struct(name) => (
                    format!("{name}::WIRE_BYTES_MIN"),
                    format!("|reader| {name}::read(reader, version)"),
                ),
                one if has_length(one) => {
                    let min = message.type_bytes(one, flexible != "false");
                    (
                        min.to_string(),
                        format!("|reader| reader.{}({flexible})", method(one)),
                    )
                }
                one => (
                    message.type_bytes(one, true).to_string(),
                    format!("Reader::{}", method(one)),
                ),
            };
            format!("reader.{nullable}array({flexible}, {min}, {read})?")
        }
    }
}
