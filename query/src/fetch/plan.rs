//! Reading the partitions of a fetch within its limits.

use std::sync::Arc;

use alluvium_cache::budget::{ByteBudget, BytePermit, ReadClass};
use alluvium_cache::log::PartitionLog;
use alluvium_common::epoch::BrokerId;
use alluvium_common::offset::{LogOffsets, Offset};
use futures::stream::{self, StreamExt};

use super::replicas::Found;
use super::{FetchError, FetchPartition, FetchRequest, Fetcher, PartitionRead};
use crate::error::ReadError;
use crate::guard::check_end;
use crate::leader_epoch::check_current;
use crate::log_reader::{Isolation, LogRead, Pending, ReadRequest, Started};

/// Partitions of one fetch whose segments are read at the same time. More would only queue for the
/// same budget, and hold what they have while they wait.
const CONCURRENT_READS: usize = 8;

/// What a fetch may take of each class when the budget is used up: one page of a consumer's time.
const BYTES_LEAST: usize = 64 << 10;

/// What the first batch of a fetch, which is given whatever its size, may exceed its partition's limit by without taking from
/// the others: Kafka's default of `message.max.bytes`.
const FIRST_BATCH_BYTES: usize = 1 << 20;

/// One fetch while it is being answered.
pub(super) struct Poll<'a> {
    fetcher: &'a Fetcher,
    max_bytes: usize,
    isolation: Isolation,
    partitions: &'a [FetchPartition],
    /// `None` for topics that do not exist: they take no part in reading and waiting.
    logs: Vec<Result<Arc<PartitionLog>, FetchError>>,
    /// Brokers to fetch from instead.
    preferred: Vec<Option<BrokerId>>,
    results: Vec<Result<PartitionRead, FetchError>>,
    bytes: usize,
    failed: bool,
    permits: Vec<BytePermit>,
}

/// What one pass may still take.
struct Left {
    request: usize,
    tail: usize,
    backfill: usize,
    /// The first batch may exceed every limit.
    nothing_yet: bool,
}

impl<'a> Poll<'a> {
    pub(super) fn new(
        fetcher: &'a Fetcher,
        request: &FetchRequest,
        partitions: &'a [FetchPartition],
        found: Vec<Result<Found, FetchError>>,
    ) -> Self {
        let preferred = found
            .iter()
            .map(|found| found.as_ref().ok()?.preferred)
            .collect();
        let logs: Vec<_> = found
            .into_iter()
            .map(|found| found.map(|found| found.log))
            .collect();
        let failed = logs
            .iter()
            .any(|log| matches!(log, Err(FetchError::Read(_))));
        Self {
            fetcher,
            max_bytes: request.max_bytes,
            isolation: request.isolation,
            partitions,
            results: logs
                .iter()
                .map(|log| {
                    Err(log
                        .as_ref()
                        .err()
                        .cloned()
                        .unwrap_or(FetchError::UnknownTopic))
                })
                .collect(),
            logs,
            preferred,
            bytes: 0,
            failed,
            permits: Vec::new(),
        }
    }

    /// Bytes of records so far.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the client should hear at once: of an error, or of a log that diverges. Topics that
    /// do not exist are no reason, as in Kafka: clients would ask for them in a tight loop.
    pub(super) fn has_news(&self) -> bool {
        self.failed || !self.logs.iter().any(Result::is_ok)
    }

    /// The partitions' logs that are there, with their places.
    pub(super) fn logs(&self) -> impl Iterator<Item = (usize, &Arc<PartitionLog>, &PartitionRead)> {
        let both = self.logs.iter().zip(&self.results).enumerate();
        both.filter_map(|(index, (log, result))| {
            Some((index, log.as_ref().ok()?, result.as_ref().ok()?))
        })
    }

    pub(super) fn fetcher(&self) -> &'a Fetcher {
        self.fetcher
    }

    pub(super) fn into_results(self) -> (Vec<Result<PartitionRead, FetchError>>, Vec<BytePermit>) {
        (self.results, self.permits)
    }

    /// Reads all partitions, in order.
    pub(super) async fn read_all(&mut self) {
        self.read((0..self.partitions.len()).collect()).await;
    }

    /// Reads these partitions, in order; what was read of them before is replaced. Whatever is not in
    /// memory is read at the same time, each within the share that was left when its turn came.
    pub(super) async fn read(&mut self, places: Vec<usize>) {
        for place in &places {
            self.bytes -= self.results[*place]
                .as_ref()
                .map_or(0, |got| got.read.size_bytes);
        }
        let wanted = self.max_bytes.saturating_sub(self.bytes);
        // No more than the partitions can give: what is granted is held while they are read, and others get less.
        let limits = places.iter().map(|place| self.partitions[*place].max_bytes);
        let most = limits
            .fold(FIRST_BATCH_BYTES, usize::saturating_add)
            .min(wanted);
        let (tail, tail_permit) = self.grant(ReadClass::Tail, most);
        let (backfill, backfill_permit) = self.grant(ReadClass::Backfill, most);
        let mut left = Left {
            request: wanted,
            tail,
            backfill,
            nothing_yet: self.bytes == 0,
        };
        let mut pending = Vec::new();
        for place in places {
            let Ok(log) = &self.logs[place] else {
                continue;
            };
            match self.start(place, log, &mut left) {
                Ok(Started::Done(read)) => {
                    let result = Ok(self.done(log, read));
                    self.settle(place, result);
                }
                Ok(Started::Pending(read)) => pending.push((place, read)),
                Err(Stop::Error(error)) => self.settle(place, Err(error.into())),
                Err(Stop::Told(read)) => {
                    self.failed = true;
                    self.settle(place, Ok(*read));
                }
            }
        }
        let tail_bytes = tail - left.tail;
        let backfill_bytes = self.finish(pending).await;
        self.keep(tail_permit, tail_bytes);
        self.keep(backfill_permit, backfill_bytes);
    }

    fn grant(&self, class: ReadClass, wanted: usize) -> (usize, Option<BytePermit>) {
        let granted = grant(self.fetcher.budgets.of(class), wanted);
        if granted.1.is_none() && wanted > 0 {
            self.fetcher.reader.metrics().shortened.inc();
        }
        granted
    }

    fn keep(&mut self, permit: Option<BytePermit>, bytes: usize) {
        if let Some(mut permit) = permit
            && bytes > 0
        {
            permit.shrink_to(bytes);
            self.permits.push(permit);
        }
    }

    /// The part of one partition's read that needs no waiting. Takes what it reads, or may yet read,
    /// from `left`.
    fn start(
        &self,
        place: usize,
        log: &Arc<PartitionLog>,
        left: &mut Left,
    ) -> Result<Started, Stop> {
        let partition = &self.partitions[place];
        let from = self.check(log, partition)?;
        self.check_preferred(place, log, from)?;
        let limit = partition.max_bytes.min(left.request);
        let started = self.fetcher.reader.start(
            log,
            ReadRequest {
                tp: log.tp,
                from,
                max_bytes: limit.min(left.tail),
                isolation: self.isolation,
                min_one_batch: left.nothing_yet,
            },
        );
        let mut started = started.map_err(Stop::Error)?;
        let taken = match &mut started {
            Started::Done(read) => {
                left.tail = left.tail.saturating_sub(read.size_bytes);
                read.size_bytes
            }
            Started::Pending(read) if read.is_in_segments() => {
                let limit = read.limit_bytes(limit.min(left.backfill));
                left.backfill -= limit;
                limit.max(1)
            }
            Started::Pending(read) => {
                let bytes = read.tail_bytes();
                left.tail = left.tail.saturating_sub(bytes);
                bytes
            }
        };
        left.request = left.request.saturating_sub(taken);
        left.nothing_yet &= taken == 0;
        Ok(started)
    }

    /// The partitions that have given nothing so far.
    pub(super) fn empty(&self) -> Vec<usize> {
        let results = self.results.iter().enumerate();
        results
            .filter(|(_, result)| result.as_ref().is_ok_and(|got| got.read.size_bytes == 0))
            .map(|(place, _)| place)
            .collect()
    }

    /// Everything that is checked before a read, in Kafka's order.
    fn check(&self, log: &PartitionLog, partition: &FetchPartition) -> Result<Offset, Stop> {
        check_current(log, partition.current_leader_epoch).map_err(Stop::Error)?;
        let offsets = log.tail.offsets();
        let out_of_range = Stop::Error(ReadError::OffsetOutOfRange { offsets });
        let Some(from) = Offset::new(partition.fetch_offset) else {
            return Err(out_of_range);
        };
        let Some(epoch) = partition.last_fetched_epoch else {
            return Ok(from);
        };
        match log.epochs.end_of(epoch, offsets.log_end) {
            None => {
                check_end(self.fetcher.reader.guard(), log).map_err(Stop::Error)?;
                Err(out_of_range)
            }
            Some(end) if end.leader_epoch < epoch || end.end_offset < from => {
                check_end(self.fetcher.reader.guard(), log).map_err(Stop::Error)?;
                Err(Stop::Told(Box::new(PartitionRead {
                    diverging: Some(end),
                    ..without_records(log, offsets, from)
                })))
            }
            Some(_) => Ok(from),
        }
    }

    /// A client in another rack is told of a broker there, which serves what the log holds.
    fn check_preferred(&self, place: usize, log: &PartitionLog, from: Offset) -> Result<(), Stop> {
        let offsets = log.tail.offsets();
        let is_open = log.tail.closed().is_none();
        match self.preferred[place] {
            Some(broker_id)
                if is_open && (offsets.log_start..=offsets.high_watermark).contains(&from) =>
            {
                Err(Stop::Told(Box::new(PartitionRead {
                    preferred: Some(broker_id),
                    ..without_records(log, offsets, from)
                })))
            }
            _ => Ok(()),
        }
    }

    /// Finishes reads, several at a time. Returns the bytes that came from segments.
    async fn finish(&mut self, pending: Vec<(usize, Pending)>) -> usize {
        let reader = &self.fetcher.reader;
        let mut finished = stream::iter(pending)
            .map(|(place, read)| async move {
                let in_segments = read.is_in_segments();
                (place, in_segments, reader.finish(read).await)
            })
            .buffer_unordered(CONCURRENT_READS);
        let mut bytes = 0;
        let mut results = Vec::new();
        while let Some((place, in_segments, result)) = finished.next().await {
            if let (true, Ok(read)) = (in_segments, &result) {
                bytes += read.size_bytes;
            }
            results.push((place, result));
        }
        drop(finished);
        for (place, result) in results {
            let result = match (&self.logs[place], result) {
                (Ok(log), Ok(read)) => Ok(self.done(log, read)),
                (_, Err(error)) => Err(error.into()),
                (Err(error), _) => Err(error.clone()),
            };
            self.settle(place, result);
        }
        bytes
    }

    fn done(&self, log: &PartitionLog, read: LogRead) -> PartitionRead {
        PartitionRead {
            read,
            leader_epoch: log.tail.leader_epoch(),
            diverging: None,
            preferred: None,
        }
    }

    fn settle(&mut self, place: usize, result: Result<PartitionRead, FetchError>) {
        match &result {
            Ok(got) => self.bytes += got.read.size_bytes,
            Err(_) => self.failed = true,
        }
        self.results[place] = result;
    }
}

/// Why a partition is not read.
enum Stop {
    Error(ReadError),
    /// The client is told something else than records.
    Told(Box<PartitionRead>),
}

fn without_records(log: &PartitionLog, offsets: LogOffsets, from: Offset) -> PartitionRead {
    PartitionRead {
        read: LogRead {
            offsets,
            next_offset: from,
            ..LogRead::default()
        },
        leader_epoch: log.tail.leader_epoch(),
        diverging: None,
        preferred: None,
    }
}

/// Half of what is free, so that one greedy client leaves something for the next; a small share
/// without a permit when hardly anything is free, so that nobody waits for slow clients.
fn grant(budget: &ByteBudget, wanted: usize) -> (usize, Option<BytePermit>) {
    let share = wanted.min(budget.available_bytes() / 2);
    match budget.try_acquire(share) {
        Some(permit) if share >= wanted.min(BYTES_LEAST) => (share, Some(permit)),
        _ => (wanted.min(BYTES_LEAST), None),
    }
}
