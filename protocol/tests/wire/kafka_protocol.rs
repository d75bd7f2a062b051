//! Against the crate `kafka-protocol`, for every version that both cover.
//!
//! It aborts on forged lengths, so it is only given bytes of valid messages.

use alluvium_protocol::ApiKey;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey as TheirKey, RequestKind, ResponseKind};
use proptest::prelude::*;

use crate::codec::{self, Codec};
use crate::round_trip::{entropy, runner};
use crate::schema_bytes::Schemas;

/// Decodes and encodes with their code.
fn theirs(name: &str, api: ApiKey, version: i16, bytes: &Bytes) -> anyhow::Result<Bytes> {
    let key = TheirKey::try_from(api.code()).map_err(|()| anyhow::anyhow!("they lack the api"))?;
    let (mut rest, mut out) = (bytes.clone(), BytesMut::new());
    if name.ends_with("Request") {
        RequestKind::decode(key, &mut rest, version)?.encode(&mut out, version)?;
    } else {
        ResponseKind::decode(key, &mut rest, version)?.encode(&mut out, version)?;
    }
    anyhow::ensure!(rest.is_empty(), "they leave {} bytes", rest.len());
    Ok(out.freeze())
}

/// Versions that they announce but refuse.
const NOT_THEIRS: [(&str, i16); 2] = [("OffsetCommitRequest", 10), ("OffsetFetchRequest", 10)];

/// Versions that both cover.
fn shared(codec: &Codec, api: ApiKey) -> Vec<i16> {
    let Ok(key) = TheirKey::try_from(api.code()) else {
        return Vec::new();
    };
    let range = key.valid_versions();
    let theirs = |version: &i16| {
        (range.min..=range.max).contains(version) && !NOT_THEIRS.contains(&(codec.name, *version))
    };
    codec.versions.clone().filter(theirs).collect()
}

#[test]
fn both_write_the_same_bytes() {
    let schemas = Schemas::read();
    let mut compared = 0;
    for codec in codec::all() {
        let Some(api) = codec.api else { continue };
        for version in shared(&codec, api) {
            let check = runner(12).run(&entropy(), |entropy| {
                let bytes = Bytes::from(schemas.message(codec.name, version, &entropy));
                let ours = (codec.recode)(bytes, version).map_err(TestCaseError::fail)?;
                let theirs = theirs(codec.name, api, version, &ours);
                let theirs = theirs.map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
                prop_assert_eq!(&theirs, &ours);
                Ok(())
            });
            check.unwrap_or_else(|error| panic!("{} version {version}: {error}", codec.name));
            compared += 1;
        }
    }
    assert!(compared > 500, "only {compared} versions compared");
}
