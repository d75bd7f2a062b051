//! Decoding what is no message: errors, no panic, nothing endless.

use alluvium_protocol::Reader;
use bytes::Bytes;
use proptest::prelude::*;

use crate::codec::{self, Codec};
use crate::round_trip::{entropy, runner};
use crate::schema_bytes::Schemas;

fn decode(codec: &Codec, version: i16, bytes: Vec<u8>) -> bool {
    (codec.decode)(&mut Reader::new(Bytes::from(bytes)), version)
}

#[test]
fn random_bytes_are_decoded_or_refused() {
    for codec in codec::all() {
        for version in codec.versions.clone() {
            let check = runner(24).run(&entropy(), |bytes| {
                decode(&codec, version, bytes);
                Ok(())
            });
            check.unwrap_or_else(|error| panic!("{} version {version}: {error}", codec.name));
        }
    }
}

#[test]
fn every_truncation_of_a_message_is_refused() {
    let schemas = Schemas::read();
    for codec in codec::all() {
        for version in codec.versions.clone() {
            let entropy: Vec<u8> = (0..150u8)
                .map(|i| i.wrapping_mul(37).wrapping_add(version as u8))
                .collect();
            let bytes = schemas.message(codec.name, version, &entropy);
            for len in 0..bytes.len().min(200) {
                let cut = decode(&codec, version, bytes[..len].to_vec());
                assert!(
                    !cut,
                    "{} version {version} decodes {len} of {} bytes",
                    codec.name,
                    bytes.len()
                );
            }
        }
    }
}

#[test]
fn flipped_bits_are_decoded_or_refused() {
    let schemas = Schemas::read();
    for codec in codec::all() {
        for version in codec.versions.clone() {
            let strategy = (
                entropy(),
                prop::collection::vec((any::<prop::sample::Index>(), 0..8u8), 1..8),
            );
            let check = runner(12).run(&strategy, |(entropy, flips)| {
                let mut bytes = schemas.message(codec.name, version, &entropy);
                for (at, bit) in flips
                    .into_iter()
                    .filter(|_| !bytes.is_empty())
                    .collect::<Vec<_>>()
                {
                    let at = at.index(bytes.len());
                    bytes[at] ^= 1u8 << bit;
                }
                decode(&codec, version, bytes);
                Ok(())
            });
            check.unwrap_or_else(|error| panic!("{} version {version}: {error}", codec.name));
        }
    }
}
