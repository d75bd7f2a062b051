//! The bytes of the embedded tables' values, format version 1.
//!
//! Every value is an envelope. Numbers are big-endian.
//!
//! ```text
//! 1  version (1)
//! n  body
//! 4  CRC-32C over table tag (1 byte), key of the row, version, body
//! ```
//!
//! The row's key is part of the checksum so that a value in a wrong place is noticed too.
//!
//! | Table | Row key | Body |
//! |---|---|---|
//! | `kv` | the key | record: create revision 8, mod revision 8, version 8, lease 8 (0: none), value length 4, value |
//! | `by_revision` | revision 8, index 4 | kind 1 (1 put, 2 delete), has previous 1, key length 4, key, record if put, record if previous |
//! | `lease` | lease 8 | time to live in ms 8 |
//! | `attached` | lease 8, key | nothing |
//! | `meta` | `format` | format version 4 |
//! | `meta` | `cluster` | UTF-8 |
//! | `meta` | `state` | revision 8, compacted 8, next lease 8, history events 8, history bytes 8 |

use bytes::Bytes;

use crate::store::engine::{State, StoredEvent};
use crate::store::error::StoreError;
use crate::store::types::{Event, KeyValue, LeaseId, Revision};

/// The version of every envelope, and of the store as a whole.
pub(super) const FORMAT: u32 = 1;
const ENVELOPE_VERSION: u8 = 1;
const CRC_BYTES: usize = 4;

/// A table's tag in the checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Kv = 1,
    ByRevision = 2,
    Lease = 3,
    Attached = 4,
    Meta = 5,
}

/// Wraps a body.
pub(super) fn seal(table: Table, row: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + body.len() + CRC_BYTES);
    out.push(ENVELOPE_VERSION);
    out.extend_from_slice(body);
    let crc = checksum(table, row, &out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

/// Unwraps a body, or says what is wrong with it.
pub(super) fn unseal<'a>(
    table: Table,
    row: &[u8],
    sealed: &'a [u8],
) -> Result<&'a [u8], StoreError> {
    let damaged = |what: &str| StoreError::Damaged {
        what: format!(
            "{what} in table {table:?}, row {:?}",
            Bytes::copy_from_slice(row)
        ),
    };
    let Some((covered, crc)) = sealed.split_last_chunk::<CRC_BYTES>() else {
        return Err(damaged("short value"));
    };
    if checksum(table, row, covered) != u32::from_be_bytes(*crc) {
        return Err(damaged("wrong checksum"));
    }
    match covered {
        [ENVELOPE_VERSION, body @ ..] => Ok(body),
        _ => Err(damaged("unknown version of a value")),
    }
}

fn checksum(table: Table, row: &[u8], covered: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&[table as u8]);
    crc32c::crc32c_append(crc32c::crc32c_append(crc, row), covered)
}

/// The row key of an event.
pub(super) fn event_row(revision: Revision, index: u32) -> [u8; 12] {
    let mut row = [0; 12];
    row[..8].copy_from_slice(&revision.0.to_be_bytes());
    row[8..].copy_from_slice(&index.to_be_bytes());
    row
}

/// The revision in the row key of an event.
pub(super) fn event_row_revision(row: &[u8]) -> Result<Revision, StoreError> {
    let bytes = row
        .first_chunk()
        .ok_or_else(|| malformed("row of an event"))?;
    Ok(Revision(u64::from_be_bytes(*bytes)))
}

/// The row key of an attachment.
pub(super) fn attached_row(lease: LeaseId, key: &[u8]) -> Vec<u8> {
    [&lease.0.to_be_bytes(), key].concat()
}

pub(super) fn encode_kv(kv: &KeyValue) -> Vec<u8> {
    let mut out = Vec::with_capacity(36 + kv.value.len());
    put_record(&mut out, kv);
    out
}

pub(super) fn decode_kv(key: &[u8], body: &[u8]) -> Result<KeyValue, StoreError> {
    let mut reader = Reader(body);
    let kv = reader.record(&Bytes::copy_from_slice(key));
    kv.filter(|_| reader.0.is_empty())
        .ok_or_else(|| malformed("record of a key"))
}

pub(super) fn encode_event(stored: &StoredEvent) -> Vec<u8> {
    let key = stored.event.key();
    let mut out = Vec::with_capacity(stored.size_bytes() as usize);
    let kind = match stored.event {
        Event::Put(_) => 1,
        Event::Delete { .. } => 2,
    };
    out.extend_from_slice(&[kind, u8::from(stored.previous.is_some())]);
    put_bytes(&mut out, key);
    if let Event::Put(kv) = &stored.event {
        put_record(&mut out, kv);
    }
    if let Some(previous) = &stored.previous {
        put_record(&mut out, previous);
    }
    out
}

pub(super) fn decode_event(revision: Revision, body: &[u8]) -> Result<StoredEvent, StoreError> {
    let mut reader = Reader(body);
    let stored = reader.event(revision);
    stored
        .filter(|_| reader.0.is_empty())
        .ok_or_else(|| malformed("event"))
}

pub(super) fn encode_state(state: &State) -> Vec<u8> {
    let numbers = [
        state.revision.0,
        state.compacted.0,
        state.next_lease.0,
        state.history_events,
        state.history_bytes,
    ];
    numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

pub(super) fn decode_state(body: &[u8]) -> Result<State, StoreError> {
    let mut reader = Reader(body);
    let mut read = || {
        Some(State {
            revision: Revision(reader.u64()?),
            compacted: Revision(reader.u64()?),
            next_lease: LeaseId(reader.u64()?),
            history_events: reader.u64()?,
            history_bytes: reader.u64()?,
        })
    };
    read().ok_or_else(|| malformed("counters"))
}

/// A body that is one number.
pub(super) fn decode_u64(body: &[u8]) -> Result<u64, StoreError> {
    Reader(body).u64().ok_or_else(|| malformed("number"))
}

/// A body that is one number.
pub(super) fn decode_u32(body: &[u8]) -> Result<u32, StoreError> {
    Reader(body).u32().ok_or_else(|| malformed("number"))
}

fn malformed(what: &str) -> StoreError {
    StoreError::Damaged {
        what: format!("malformed {what} under a right checksum"),
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length =
        u32::try_from(bytes.len()).expect("keys and values are bounded by a transaction's size");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn put_record(out: &mut Vec<u8>, kv: &KeyValue) {
    let lease = kv.lease.map_or(0, |lease| lease.0);
    for number in [kv.create_revision.0, kv.mod_revision.0, kv.version, lease] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    put_bytes(out, &kv.value);
}

/// Takes values off the front of a body; `None` when it is too short.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn u8(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*bytes))
    }

    fn u64(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*bytes))
    }

    fn bytes(&mut self) -> Option<Bytes> {
        let length = self.u32()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Bytes::copy_from_slice(bytes))
    }

    fn record(&mut self, key: &Bytes) -> Option<KeyValue> {
        Some(KeyValue {
            key: key.clone(),
            create_revision: Revision(self.u64()?),
            mod_revision: Revision(self.u64()?),
            version: self.u64()?,
            lease: Some(LeaseId(self.u64()?)).filter(|lease| lease.0 != 0),
            value: self.bytes()?,
        })
    }

    fn event(&mut self, revision: Revision) -> Option<StoredEvent> {
        let kind = self.u8()?;
        let has_previous = self.u8()? != 0;
        let key = self.bytes()?;
        let event = match kind {
            1 => Event::Put(self.record(&key)?),
            2 => Event::Delete {
                key: key.clone(),
                revision,
            },
            _ => return None,
        };
        let previous = if has_previous {
            Some(self.record(&key)?)
        } else {
            None
        };
        Some(StoredEvent { event, previous })
    }
}

#[cfg(test)]
mod tests;
