//! How records stand in the metadata store: versioned and checksummed.
//!
//! ```text
//! magic  2 bytes  "AM"
//! kind   1 byte   which record: a key overwritten with another's value is noticed
//! version 1 byte  of this kind's layout
//! crc    4 bytes  CRC-32C of kind, version and body, big endian
//! body            JSON, so that a person with etcdctl can read it
//! ```

use alluvium_common::error::ErrorKind;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

const MAGIC: [u8; 2] = *b"AM";
const HEADER_BYTES: usize = 8;

/// A kind of record and the version of it that this build writes.
pub trait StoredRecord: Serialize + DeserializeOwned {
    /// Distinct for each kind, never reused.
    const KIND: u8;
    /// Versions up to this one are read, this one is written.
    const VERSION: u8;
}

/// Stored bytes that are not a record of the kind expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not one of our records, or damaged.
    #[error("not a record of kind {kind}: {why}")]
    Damaged {
        /// What was expected.
        kind: u8,
        /// What was found.
        why: String,
    },
    /// Written by a newer version. Upgrade this process.
    #[error(
        "record of kind {kind} has version {version}, this build reads up to {known}; upgrade it"
    )]
    Newer {
        /// Which kind.
        kind: u8,
        /// Its version.
        version: u8,
        /// The newest we know.
        known: u8,
    },
}

impl ValueError {
    /// What the caller should do: nothing but report it.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::BadData
    }
}

/// The bytes of a record.
pub fn encode<R: StoredRecord>(record: &R) -> Bytes {
    let body =
        serde_json::to_vec(record).expect("records have string keys and finite numbers only");
    let mut value = Vec::with_capacity(HEADER_BYTES + body.len());
    value.extend_from_slice(&MAGIC);
    value.extend_from_slice(&[R::KIND, R::VERSION]);
    value.extend_from_slice(&checksum(R::KIND, R::VERSION, &body).to_be_bytes());
    value.extend_from_slice(&body);
    value.into()
}

/// Which kind of record those bytes say they are, where one key may hold either of two. Nothing is checked:
/// [`decode`] does that.
pub fn kind_of(value: &[u8]) -> Option<u8> {
    value.get(2).copied()
}

/// The record in those bytes.
pub fn decode<R: StoredRecord>(value: &[u8]) -> Result<R, ValueError> {
    let damaged = |why: &str| ValueError::Damaged {
        kind: R::KIND,
        why: why.to_owned(),
    };
    let (header, body) = value
        .split_at_checked(HEADER_BYTES)
        .ok_or_else(|| damaged("too short"))?;
    let (kind, version) = (header[2], header[3]);
    if header[..2] != MAGIC {
        return Err(damaged("no magic"));
    }
    let stored = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    if stored != checksum(kind, version, body) {
        return Err(damaged("wrong checksum"));
    }
    if kind != R::KIND {
        return Err(damaged("another kind"));
    }
    if version > R::VERSION {
        return Err(ValueError::Newer {
            kind,
            version,
            known: R::VERSION,
        });
    }
    serde_json::from_slice(body).map_err(|error| damaged(&error.to_string()))
}

fn checksum(kind: u8, version: u8, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[kind, version]), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Old {
        n: u32,
    }
    impl StoredRecord for Old {
        const KIND: u8 = 200;
        const VERSION: u8 = 1;
    }
    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct New {
        n: u32,
    }
    impl StoredRecord for New {
        const KIND: u8 = 200;
        const VERSION: u8 = 2;
    }

    #[test]
    fn records_come_back_and_damage_is_noticed() {
        let value = encode(&Old { n: 7 });
        assert_eq!(decode::<Old>(&value), Ok(Old { n: 7 }));
        assert_eq!(decode::<New>(&value), Ok(New { n: 7 }));
        for at in 0..value.len() {
            let mut damaged = value.to_vec();
            damaged[at] ^= 1;
            assert!(decode::<Old>(&damaged).is_err(), "byte {at}");
            assert!(decode::<Old>(&value[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn newer_records_are_refused_by_name() {
        let error = decode::<Old>(&encode(&New { n: 7 })).expect_err("newer");
        assert!(error.to_string().contains("upgrade"), "{error}");
    }
}
