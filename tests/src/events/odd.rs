//! Records that are no events of a shop: what is hard to keep.

use bytes::Bytes;

use super::generate::EventRecord;
use super::splitmix::SplitMix;

/// What records are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Kind {
    /// Events of a web shop, some 450 bytes each.
    #[default]
    Shop,
    /// A few bytes each: what costs is their number.
    Tiny,
    /// 100 MB each, which no codec makes smaller: the largest that a broker's default request limit lets through.
    Large,
    /// Events whose timestamps are far in the past, far in the future, or none.
    AnyTime,
}

/// Bytes of the value of a large record. With all that is around it, it has to stay below 100 MiB.
const LARGE_BYTES: usize = 100_000_000;

/// The last is 9999-12-31: what is later, not every engine can show.
const TIMES_MS: [i64; 7] = [
    -1,
    0,
    1,
    1_767_571_200_000,
    4_102_444_800_000,
    32_503_680_000_000,
    253_402_214_400_000,
];

impl Kind {
    /// Records that are sent in one batch.
    pub fn batch_records(self) -> usize {
        match self {
            Self::Shop | Self::AnyTime => 500,
            Self::Tiny => 10_000,
            Self::Large => 1,
        }
    }

    /// Batches of a partition that wait for their answers at the same time.
    pub fn in_flight(self) -> usize {
        match self {
            Self::Large => 1,
            _ => 5,
        }
    }

    /// Settings that a topic needs for them.
    pub fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Shop | Self::Tiny => &[],
            Self::Large => &[("max.message.bytes", "104857600")],
            Self::AnyTime => &[("message.timestamp.after.max.ms", "9223372036854775807")],
        }
    }
}

/// A few bytes, in order of time.
pub(super) fn tiny(random: &mut SplitMix, index: u64) -> EventRecord {
    EventRecord {
        key: None,
        value: Some(Bytes::from(random.below(1_000).to_string())),
        headers: Vec::new(),
        timestamp_ms: TIMES_MS[3] + index as i64,
    }
}

/// Random bytes.
pub(super) fn large(random: &mut SplitMix, index: u64) -> EventRecord {
    let words = std::iter::repeat_with(|| random.next().to_le_bytes());
    let value: Vec<u8> = words.take(LARGE_BYTES / 8).flatten().collect();
    EventRecord {
        key: Some(Bytes::from(index.to_string())),
        value: Some(value.into()),
        headers: Vec::new(),
        timestamp_ms: TIMES_MS[3] + index as i64,
    }
}

/// Any of the times, or a millisecond near it.
pub(super) fn any_time(random: &mut SplitMix) -> i64 {
    let time = TIMES_MS[random.below(TIMES_MS.len() as u64) as usize];
    match time {
        ..=1 => time,
        _ => time + random.below(86_400_000) as i64,
    }
}
