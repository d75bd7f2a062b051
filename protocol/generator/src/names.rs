//! Kafka's names in Rust.

/// `ThrottleTimeMs` to `throttle_time_ms`, `KRaftVersion` to `kraft_version`.
pub fn snake(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (i, letter) in letters.iter().enumerate() {
        let after_lower = i > 0 && !letters[i - 1].is_uppercase();
        let ends_acronym = i > 1
            && letters[i - 1].is_uppercase()
            && letters.get(i + 1).is_some_and(|c| c.is_lowercase());
        if letter.is_uppercase() && (after_lower || ends_acronym) {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// A field's name; Rust's keywords become raw identifiers.
pub fn field(name: &str) -> String {
    let name = snake(name);
    match name.as_str() {
        "type" | "match" | "move" | "ref" | "use" | "fn" | "in" => format!("r#{name}"),
        _ => name,
    }
}

/// A local variable for a field that cannot be mistaken for a parameter of the generated functions.
pub fn local(field: &str) -> String {
    match field {
        "version" | "reader" | "writer" | "tagged" | "tag" => format!("{field}_"),
        _ => field.to_owned(),
    }
}

/// A type's name; Kafka's are right already but for a lower-case first letter.
pub fn type_name(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_snake_case() {
        for (kafka, rust) in [
            ("ThrottleTimeMs", "throttle_time_ms"),
            ("KRaftVersion", "kraft_version"),
            ("timeoutMs", "timeout_ms"),
            ("V3AndBelowTopics", "v3_and_below_topics"),
            ("Type", "r#type"),
        ] {
            assert_eq!(field(kafka), rust);
        }
    }
}
