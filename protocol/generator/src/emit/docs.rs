//! Documentation of the generated items, from the schemas' own words.

use std::fmt::Write;

use crate::model::{Field, Message, Struct};

const WIDTH: usize = 90;

pub fn of_struct(out: &mut String, message: &Message, of: &Struct) {
    if of.name == message.name {
        let key = message
            .api_key
            .map(|key| format!(", API key {key}"))
            .unwrap_or_default();
        let text = format!(
            "Kafka's `{}`{key}, versions {}.",
            message.name,
            message.versions.describe()
        );
        return lines(out, &text);
    }
    let text = format!("Part of [`{}`].", message.name);
    lines(out, &text);
}

pub fn of_field(out: &mut String, of: &Struct, field: &Field) {
    let mut text = escape(&field.about);
    if field.versions != of.versions {
        let _ = write!(
            text,
            " Versions {}.",
            field.versions.describe_within(of.versions)
        );
    }
    if text.is_empty() {
        text = "Not described by Kafka.".to_owned();
    }
    lines(out, text.trim());
}

/// Brackets and angle brackets mean something to rustdoc.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        if matches!(letter, '[' | ']' | '<' | '>') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// Wraps text into doc comment lines, none of which begins like a list or a heading.
fn lines(out: &mut String, text: &str) {
    let mut line = String::new();
    for word in text.split_whitespace() {
        let plain = word.starts_with(|c: char| c.is_alphabetic() || c == '`' || c == '(');
        if plain && !line.is_empty() && line.len() + word.len() > WIDTH {
            let _ = writeln!(out, "/// {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "/// {line}");
}
