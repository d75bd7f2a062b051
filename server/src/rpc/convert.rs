//! From messages to values and back. Whatever others send is checked here.

use alluvium_cache::log::EpochHistory;
use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
use alluvium_common::offset::{LogOffsets, Offset};
use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use alluvium_ingest::recovery::HandedIndex;
use alluvium_metadata::model::TailEntry;
use alluvium_segment::FormatError;
use alluvium_segment::index_part::IndexPart;
use bytes::Bytes;
use uuid::Uuid;

use super::proto;

/// A message that contradicts itself, or lacks what it must have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// A field is missing or impossible.
    #[error("a message between brokers has an impossible {0}")]
    Field(&'static str),
    /// A part of an index is damaged.
    #[error(transparent)]
    Part(#[from] FormatError),
}

fn offset(value: i64, what: &'static str) -> Result<Offset, BadMessage> {
    Offset::new(value).ok_or(BadMessage::Field(what))
}

pub(super) fn tp_out(tp: TopicPartition) -> proto::Tp {
    proto::Tp {
        topic_id: Bytes::copy_from_slice(tp.topic_id.0.as_bytes()),
        partition: tp.partition.0,
    }
}

pub(super) fn tp_in(tp: &proto::Tp) -> Result<TopicPartition, BadMessage> {
    let id = Uuid::from_slice(&tp.topic_id).map_err(|_| BadMessage::Field("topic id"))?;
    Ok(TopicPartition::new(
        TopicId(id),
        PartitionIndex(tp.partition),
    ))
}

pub(crate) fn led_out(tp: TopicPartition, leader_epoch: LeaderEpoch) -> proto::Led {
    proto::Led {
        tp: Some(tp_out(tp)),
        leader_epoch: leader_epoch.0,
    }
}

pub(super) fn led_in(
    led: Option<&proto::Led>,
) -> Result<(TopicPartition, LeaderEpoch), BadMessage> {
    let led = led.ok_or(BadMessage::Field("partition"))?;
    let tp = led.tp.as_ref().ok_or(BadMessage::Field("partition"))?;
    Ok((tp_in(tp)?, LeaderEpoch(led.leader_epoch)))
}

pub(super) fn offsets_out(offsets: &LogOffsets) -> proto::Offsets {
    proto::Offsets {
        log_start: offsets.log_start.get(),
        last_stable: offsets.last_stable.get(),
        high_watermark: offsets.high_watermark.get(),
        log_end: offsets.log_end.get(),
    }
}

/// Only in the order that always holds (I13).
pub(super) fn offsets_in(offsets: &proto::Offsets) -> Result<LogOffsets, BadMessage> {
    let read = LogOffsets {
        log_start: offset(offsets.log_start, "log start offset")?,
        last_stable: offset(offsets.last_stable, "last stable offset")?,
        high_watermark: offset(offsets.high_watermark, "high watermark")?,
        log_end: offset(offsets.log_end, "log end offset")?,
    };
    let in_order = read.log_start <= read.last_stable
        && read.last_stable <= read.high_watermark
        && read.high_watermark <= read.log_end;
    in_order
        .then_some(read)
        .ok_or(BadMessage::Field("order of offsets"))
}

/// What a follower has of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its log start offset.
    pub log_start: Offset,
    /// The end of its segment index.
    pub index_end: Offset,
    /// Its high watermark.
    pub high_watermark: Offset,
    /// Its log end offset.
    pub log_end: Offset,
}

impl Known {
    pub(crate) fn out(self) -> proto::Known {
        proto::Known {
            log_start: self.log_start.get(),
            index_end: self.index_end.get(),
            high_watermark: self.high_watermark.get(),
            log_end: self.log_end.get(),
        }
    }

    pub(super) fn read(known: &proto::Known) -> Result<Self, BadMessage> {
        Ok(Self {
            log_start: offset(known.log_start, "log start offset")?,
            index_end: offset(known.index_end, "index end")?,
            high_watermark: offset(known.high_watermark, "high watermark")?,
            log_end: offset(known.log_end, "log end offset")?,
        })
    }
}

/// What a leader tells a follower.
#[derive(Debug, Clone)]
pub struct News {
    /// The leader's offsets.
    pub offsets: LogOffsets,
    /// More segments.
    pub part: Option<IndexPart>,
    /// Batches behind the segments, one after the other.
    pub records: Bytes,
    /// The history of leader epochs; empty unless it was asked for.
    pub epochs: EpochHistory,
}

impl News {
    pub(super) fn out(self) -> Result<proto::WatchAnswer, BadMessage> {
        let part = self.part.map(|part| part.encode()).transpose()?;
        let epochs = self.epochs.starts().iter();
        Ok(proto::WatchAnswer {
            offsets: Some(offsets_out(&self.offsets)),
            part: part.unwrap_or_default().into(),
            records: self.records,
            epochs: epochs
                .map(|(leader_epoch, start)| proto::EpochStart {
                    leader_epoch: leader_epoch.0,
                    start: start.get(),
                })
                .collect(),
        })
    }

    pub(crate) fn read(answer: proto::WatchAnswer) -> Result<Self, BadMessage> {
        let offsets = answer.offsets.ok_or(BadMessage::Field("offsets"))?;
        let part = match answer.part.is_empty() {
            true => None,
            false => Some(IndexPart::decode(&answer.part)?),
        };
        let starts = answer.epochs.iter();
        let starts = starts.map(|epoch| {
            let start = offset(epoch.start, "start of an epoch")?;
            Ok((LeaderEpoch(epoch.leader_epoch), start))
        });
        let starts = starts.collect::<Result<Vec<_>, BadMessage>>()?;
        Ok(Self {
            offsets: offsets_in(&offsets)?,
            part,
            records: answer.records,
            epochs: EpochHistory::new(starts),
        })
    }
}

/// `None` when it cannot be told: an entry is open, or a span is not as it should be.
pub(super) fn handed_out(handed: &HandedIndex) -> Option<proto::Handed> {
    let tail = handed.tail.iter().map(|entry| {
        Some(proto::TailEntry {
            broker_id: entry.broker_id.0,
            broker_epoch: entry.broker_epoch.0,
            first_seq: entry.first_seq,
            last_seq: entry.last_seq?,
        })
    });
    Some(proto::Handed {
        tail: tail.collect::<Option<_>>()?,
        end: handed.end.get(),
        part: handed.part.encode().ok()?.into(),
    })
}

pub(super) fn handed_in(handed: &proto::Handed) -> Result<HandedIndex, BadMessage> {
    let tail = handed.tail.iter().map(|entry| TailEntry {
        broker_id: BrokerId(entry.broker_id),
        broker_epoch: BrokerEpoch(entry.broker_epoch),
        first_seq: entry.first_seq,
        last_seq: Some(entry.last_seq),
    });
    Ok(HandedIndex {
        tail: tail.collect(),
        end: offset(handed.end, "end")?,
        part: IndexPart::decode(&handed.part)?,
    })
}
