//! Records that can be told apart, and read back into their ids.

use alluvium_common::offset::Offset;
use alluvium_common::rand::Random;
use alluvium_segment::record_batch::{BatchBuilder, Record, RecordHeader};
use bytes::Bytes;

use crate::history::{Content, digest};

/// Hexadecimal digits of the id with which each value begins.
const ID_DIGITS: usize = 16;
/// November 2023, so that record times differ from the broker's.
const TIMESTAMP: i64 = 1_700_000_000_000;

/// A record with the id `id`; the rest of it is random.
pub(crate) fn record(id: u64, value_bytes_max: u64, random: &dyn Random) -> Record {
    let mut value = format!("{id:0width$x}", width = ID_DIGITS).into_bytes();
    let padding = random.below(value_bytes_max);
    value.extend((0..padding).map(|at| b'a' + ((id + at * at) % 26) as u8));
    let headers = (0..random.below(3)).map(|number| RecordHeader {
        key: Bytes::from(format!("header-{number}")),
        value: (number == 0).then(|| Bytes::from(id.to_string())),
    });
    Record {
        offset: Offset::ZERO,
        timestamp: TIMESTAMP + random.below(1_000_000) as i64,
        key: (random.below(4) > 0).then(|| Bytes::from(format!("key-{}", id % 97))),
        value: Some(value.into()),
        headers: headers.collect(),
    }
}

/// Adds a record to a batch.
pub(crate) fn push(builder: &mut BatchBuilder, record: &Record) {
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|header| (header.key.as_ref(), header.value.as_deref()))
        .collect();
    builder.push(
        record.timestamp,
        record.key.as_deref(),
        record.value.as_deref(),
        &headers,
    );
}

/// Id and digest of a record. A value without an id gets one that nobody has sent.
pub(crate) fn content(record: &Record) -> Content {
    let value = record.value.as_deref().unwrap_or_default();
    let id = value
        .get(..ID_DIGITS)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .unwrap_or(u64::MAX);
    Content {
        id,
        digest: digest(record),
    }
}

#[cfg(test)]
mod tests {
    use alluvium_common::rand::SeededRandom;
    use alluvium_segment::record_batch::{Codec, DecodeLimits, records};

    use super::*;

    #[test]
    fn what_is_pushed_reads_back_the_same() {
        let random = SeededRandom::new(5);
        let sent: Vec<_> = (0..50)
            .map(|id| record(id << 32, 100, random.as_ref()))
            .collect();
        let mut builder = BatchBuilder::new(Codec::Zstd);
        sent.iter().for_each(|record| push(&mut builder, record));
        let batch = builder.build().expect("a batch");
        let read: Vec<_> = records(&batch, &DecodeLimits::default())
            .expect("opens")
            .map(|record| content(&record.expect("a record")))
            .collect();
        assert_eq!(read, sent.iter().map(content).collect::<Vec<_>>());
        assert_eq!(read[3].id, 3 << 32);
    }
}
