//! APIs, header versions and error codes are those that Apache Kafka prints, see `protocol/oracle`.

use std::fmt::Write;

use alluvium_protocol::{ApiKey, ErrorCode};

const KAFKA: &str = include_str!("../../oracle/kafka_tables.golden");

/// Sorted, because Kafka's order of APIs is that of a hash.
fn lines<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let mut lines: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with(start))
        .collect();
    lines.sort_unstable();
    lines
}

#[test]
fn apis_and_their_header_versions_are_those_of_apache_kafka() {
    let mut ours = String::new();
    for api in ApiKey::ALL {
        for version in api.valid_versions() {
            let (request, response) = (
                api.request_header_version(version),
                api.response_header_version(version),
            );
            writeln!(
                ours,
                "api {} {api} {version} {request} {response}",
                api.code()
            )
            .unwrap();
        }
    }
    assert_eq!(lines(&ours, "api"), lines(KAFKA, "api"));
}

#[test]
fn error_codes_are_those_of_apache_kafka() {
    let mut ours = String::new();
    for error in ErrorCode::ALL {
        let retriable = if error.is_retriable() {
            "retriable"
        } else {
            "final"
        };
        writeln!(ours, "error {} {} {retriable}", error.code(), error.name()).unwrap();
    }
    assert_eq!(lines(&ours, "error"), lines(KAFKA, "error"));
}
