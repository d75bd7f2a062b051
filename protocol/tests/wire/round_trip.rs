//! What is decoded and encoded again is what it was.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::codec;
use crate::schema_bytes::Schemas;

/// Cases for each version of each message. There are about 700 of those.
const CASES: u32 = 24;

/// Choices for [`Schemas::message`]: a number of bytes from a seed. Both shrink, and making thousands is cheap.
pub fn entropy() -> impl Strategy<Value = Vec<u8>> {
    (0..1500usize, any::<u64>()).prop_map(|(len, seed)| expand(seed, len))
}

/// SplitMix64.
pub fn expand(mut seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub fn runner(cases: u32) -> TestRunner {
    TestRunner::new_with_rng(
        Config {
            cases,
            failure_persistence: None,
            ..Config::default()
        },
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    )
}

#[test]
fn every_version_of_every_message_makes_the_round() {
    let schemas = Schemas::read();
    for codec in codec::all() {
        for version in codec.versions.clone() {
            let check = runner(CASES).run(&entropy(), |entropy| {
                let bytes = Bytes::from(schemas.message(codec.name, version, &entropy));
                let again = (codec.recode)(bytes.clone(), version).map_err(TestCaseError::fail)?;
                prop_assert_eq!(again, bytes);
                Ok(())
            });
            check.unwrap_or_else(|error| panic!("{} version {version}: {error}", codec.name));
        }
    }
}

#[test]
fn versions_on_either_side_of_the_valid_ones_are_refused() {
    for codec in codec::all() {
        for version in [
            codec.versions.start() - 1,
            codec.versions.end() + 1,
            i16::MIN,
            i16::MAX,
        ] {
            let error = (codec.recode)(Bytes::from(vec![0; 64]), version).unwrap_err();
            assert!(
                error.contains("has no version"),
                "{} version {version}: {error}",
                codec.name
            );
        }
    }
}
