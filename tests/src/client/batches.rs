//! Record batches as tests need them: right ones, and wrong ones whose checksum is right.

use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};
use alluvium_segment::record_batch::{BatchBuilder, Codec, HEADER_BYTES, NO_HEADERS};
use bytes::{Bytes, BytesMut};

/// Where the checksum of a batch stands, and where what it covers begins.
const CRC_AT: usize = 17;
const CRC_COVERS_FROM: usize = 21;
const BATCH_LENGTH_AT: usize = 8;
/// Base offset and length: not counted in the length.
const LENGTH_FROM: usize = 12;
/// An ordinary timestamp: November 2023.
const TIMESTAMP: i64 = 1_700_000_000_000;

/// An idempotent producer: its id, epoch and next sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// Its id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Sequence of its next record.
    pub sequence: i32,
}

impl Producer {
    /// At its first record.
    pub fn new(id: i64, epoch: i16) -> Self {
        Self {
            id,
            epoch,
            sequence: 0,
        }
    }

    /// The next batch, with these values.
    pub fn batch(&mut self, values: &[&str]) -> Bytes {
        let batch = self.batch_at(self.sequence, values);
        self.sequence += i32::try_from(values.len()).expect("few values");
        batch
    }

    /// A batch at any sequence.
    pub fn batch_at(&self, sequence: i32, values: &[&str]) -> Bytes {
        let builder = self.stamp(BatchBuilder::new(Codec::None), sequence);
        fill(builder, values)
    }

    /// Makes a batch this producer's.
    pub fn stamp(&self, builder: BatchBuilder, sequence: i32) -> BatchBuilder {
        let sequence = Sequence::new(sequence).expect("not negative");
        builder.producer(ProducerId(self.id), ProducerEpoch(self.epoch), sequence)
    }
}

/// An uncompressed batch of records with these values and no key.
pub fn batch(values: &[&str]) -> Bytes {
    batch_of(Codec::None, values)
}

/// The same with a codec.
pub fn batch_of(codec: Codec, values: &[&str]) -> Bytes {
    fill(BatchBuilder::new(codec), values)
}

fn fill(mut builder: BatchBuilder, values: &[&str]) -> Bytes {
    for value in values {
        builder.push(TIMESTAMP, None, Some(value.as_bytes()), NO_HEADERS);
    }
    builder.build().expect("a batch")
}

/// `batch` after `change`, with length and checksum made right again: a producer that lies, not a damaged cable.
pub fn lying(batch: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = batch.to_vec();
    change(&mut bytes);
    reseal(bytes)
}

/// Sets length and checksum of a batch to what its bytes make them.
pub fn reseal(bytes: Vec<u8>) -> Bytes {
    assert!(bytes.len() >= HEADER_BYTES, "a batch has a header");
    let mut bytes = BytesMut::from(bytes.as_slice());
    let length = i32::try_from(bytes.len() - LENGTH_FROM).expect("a short batch");
    bytes[BATCH_LENGTH_AT..LENGTH_FROM].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[CRC_COVERS_FROM..]);
    bytes[CRC_AT..CRC_COVERS_FROM].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}
