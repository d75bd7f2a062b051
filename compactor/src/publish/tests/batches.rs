//! Record batches of every kind, and what a consumer sees of them.

use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};
use alluvium_common::rand::Random;
use alluvium_segment::record_batch::{
    BatchBuilder, BatchHeader, Codec, Record, RecordHeader, StoredBatch, TimestampType,
};
use bytes::Bytes;

const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::Gzip,
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd,
];

/// How a batch is damaged before it is sent: its checksum is right all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// It says that it is compressed, and is not.
    NotCompressed,
    /// The records' offsets reach beyond those that the batch says it has.
    OffsetsBeyond,
    /// It has more records than it says.
    TooFewCounted,
    /// Its checksum is wrong after all.
    Checksum,
}

/// A batch to be written.
#[derive(Debug, Clone)]
pub struct BatchSpec {
    pub codec: Codec,
    pub timestamp_type: TimestampType,
    pub producer: Option<(ProducerId, ProducerEpoch, Sequence)>,
    pub is_control: bool,
    pub lie: Option<Lie>,
    /// Timestamp, key, value, headers.
    pub records: Vec<RecordSpec>,
}

#[derive(Debug, Clone)]
pub struct RecordSpec {
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<RecordHeader>,
}

/// What a consumer sees of a record.
pub type Seen = (Record, TimestampType);

impl BatchSpec {
    /// So many records of some bytes each, and nothing special.
    pub fn plain(random: &dyn Random, records: usize) -> Self {
        Self {
            codec: Codec::None,
            timestamp_type: TimestampType::CreateTime,
            producer: None,
            is_control: false,
            lie: None,
            records: (0..records).map(|_| record(random)).collect(),
        }
    }

    /// Any batch that a producer may send.
    pub fn any(random: &dyn Random) -> Self {
        let is_control = random.below(12) == 0;
        let records = if is_control { 1 } else { 1 + random.below(12) };
        Self {
            codec: match is_control {
                true => Codec::None,
                false => CODECS[random.below(5) as usize],
            },
            timestamp_type: match random.below(3) {
                0 => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            is_control,
            ..Self::plain(random, records as usize)
        }
    }

    pub fn lying(mut self, lie: Lie) -> Self {
        self.lie = Some(lie);
        self
    }

    /// A header key that is not UTF-8.
    pub fn with_raw_header(mut self) -> Self {
        self.records[0].headers.push(RecordHeader {
            key: Bytes::from_static(b"\xff\xfe"),
            value: None,
        });
        self
    }

    pub fn offsets(&self) -> u32 {
        self.records.len() as u32
    }

    /// The batch as it is stored at `base`.
    pub fn build(&self, base: Offset, leader_epoch: LeaderEpoch) -> StoredBatch {
        let mut builder = BatchBuilder::new(self.codec).timestamp_type(self.timestamp_type);
        if let Some((id, epoch, sequence)) = self.producer {
            builder = builder.producer(id, epoch, sequence);
        }
        if self.is_control {
            builder = builder.control();
        }
        for (delta, record) in (0..).zip(&self.records) {
            let headers = record.headers.iter();
            let headers: Vec<(&[u8], Option<&[u8]>)> =
                headers.map(|h| (&h.key[..], h.value.as_deref())).collect();
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            let delta = match self.lie {
                Some(Lie::OffsetsBeyond) => delta + 7,
                _ => delta,
            };
            builder.push_at(delta, record.timestamp, key, value, &headers);
        }
        let mut raw = builder.build().expect("small").to_vec();
        match self.lie {
            Some(Lie::NotCompressed) => raw[22] |= Codec::Zstd.id(),
            Some(Lie::OffsetsBeyond) => {
                raw[23..27].copy_from_slice(&(self.records.len() as i32 - 1).to_be_bytes());
            }
            Some(Lie::TooFewCounted) => {
                raw[57..61].copy_from_slice(&(self.records.len() as i32 - 1).to_be_bytes());
            }
            Some(Lie::Checksum) | None => {}
        }
        let crc = crc32c::crc32c(&raw[21..]);
        let wrong = u32::from(self.lie == Some(Lie::Checksum));
        raw[17..21].copy_from_slice(&(crc ^ wrong).to_be_bytes());
        let raw = Bytes::from(raw);
        let header = BatchHeader::decode(&raw).expect("valid");
        StoredBatch::stamp(raw, &header, base, leader_epoch).expect("fits")
    }

    /// What consumers see of it at `base`.
    pub fn seen(&self, base: Offset) -> Vec<Seen> {
        if self.is_control {
            return Vec::new();
        }
        let records = (0..).zip(&self.records).map(|(delta, record)| {
            let timestamp = match self.timestamp_type {
                TimestampType::CreateTime => record.timestamp,
                TimestampType::LogAppendTime => self.max_timestamp(),
            };
            let record = Record {
                offset: base.checked_add(delta).expect("small"),
                timestamp,
                key: record.key.clone(),
                value: record.value.clone(),
                headers: record.headers.clone(),
            };
            (record, self.timestamp_type)
        });
        records.collect()
    }

    pub fn max_timestamp(&self) -> i64 {
        let timestamps = self.records.iter().map(|record| record.timestamp);
        timestamps.max().unwrap_or(-1)
    }
}

fn record(random: &dyn Random) -> RecordSpec {
    let headers = (0..random.below(3)).map(|n| RecordHeader {
        key: Bytes::from(format!("h{n}")),
        value: bytes(random, 5),
    });
    RecordSpec {
        timestamp: 1_000_000 + random.below(1_000_000) as i64,
        key: bytes(random, 8),
        value: bytes(random, 200),
        headers: headers.collect(),
    }
}

/// Null, empty, or up to so many bytes of which half are alike.
fn bytes(random: &dyn Random, max: u64) -> Option<Bytes> {
    let length = match random.below(8) {
        0 => return None,
        1 => 0,
        _ => 1 + random.below(max),
    };
    let bytes = (0..length).map(|_| match random.below(2) {
        0 => b'a',
        _ => random.below(256) as u8,
    });
    Some(bytes.collect())
}
