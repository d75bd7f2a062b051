//! Offset to batches, over all tiers.
//!
//! A read first asks the partition's tail. What lies below the tail is in segments, found through
//! the partition's index and read through the cache, and below these in table files; a read that reaches the end of one
//! tier goes on in the next. Batches are passed on whole and, unless they are small, uncopied: the first one contains the offset asked
//! for and may begin before it, as in Kafka.

mod read_ahead;
mod segments;
mod tables;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use alluvium_cache::log::{Logs, PartitionLog};
use alluvium_cache::segment_cache::SegmentCache;
use alluvium_cache::tail::{TailBatch, TailRead};
use alluvium_common::offset::{LogOffsets, Offset};
use alluvium_common::producer::ProducerId;
use alluvium_common::seeded_bug;
use alluvium_common::topic::TopicPartition;
use alluvium_segment::record_batch::{PREFIX_BYTES, StoredBatch};
use bytes::{Bytes, BytesMut};

use crate::error::ReadError;
use crate::guard::{LeaderGuard, check_end};
use crate::history::History;
use crate::metrics::ReadMetrics;
use read_ahead::ReadAhead;

/// Bodies smaller than this are copied into one buffer. One vectored write takes 64 pieces, so that a
/// response of many small pieces would cost more system calls than the copy costs time.
const COPY_BYTES: usize = 4 << 10;

/// What a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Isolation {
    /// Everything below the high watermark.
    #[default]
    ReadUncommitted,
    /// Everything below the last stable offset; aborted transactions are named, to be left out.
    ReadCommitted,
}

impl Isolation {
    /// First offset that the reader may not see.
    pub fn limit(self, offsets: &LogOffsets) -> Offset {
        match self {
            _ if seeded_bug::is("serve-above-watermark") => offsets.log_end,
            Isolation::ReadUncommitted => offsets.high_watermark,
            Isolation::ReadCommitted => offsets.last_stable,
        }
    }
}

/// What to read.
#[derive(Debug, Clone, Copy)]
pub struct ReadRequest {
    /// Which partition.
    pub tp: TopicPartition,
    /// From which offset on.
    pub from: Offset,
    /// At most how many bytes of batches.
    pub max_bytes: usize,
    /// What the reader may see.
    pub isolation: Isolation,
    /// Give the first batch even when it is larger than `max_bytes`.
    pub min_one_batch: bool,
}

/// A transaction whose records a `read_committed` reader must leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: ProducerId,
    /// From which offset on; it ends with the producer's next abort marker.
    pub first_offset: Offset,
}

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct LogRead {
    /// Whole batches, one after the other when joined; a piece may hold part of one batch or many.
    pub records: Vec<Bytes>,
    /// Length of all pieces together.
    pub size_bytes: usize,
    /// The log's offsets when the read began.
    pub offsets: LogOffsets,
    /// The offset after the last batch read; where the read began when there is none.
    pub next_offset: Offset,
    /// Aborted transactions among the batches, for `read_committed`. Empty as long as this log
    /// takes no transactional batches.
    pub aborted: Vec<AbortedTransaction>,
}

impl LogRead {
    fn empty(offsets: LogOffsets, from: Offset) -> Self {
        Self {
            offsets,
            next_offset: from,
            ..Self::default()
        }
    }

    fn push(&mut self, bytes: Bytes, next_offset: Offset) {
        self.size_bytes += bytes.len();
        self.records.push(bytes);
        self.next_offset = next_offset;
    }

    /// Adds batches. Small ones and the prefixes of the others share one buffer; larger bodies are
    /// not copied.
    fn push_batches(&mut self, batches: &[StoredBatch]) {
        let is_small = |batch: &StoredBatch| batch.body().len() < COPY_BYTES;
        let copied = |batch: &StoredBatch| {
            PREFIX_BYTES
                + if is_small(batch) {
                    batch.body().len()
                } else {
                    0
                }
        };
        let mut buffer = BytesMut::with_capacity(batches.iter().map(copied).sum());
        let mut cuts = Vec::new();
        for (number, batch) in batches.iter().enumerate() {
            if number == 1 && seeded_bug::is("reader-skips-batch") {
                continue;
            }
            buffer.extend_from_slice(batch.prefix());
            if is_small(batch) {
                buffer.extend_from_slice(batch.body());
            } else {
                cuts.push((buffer.len(), batch.body().clone()));
            }
            self.size_bytes += batch.size_bytes();
            self.next_offset = batch.next_offset();
        }
        let buffer = buffer.freeze();
        let mut start = 0;
        self.records.reserve(2 * cuts.len() + 1);
        for (end, body) in cuts {
            self.records.push(buffer.slice(start..end));
            self.records.push(body);
            start = end;
        }
        if start < buffer.len() {
            self.records.push(buffer.slice(start..));
        }
    }
}

/// A read that cannot be finished without waiting.
pub(crate) struct Pending {
    log: Arc<PartitionLog>,
    request: ReadRequest,
    offsets: LogOffsets,
    place: Place,
}

impl Pending {
    /// Whether it will be read from segments or table files (it may end in the tail).
    pub(crate) fn is_in_segments(&self) -> bool {
        matches!(self.place, Place::Segments)
    }

    /// Lowers what is read of segments at most, to `max_bytes` and to what is there now. Returns the
    /// new limit, so that the rest may be given to other partitions.
    pub(crate) fn limit_bytes(&mut self, max_bytes: usize) -> usize {
        let there = self.log.tail.unuploaded_bytes() as usize;
        let there = there.saturating_add(segments::bytes_from(
            &self.log,
            self.request.from,
            max_bytes,
        ));
        self.request.max_bytes = max_bytes.min(there);
        self.request.max_bytes
    }

    /// Bytes of the batches found in the tail.
    pub(crate) fn tail_bytes(&self) -> usize {
        match &self.place {
            Place::Segments => 0,
            Place::Tail(batches) => batches.iter().map(TailBatch::size_bytes).sum(),
        }
    }
}

enum Place {
    Segments,
    Tail(Vec<TailBatch>),
}

/// How far a read came without waiting.
pub(crate) enum Started {
    Done(LogRead),
    Pending(Pending),
}

/// Reads partitions. Shared by all readers of a broker.
pub struct LogReader {
    logs: Arc<Logs>,
    cache: SegmentCache,
    history: History,
    read_ahead: ReadAhead,
    guard: Arc<dyn LeaderGuard>,
    metrics: ReadMetrics,
}

impl LogReader {
    /// A reader of `logs` whose segments are read through `cache`. Their ends are told while `guard` says so.
    pub fn new(
        logs: Arc<Logs>,
        cache: SegmentCache,
        guard: Arc<dyn LeaderGuard>,
        metrics: ReadMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            logs,
            history: History::new(cache.clone()),
            cache,
            guard,
            read_ahead: ReadAhead::default(),
            metrics,
        })
    }

    /// The counters.
    pub fn metrics(&self) -> &ReadMetrics {
        &self.metrics
    }

    /// Knows whether ends may be told.
    pub fn guard(&self) -> &dyn LeaderGuard {
        &*self.guard
    }

    /// The log of `tp`.
    pub fn log(&self, tp: &TopicPartition) -> Result<Arc<PartitionLog>, ReadError> {
        self.logs.get(tp).ok_or(ReadError::UnknownPartition)
    }

    pub(crate) fn cache(&self) -> &SegmentCache {
        &self.cache
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// Reads what is there; never waits for more records.
    pub async fn read(&self, request: ReadRequest) -> Result<LogRead, ReadError> {
        let log = self.log(&request.tp)?;
        match self.start(&log, request)? {
            Started::Done(read) => Ok(read),
            Started::Pending(pending) => self.finish(pending).await,
        }
    }

    /// The part of a read that needs no waiting: all of it, when the batches are in memory.
    pub(crate) fn start(
        &self,
        log: &Arc<PartitionLog>,
        request: ReadRequest,
    ) -> Result<Started, ReadError> {
        let offsets = log.tail.offsets();
        let from = request.from;
        if let Some(reason) = log.tail.closed() {
            return Err(ReadError::Closed(reason));
        }
        if from < offsets.log_start {
            return Err(ReadError::OffsetOutOfRange { offsets });
        }
        let upto = request.isolation.limit(&offsets);
        if from >= upto {
            // "Nothing more", or "beyond the end": of the end that was read above.
            check_end(self.guard(), log)?;
        }
        if from > offsets.log_end {
            return Err(ReadError::OffsetOutOfRange { offsets });
        }
        let nothing = request.max_bytes == 0 && !request.min_one_batch;
        if from >= upto || nothing {
            return Ok(Started::Done(LogRead::empty(offsets, from)));
        }
        let place = match log
            .tail
            .read(from, upto, request.max_bytes, request.min_one_batch)
        {
            TailRead::Closed(reason) => return Err(ReadError::Closed(reason)),
            TailRead::Below { .. } => Place::Segments,
            TailRead::Batches { batches, .. } => match in_memory(&batches) {
                Some(batches) => {
                    let mut read = LogRead::empty(offsets, from);
                    read.push_batches(&batches);
                    self.count_tail(&read);
                    return Ok(Started::Done(read));
                }
                None => Place::Tail(batches),
            },
        };
        Ok(Started::Pending(Pending {
            log: Arc::clone(log),
            request,
            offsets,
            place,
        }))
    }

    /// The rest of a read.
    pub(crate) async fn finish(&self, pending: Pending) -> Result<LogRead, ReadError> {
        match pending.place {
            Place::Segments => self.read_segments(pending).await,
            Place::Tail(batches) => {
                let mut read = LogRead::empty(pending.offsets, pending.request.from);
                self.push_tail(&mut read, batches).await?;
                Ok(read)
            }
        }
    }

    /// Adds batches of the tail, from memory or read back from the write-ahead log.
    async fn push_tail(
        &self,
        read: &mut LogRead,
        batches: Vec<TailBatch>,
    ) -> Result<(), ReadError> {
        let before = read.size_bytes;
        if let Some(batches) = in_memory(&batches) {
            read.push_batches(&batches);
            if read.size_bytes > before {
                self.metrics.tail.reads.inc();
                self.metrics
                    .tail
                    .bytes
                    .inc_by((read.size_bytes - before) as u64);
            }
            return Ok(());
        }
        let loaded = load(batches).await?;
        read.push_batches(&loaded);
        self.metrics.spilled.reads.inc();
        self.metrics
            .spilled
            .bytes
            .inc_by((read.size_bytes - before) as u64);
        Ok(())
    }

    fn count_tail(&self, read: &LogRead) {
        if read.size_bytes > 0 {
            self.metrics.tail.reads.inc();
            self.metrics.tail.bytes.inc_by(read.size_bytes as u64);
        }
    }
}

/// All of the batches, if none must be read from the write-ahead log.
fn in_memory(batches: &[TailBatch]) -> Option<Vec<StoredBatch>> {
    batches
        .iter()
        .map(|batch| match batch {
            TailBatch::Memory(batch) => Some(batch.clone()),
            TailBatch::Spilled(_) => None,
        })
        .collect()
}

/// Reads batches of the tail, off the async threads.
pub(crate) async fn load(batches: Vec<TailBatch>) -> Result<Vec<StoredBatch>, ReadError> {
    let loaded: std::io::Result<Vec<StoredBatch>> =
        tokio::task::spawn_blocking(move || batches.iter().map(TailBatch::load).collect()).await?;
    loaded.map_err(|error| ReadError::WriteAheadLog(Arc::new(error)))
}

impl std::fmt::Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader").finish_non_exhaustive()
    }
}
