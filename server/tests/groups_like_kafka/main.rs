//! The group APIs answer as Apache Kafka does, in all versions: one script of requests, and the answers that a Kafka
//! broker gave to it, recorded in `answers_of_kafka.txt`.
//!
//! To record them anew, start a fresh Kafka with `group.initial.rebalance.delay.ms=0` and `num.partitions=3`
//! (`tests/kafka/kafka.sh serve`) and run this test with `RECORD_FROM=host:port`.
//!
//! Where Kafka's order means nothing (it walks hash maps), answers are sorted before they are written down.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "an integration test, built as a crate of its own"
)]

mod administration;
mod broker;
mod connection;
mod membership;
mod offsets;
mod script;

use script::Script;

const RECORDED: &str = include_str!("answers_of_kafka.txt");

#[test]
fn group_requests_are_answered_as_by_kafka() {
    if let Ok(address) = std::env::var("RECORD_FROM") {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/groups_like_kafka/answers_of_kafka.txt"
        );
        std::fs::write(path, answers(&address)).unwrap();
        return;
    }
    let broker = broker::Broker::start();
    let answers = answers(&broker.address);
    let lines = answers.lines().zip(RECORDED.lines());
    for (number, (ours, kafkas)) in lines.enumerate() {
        assert_eq!(ours, kafkas, "answer {}", number + 1);
    }
    assert_eq!(answers.lines().count(), RECORDED.lines().count());
}

fn answers(address: &str) -> String {
    let mut script = Script::begin(address);
    membership::coordinators(&mut script);
    membership::joins(&mut script);
    membership::syncs_and_heartbeats(&mut script);
    membership::static_members(&mut script);
    membership::a_rebalance(&mut script);
    membership::leaves(&mut script);
    offsets::commits_of_members(&mut script);
    offsets::commits_without_members(&mut script);
    offsets::fetches(&mut script);
    offsets::deletes(&mut script);
    administration::lists(&mut script);
    administration::descriptions(&mut script);
    administration::deletes(&mut script);
    script.answers
}
