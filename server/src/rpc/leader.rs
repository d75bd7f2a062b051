//! What a broker tells others of the partitions that it leads, or has handed over.

use std::sync::Arc;
use std::time::Duration;

use alluvium_cache::log::{EpochHistory, Logs, PartitionLog};
use alluvium_cache::tail::ReadWaiter;
use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::{LogOffsets, Offset};
use alluvium_common::topic::TopicPartition;
use alluvium_query::{Isolation, LogReader, ReadError, ReadRequest};
use alluvium_segment::index_part::IndexPart;
use alluvium_segment::record_batch::split;
use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::convert::{BadMessage, Known, News, handed_out, led_in, offsets_out, tp_in};
use super::service::{Answer, AnswerMemory, Answers};
use super::{
    PARTITIONS_PER_CALL_MAX, ReadBatch, ReadOffsets, TakeIndex, WATCH_WAIT_MAX, Watch, proto,
};
use crate::partitions::Shelf;

/// Segments told at a time, in bytes as they take about; the rest follows at once.
const PART_BYTES: usize = 1 << 20;
/// What a segment, and a block of it, take of that.
const SEGMENT_BYTES: usize = 96;
const BLOCK_BYTES: usize = 24;

/// Bytes of batches told at a time, unless the first one is larger.
const RECORDS_BYTES: usize = 1 << 20;

/// Largest batch that a follower may ask for.
const BATCH_BYTES_MAX: usize = 100 << 20;

/// Bytes of handed-over indexes in one answer. What does not fit is read from footers.
const HANDED_BYTES_MAX: usize = 32 << 20;

/// Whether this broker's session can be proved alive (F3).
pub type IsAlive = Arc<dyn Fn() -> bool + Send + Sync>;

/// See the module's documentation.
pub struct Leader {
    logs: Arc<Logs>,
    reader: Arc<LogReader>,
    shelf: Arc<Shelf>,
    is_alive: IsAlive,
    memory: AnswerMemory,
}

fn not_leader() -> Status {
    Status::failed_precondition("this broker does not lead the partition under that epoch")
}

fn bad(error: BadMessage) -> Status {
    Status::invalid_argument(error.to_string())
}

fn read_failed(error: ReadError) -> Status {
    match error {
        ReadError::UnknownPartition | ReadError::Closed(_) => not_leader(),
        ReadError::OffsetOutOfRange { .. } => Status::out_of_range(error.to_string()),
        error => Status::unavailable(error.to_string()),
    }
}

impl Leader {
    /// Tells of `logs`, read by `reader`, and of what was put on `shelf`; answers take their memory from `memory`.
    pub fn new(
        logs: Arc<Logs>,
        reader: Arc<LogReader>,
        shelf: Arc<Shelf>,
        is_alive: IsAlive,
        memory: AnswerMemory,
    ) -> Arc<Self> {
        Arc::new(Self {
            logs,
            reader,
            shelf,
            is_alive,
            memory,
        })
    }

    fn led(&self, tp: TopicPartition, epoch: LeaderEpoch) -> Result<Arc<PartitionLog>, Status> {
        let log = self
            .logs
            .get(&tp)
            .filter(|log| log.tail.leader_epoch() == epoch && log.tail.closed().is_none());
        log.ok_or_else(not_leader)
    }

    /// To be asked after offsets were read: if the session lasts then and the partition was not being given away, no other
    /// leader had acknowledged anything when they were read (F3).
    fn may_tell_end(&self, log: &PartitionLog) -> bool {
        !log.is_leaving() && (self.is_alive)()
    }

    async fn news(
        &self,
        log: &Arc<PartitionLog>,
        known: Option<Known>,
    ) -> Result<Option<Answer<News>>, Status> {
        let offsets = log.tail.offsets();
        let index_end = log.index.read().next_offset();
        let has_news = known.is_none_or(|known| {
            index_end > known.index_end
                || offsets.high_watermark > known.high_watermark
                || offsets.log_start > known.log_start
        });
        if !has_news {
            return Ok(None);
        }
        let mut permit = self.memory.take(PART_BYTES + RECORDS_BYTES)?;
        let from = known.map_or(offsets.log_start, |known| known.index_end);
        let part = part_of(log, from);
        // Without a span beyond, what lies before the end of the index is published.
        let told_end = part.spans.last();
        let told_end = told_end.map_or(index_end.max(from), |(_, span)| span.next_offset);
        let mut news = News {
            offsets,
            part: Some(part),
            records: Bytes::new(),
            epochs: match known {
                None => log.epochs.clone(),
                Some(_) => EpochHistory::new([]),
            },
        };
        // With more of the index to come, batches would not follow what the follower has.
        if told_end >= index_end {
            let behind = known.map_or(told_end, |known| known.log_end.max(told_end));
            if behind < offsets.high_watermark {
                (news.records, news.offsets) = self.records(log, behind).await?;
                // One large batch may take more; then the memory is what it takes.
                permit.shrink_to(PART_BYTES + news.records.len().min(RECORDS_BYTES));
            }
        }
        Ok(Some(Answer {
            message: news,
            permit: Some(permit),
        }))
    }

    async fn records(
        &self,
        log: &PartitionLog,
        from: Offset,
    ) -> Result<(Bytes, LogOffsets), Status> {
        let request = ReadRequest {
            tp: log.tp,
            from,
            max_bytes: RECORDS_BYTES,
            isolation: Isolation::ReadUncommitted,
            min_one_batch: true,
        };
        let read = self.reader.read(request).await.map_err(read_failed)?;
        let mut joined = BytesMut::with_capacity(read.size_bytes);
        read.records
            .iter()
            .for_each(|piece| joined.extend_from_slice(piece));
        Ok((joined.freeze(), read.offsets))
    }
}

/// The first segments beyond `from`, as many as are told at a time.
fn part_of(log: &PartitionLog, from: Offset) -> IndexPart {
    let mut bytes = 0;
    let index = log.index.read();
    let spans = index.spans_beyond(log.tp, from).take_while(|(_, span)| {
        let fits = bytes < PART_BYTES;
        bytes += SEGMENT_BYTES + BLOCK_BYTES * span.blocks.len();
        fits
    });
    IndexPart {
        spans: spans.collect(),
        ..IndexPart::empty(log.tp)
    }
}

impl Answers<Watch> for Leader {
    /// Waits until there is news, or as long as the follower wants; then the offsets are told all the same.
    async fn answer(
        &self,
        request: proto::WatchRequest,
    ) -> Result<Answer<proto::WatchAnswer>, Status> {
        let (tp, epoch) = led_in(request.partition.as_ref()).map_err(bad)?;
        let known = request.known.as_ref().map(Known::read).transpose();
        let known = known.map_err(bad)?;
        let wait = Duration::from_millis(request.wait_ms.into()).min(WATCH_WAIT_MAX);
        let deadline = Instant::now() + wait;
        loop {
            let log = self.led(tp, epoch)?;
            let seen = log.tail.offsets();
            let mut news = self.news(&log, known).await?;
            if news.is_none() && !wait_for_news(&log, seen, deadline).await {
                news = Some(Answer::from(News {
                    offsets: seen,
                    part: None,
                    records: Bytes::new(),
                    epochs: EpochHistory::new([]),
                }));
            }
            // Not more than what is committed is told, whoever leads by now: that needs no proof (F3).
            if let Some(news) = news {
                return Ok(Answer {
                    message: news.message.out().map_err(bad)?,
                    permit: news.permit,
                });
            }
        }
    }
}

/// False when the time is over.
async fn wait_for_news(log: &Arc<PartitionLog>, seen: LogOffsets, deadline: Instant) -> bool {
    let waiter = ReadWaiter::new(1, 1);
    let _registration = log.tail.wait(&waiter, 0, seen);
    timeout_at(deadline, waiter.ready()).await.is_ok()
}

impl Answers<ReadOffsets> for Leader {
    async fn answer(
        &self,
        request: proto::OffsetsRequest,
    ) -> Result<Answer<proto::OffsetsAnswer>, Status> {
        check_count(request.partitions.len())?;
        let of_one = |led: &proto::Led| {
            let (tp, epoch) = led_in(Some(led)).map_err(bad)?;
            let log = self.led(tp, epoch).ok();
            let told = log.and_then(|log| {
                let offsets = log.tail.offsets();
                self.may_tell_end(&log).then_some(offsets)
            });
            Ok(proto::OffsetsOfOne {
                offsets: told.as_ref().map(offsets_out),
            })
        };
        let partitions = request.partitions.iter().map(of_one);
        let partitions = partitions.collect::<Result<_, Status>>()?;
        Ok(proto::OffsetsAnswer { partitions }.into())
    }
}

impl Answers<ReadBatch> for Leader {
    async fn answer(
        &self,
        request: proto::ReadBatchRequest,
    ) -> Result<Answer<proto::ReadBatchAnswer>, Status> {
        let (tp, epoch) = led_in(request.partition.as_ref()).map_err(bad)?;
        let from = Offset::new(request.offset).ok_or_else(|| Status::out_of_range("offset"))?;
        let log = self.led(tp, epoch)?;
        let mut permit = self.memory.take(RECORDS_BYTES)?;
        // The limit lets one batch pass only.
        let (records, _) = self.records(&log, from).await?;
        let first = split(&records).next();
        let first = first.ok_or_else(|| Status::out_of_range("no batch is there"))?;
        let (_, batch) = first.map_err(|error| Status::unavailable(error.to_string()))?;
        if batch.len() > BATCH_BYTES_MAX {
            return Err(Status::out_of_range("the batch is too large"));
        }
        permit.shrink_to(batch.len());
        Ok(Answer {
            message: proto::ReadBatchAnswer { batch },
            permit: Some(permit),
        })
    }
}

impl Answers<TakeIndex> for Leader {
    async fn answer(
        &self,
        request: proto::TakeIndexRequest,
    ) -> Result<Answer<proto::TakeIndexAnswer>, Status> {
        check_count(request.partitions.len())?;
        let mut bytes = 0;
        let mut handed = Vec::new();
        for tp in &request.partitions {
            let found = self.shelf.get(tp_in(tp).map_err(bad)?);
            let Some(one) = found.as_deref().and_then(handed_out) else {
                continue;
            };
            bytes += one.part.len();
            if bytes > HANDED_BYTES_MAX {
                break;
            }
            handed.push(one);
        }
        let permit = self.memory.take(bytes)?;
        Ok(Answer {
            message: proto::TakeIndexAnswer { handed },
            permit: Some(permit),
        })
    }
}

fn check_count(partitions: usize) -> Result<(), Status> {
    match partitions <= PARTITIONS_PER_CALL_MAX {
        true => Ok(()),
        false => Err(Status::invalid_argument("too many partitions")),
    }
}
