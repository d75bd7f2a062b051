//! The generated `write` functions.

use std::fmt::Write;

use super::types::{has_length, is_not_default, method};
use crate::model::{Field, Message, Shape, Struct, Type};
use crate::versions::Test;

pub fn function(out: &mut String, message: &Message, of: &Struct) {
    let body = body(message, of);
    let version = if super::uses(&body, "version") {
        "version"
    } else {
        "_version"
    };
    let writer = if super::uses(&body, "writer") {
        "writer"
    } else {
        "_writer"
    };
    let _ = writeln!(
        out,
        "fn write(&self, {writer}: &mut Writer, {version}: i16) -> Result<(), EncodeError> {{"
    );
    out.push_str(&body);
    out.push_str("}\n");
}

fn body(message: &Message, of: &Struct) -> String {
    let mut body = String::new();
    for field in &of.fields {
        plain_field(&mut body, of, field);
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
    body.push_str("Ok(())\n");
    body
}

/// Writes a field that has its place among the others, and checks any field where the version lacks it.
fn plain_field(body: &mut String, of: &Struct, field: &Field) {
    let lost = if field.ignorable {
        String::new()
    } else {
        lost(of, field)
    };
    let write = if field.tag.is_none() {
        statement(of, field)
    } else {
        String::new()
    };
    let test = field.versions.test(of.versions);
    let _ = match (test, write.is_empty(), lost.is_empty()) {
        (Test::When(_), true, true) => Ok(()),
        (Test::When(_), true, false) => {
            writeln!(body, "if {} && {lost}", field.versions.absent(of.versions))
        }
        (Test::When(condition), false, true) => writeln!(body, "if {condition} {{ {write} }}"),
        (Test::When(condition), false, false) => {
            writeln!(body, "if {condition} {{ {write} }} else if {lost}")
        }
        _ => writeln!(body, "{write}"),
    };
}

/// The rest of an `if` that refuses to drop what the version cannot express.
fn lost(of: &Struct, field: &Field) -> String {
    let path = path(of, field);
    format!(
        "{} {{ return Err(field_not_in_version({path}, version)); }}",
        is_not_default(field)
    )
}

fn path(of: &Struct, field: &Field) -> String {
    format!("\"{}.{}\"", of.name, field.name.trim_start_matches("r#"))
}

fn tagged_fields(message: &Message, of: &Struct) -> String {
    let mut tagged: Vec<(u32, &Field)> =
        of.fields.iter().filter_map(|f| Some((f.tag?, f))).collect();
    tagged.sort_by_key(|(tag, _)| *tag);
    if tagged.is_empty() {
        return "writer.no_tagged_fields();\n".to_owned();
    }
    let mut code = "let mut tagged = writer.tagged_fields();\n".to_owned();
    for (tag, field) in tagged {
        let version = match field.versions.test(message.flexible.intersect(of.versions)) {
            Test::When(condition) => format!("{condition} && "),
            _ => String::new(),
        };
        let _ = writeln!(
            code,
            "if {version}{} {{ tagged.field({tag}, |writer| {{ {} Ok(()) }})?; }}",
            is_not_default(field),
            statement(of, field)
        );
    }
    code
}

/// Writes the field in a version that has it.
fn statement(of: &Struct, field: &Field) -> String {
    let place = format!("self.{}", field.name);
    if !field.is_option() {
        return bare(field, &place, true);
    }
    let required = bare(
        field,
        &format!("not_null(&{place}, {}, version)?", path(of, field)),
        false,
    );
    match field.nullable.test(field.versions) {
        Test::Always => nullable(field, &place),
        Test::Never => required,
        Test::When(condition) => {
            format!(
                "if {condition} {{ {} }} else {{ {required} }}",
                nullable(field, &place)
            )
        }
    }
}

/// `owned`: whether `place` is the value itself and not a reference to it.
fn bare(field: &Field, place: &str, owned: bool) -> String {
    let flexible = super::flexible(field);
    let reference = if owned { "&" } else { "" };
    match &field.shape {
        Shape::One(Type::Struct(_)) => format!("{place}.write(writer, version)?;"),
        Shape::One(one) if has_length(one) => {
            format!("writer.{}({flexible}, {reference}{place})?;", method(one))
        }
        Shape::One(one) => format!("writer.{}({place});", method(one)),
        Shape::Array(element) => {
            format!(
                "writer.array({flexible}, {reference}{place}, {})?;",
                write_element(element, &flexible)
            )
        }
    }
}

fn nullable(field: &Field, place: &str) -> String {
    let flexible = super::flexible(field);
    match &field.shape {
        Shape::One(Type::Struct(_)) => format!(
            "writer.nullable_struct({place}.as_ref(), |writer, value| value.write(writer, version))?;"
        ),
        Shape::One(Type::String) => {
            format!("writer.nullable_string({flexible}, {place}.as_deref())?;")
        }
        Shape::One(one) => format!(
            "writer.nullable_{}({flexible}, {place}.as_ref())?;",
            method(one)
        ),
        Shape::Array(element) => format!(
            "writer.nullable_array({flexible}, {place}.as_deref(), {})?;",
            write_element(element, &flexible)
        ),
    }
}

fn write_element(element: &Type, flexible: &str) -> String {
    match element {
        Type::Struct(_) => "|writer, value| value.write(writer, version)".to_owned(),
        one if has_length(one) => {
            format!("|writer, value| writer.{}({flexible}, value)", method(one))
        }
        one => format!(
            "|writer, value| {{ writer.{}(*value); Ok(()) }}",
            method(one)
        ),
    }
}
