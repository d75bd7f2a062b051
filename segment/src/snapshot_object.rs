//! Metadata snapshots: all keys of a cluster that outlive sessions, at one revision, in one object. What
//! `alluvium restore` begins with when the metadata store is lost.

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use bytes::Bytes;
use uuid::Uuid;

use crate::error::FormatError;
use crate::fold_object::slice;
use crate::parted::{self, EncodedObject, Format, PartEntry, Writer};
use crate::reader::Reader;
use crate::record_batch::varint::{put_signed, put_unsigned};

/// The newest version; all older ones are read.
pub const SNAPSHOT_VERSION: u16 = 1;

const FORMAT: Format = Format {
    what: "metadata snapshot",
    magic: *b"ALVM",
    trailer_magic: *b"ALVMETAT",
    version: SNAPSHOT_VERSION,
};

/// Least bytes of a session: id and epoch.
const SESSION_BYTES_MIN: usize = 2;

/// What a snapshot is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotHead {
    /// The cluster.
    pub cluster_id: Uuid,
    /// As of which revision of the metadata store.
    pub revision: u64,
    /// When, in milliseconds since the Unix epoch. For people.
    pub created_ms: i64,
    /// The broker sessions that were open at that revision. Segments of any session that was over by then, and that
    /// the snapshot does not name, are orphans for ever (F2).
    pub sessions: Vec<(BrokerId, BrokerEpoch)>,
}

/// Makes a snapshot, key by key.
#[derive(Debug)]
pub struct SnapshotBuilder {
    writer: Writer,
    head: SnapshotHead,
}

impl SnapshotBuilder {
    /// Begins.
    pub fn new(head: SnapshotHead) -> Self {
        let mut about = [0; 20];
        about[..16].copy_from_slice(head.cluster_id.as_bytes());
        Self {
            writer: Writer::new(FORMAT, about),
            head,
        }
    }

    /// Adds a key, named below the cluster's own prefix, with its value.
    ///
    /// # Errors
    /// A value beyond what a part may hold.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), FormatError> {
        self.writer.add(|out| {
            put_unsigned(out, key.len() as u64);
            out.extend_from_slice(key);
            put_unsigned(out, value.len() as u64);
            out.extend_from_slice(value);
        })
    }

    /// The object.
    pub fn finish(self) -> Result<EncodedObject, FormatError> {
        let mut head = self.head.cluster_id.as_bytes().to_vec();
        put_unsigned(&mut head, self.head.revision);
        put_signed(&mut head, self.head.created_ms);
        put_unsigned(&mut head, self.head.sessions.len() as u64);
        for (broker_id, broker_epoch) in &self.head.sessions {
            put_signed(&mut head, i64::from(broker_id.0));
            put_signed(&mut head, broker_epoch.0);
        }
        self.writer.finish(&head)
    }
}

/// A whole snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Of what.
    pub head: SnapshotHead,
    /// Keys and values, in the order in which they were added.
    pub keys: Vec<(Bytes, Bytes)>,
}

impl Snapshot {
    /// Reads a snapshot from the bytes of the object.
    ///
    /// # Errors
    /// The object is damaged, foreign or of a newer version.
    pub fn decode(object: &Bytes) -> Result<Self, FormatError> {
        let (mut reader, _) = parted::index_of(&FORMAT, object)?;
        let head = decode_head(&mut reader)?;
        let parts = parted::parts_of(reader)?;
        let mut keys = Vec::new();
        for part in &parts {
            let range = part.range();
            let stored = slice(object, range.start, range.end)?;
            decode_part(part, stored, &mut keys)?;
        }
        Ok(Self { head, keys })
    }
}

fn decode_head(reader: &mut Reader<'_>) -> Result<SnapshotHead, FormatError> {
    let cluster_id = Uuid::from_bytes(reader.array()?);
    let revision = reader.unsigned()?;
    let created_ms = reader.signed()?;
    let count = reader.count(SESSION_BYTES_MIN)?;
    let mut sessions = Vec::with_capacity(count);
    for _ in 0..count {
        let broker_id = i32::try_from(reader.signed()?).map_err(|_| reader.malformed())?;
        sessions.push((BrokerId(broker_id), BrokerEpoch(reader.signed()?)));
    }
    Ok(SnapshotHead {
        cluster_id,
        revision,
        created_ms,
        sessions,
    })
}

fn decode_part(
    part: &PartEntry,
    stored: Bytes,
    keys: &mut Vec<(Bytes, Bytes)>,
) -> Result<(), FormatError> {
    let raw = part.open(&FORMAT, stored)?;
    let mut reader = Reader::new(&raw, FORMAT.what);
    for _ in 0..part.items {
        let mut field = || {
            let length = reader.count(1)?;
            Ok::<_, FormatError>(raw.slice_ref(reader.take(length)?))
        };
        keys.push((field()?, field()?));
    }
    match reader.is_empty() {
        true => Ok(()),
        false => Err(reader.malformed()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn snapshot(keys: Vec<(Vec<u8>, Vec<u8>)>) -> (Snapshot, Bytes) {
        let head = SnapshotHead {
            cluster_id: Uuid::from_u128(7),
            revision: 1234,
            created_ms: -5,
            sessions: vec![
                (BrokerId(1), BrokerEpoch(9)),
                (BrokerId(-1), BrokerEpoch(-3)),
            ],
        };
        let mut builder = SnapshotBuilder::new(head.clone());
        for (key, value) in &keys {
            builder.push(key, value).expect("small");
        }
        let object = builder.finish().expect("small").chunks.concat();
        let keys = keys.into_iter().map(|(k, v)| (k.into(), v.into()));
        let keys = keys.collect();
        (Snapshot { head, keys }, object.into())
    }

    proptest! {
        #[test]
        fn snapshots_round_trip(keys in vec((vec(any::<u8>(), 0..9), vec(any::<u8>(), 0..99)), 0..20)) {
            let (expected, object) = snapshot(keys);
            prop_assert_eq!(Snapshot::decode(&object), Ok(expected));
        }

        /// The header is not read, everything behind it is.
        #[test]
        fn any_flipped_bit_behind_the_header_is_found(at: prop::sample::Index, bits in 1..=255u8) {
            let (_, object) = snapshot(vec![(b"k".to_vec(), vec![7; 300])]);
            let mut bytes = object.to_vec();
            let at = parted::PARTED_HEADER_BYTES + at.index(bytes.len() - parted::PARTED_HEADER_BYTES);
            bytes[at] ^= bits;
            prop_assert!(Snapshot::decode(&bytes.into()).is_err());
        }

        #[test]
        fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
            let _ = Snapshot::decode(&bytes.clone().into());
            let _ = parted::parts_of(Reader::new(&bytes, "x"));
            let _ = decode_head(&mut Reader::new(&bytes, "x"));
        }
    }
}
