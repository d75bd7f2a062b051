//! Bytes that other implementations wrote, see `protocol/oracle`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::codec::{self, Codec};
use crate::round_trip::expand;
use crate::schema_bytes::Schemas;

const KIO: &str = include_str!("../../oracle/kio.golden");
const KAFKA: &str = include_str!("../../oracle/kafka.golden");
const KAFKA_CONVERTED: &str = include_str!("../../oracle/kafka_converted.golden");
const KAFKA_DEFAULTS: &str = include_str!("../../oracle/kafka_defaults.golden");

fn unhex(text: &str) -> Bytes {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// Checks all vectors, and returns which versions they cover.
fn check(golden: &str) -> BTreeSet<(String, i16)> {
    let codecs: BTreeMap<&str, Codec> = codec::all()
        .into_iter()
        .map(|codec| (codec.name, codec))
        .collect();
    let mut covered = BTreeSet::new();
    for line in golden.lines() {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let (name, version, bytes) = (word(), word().parse().unwrap(), unhex(word()));
        let codec = codecs
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not generated"));
        let again = (codec.recode)(bytes.clone(), version);
        let again = again.unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(again, bytes, "{name} version {version}");
        covered.insert((name.to_owned(), version));
    }
    covered
}

#[test]
fn vectors_of_kio_come_back_byte_for_byte() {
    let covered = check(KIO);
    assert!(
        covered.len() > 550,
        "only {} versions covered",
        covered.len()
    );
}

#[test]
fn vectors_that_apache_kafka_accepted_come_back_byte_for_byte() {
    let covered = check(KAFKA);
    for codec in codec::all() {
        for version in codec.versions {
            assert!(
                covered.contains(&(codec.name.to_owned(), version)),
                "{} {version} is missing",
                codec.name
            );
        }
    }
}

#[test]
fn messages_in_which_nothing_is_set_are_those_of_apache_kafka() {
    let codecs: BTreeMap<&str, Codec> = codec::all()
        .into_iter()
        .map(|codec| (codec.name, codec))
        .collect();
    for line in KAFKA_DEFAULTS.lines() {
        let [name, version, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let ours = (codecs[name].encode_default)(version.parse().unwrap());
        match hex {
            "refused" => assert!(ours.is_err(), "{name} {version} must be refused"),
            hex => assert_eq!(ours, Ok(unhex(hex)), "{name} {version}"),
        }
    }
    assert_eq!(
        KAFKA_DEFAULTS.lines().count(),
        codecs
            .values()
            .map(|c| c.versions.clone().count())
            .sum::<usize>()
    );
}

#[test]
fn what_older_versions_drop_or_refuse_is_what_apache_kafka_drops_or_refuses() {
    let codecs: BTreeMap<&str, Codec> = codec::all()
        .into_iter()
        .map(|codec| (codec.name, codec))
        .collect();
    let mut sources: BTreeMap<(&str, i16), &str> = BTreeMap::new();
    for line in KAFKA.lines() {
        let [name, version, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        sources
            .entry((name, version.parse().unwrap()))
            .or_insert(hex);
    }
    let (mut written, mut refused) = (0, 0);
    for line in KAFKA_CONVERTED.lines() {
        let [name, version, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let from = *codecs[name].versions.end();
        let ours = (codecs[name].convert)(
            unhex(sources[&(name, from)]),
            from,
            version.parse().unwrap(),
        );
        match hex {
            "refused" => {
                assert!(ours.is_err(), "{name} {version} must be refused");
                refused += 1;
            }
            hex => {
                assert_eq!(ours, Ok(unhex(hex)), "{name} {version}");
                written += 1;
            }
        }
    }
    assert!(
        written > 300 && refused > 50,
        "{written} written, {refused} refused"
    );
}

/// Not a test but a tool: prints vectors for Apache Kafka to judge, see `protocol/oracle/README.md`.
#[test]
#[ignore = "prints candidates for kafka.golden"]
fn print_candidates() {
    let count = std::env::var("CANDIDATES").map_or(1, |count| count.parse().unwrap());
    let schemas = Schemas::read();
    for codec in codec::all() {
        for version in codec.versions.clone() {
            for seed in 0..count {
                let bytes = candidate(&schemas, codec.name, version, seed);
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                println!("{} {version} {hex}", codec.name);
            }
        }
    }
}

/// A message of a few hundred bytes at most.
fn candidate(schemas: &Schemas, name: &str, version: i16, seed: u64) -> Vec<u8> {
    let sizes = [160, 80, 40, 20, 10, 0];
    let messages =
        sizes.map(|size| schemas.message(name, version, &expand(seed + size as u64, size)));
    messages
        .into_iter()
        .find(|bytes| bytes.len() <= 300)
        .expect("without entropy messages are small")
}
