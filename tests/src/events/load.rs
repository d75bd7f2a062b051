//! The loader: produces the events of a seed, and tells what a reader must find, by the offsets that the broker gave.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;

use alluvium::config::Endpoint;
use alluvium_protocol::messages::ProduceRequest;
use alluvium_protocol::{ErrorCode, Message};
use alluvium_segment::record_batch::{BatchBuilder, Codec};
use anyhow::{Context, ensure};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::digest::Row;
use super::generate::{EventRecord, Events};
use super::latest::Latest;
use super::odd::Kind;
use super::tally::Tally;
use crate::client::{ALL, Client, Producer, Topic, only, produce_request};

/// By turns, from partition to partition.
const CODECS: [Codec; 3] = [Codec::None, Codec::Lz4, Codec::Zstd];

/// Partitions that are produced to at the same time: each is a connection.
const CONNECTIONS_MAX: usize = 256;

/// What to produce, and how.
#[derive(Debug, Clone, Copy)]
pub struct LoadPlan {
    /// Which events.
    pub seed: u64,
    /// What they are like.
    pub kind: Kind,
    /// How many, over all partitions.
    pub events: u64,
    /// Over how many partitions, which the topic must have.
    pub partitions: i32,
    /// Leave out events without a key, which compacted topics refuse, and tell the latest of each key.
    pub keyed: bool,
    /// Records of a batch.
    pub batch_records: NonZeroUsize,
    /// Batches of a partition that wait for their answers at the same time. Brokers promise the order of five.
    pub in_flight: usize,
}

impl LoadPlan {
    /// Events of a web shop, in batches of 500 records, of which five are in flight.
    pub fn new(seed: u64, events: u64, partitions: i32) -> Self {
        Self::of_kind(Kind::Shop, seed, events, partitions)
    }

    /// Records of that kind, in batches that suit it.
    pub fn of_kind(kind: Kind, seed: u64, events: u64, partitions: i32) -> Self {
        Self {
            seed,
            kind,
            events,
            partitions,
            keyed: false,
            batch_records: NonZeroUsize::new(kind.batch_records()).expect("not zero"),
            in_flight: kind.in_flight(),
        }
    }

    /// How many of the events go into a partition: as many as into any other, or one more.
    fn events_of(&self, partition: i32) -> u64 {
        let (partition, partitions) = (u64::from(partition.unsigned_abs()), self.width());
        self.events / partitions + u64::from(partition < self.events % partitions)
    }

    fn width(&self) -> u64 {
        u64::from(self.partitions.unsigned_abs()).max(1)
    }
}

/// What was produced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// What a reader must find.
    pub tally: Tally,
    /// What a reader must find when the topic is compacted. Nothing unless [`LoadPlan::keyed`] says so.
    pub latest: Tally,
    /// Bytes of keys, values and headers.
    pub payload_bytes: u64,
    /// Bytes of the batches, as they were sent.
    pub sent_bytes: u64,
}

impl Loaded {
    fn merge(&mut self, other: &Self) {
        self.tally.merge(&other.tally);
        self.latest.merge(&other.latest);
        self.payload_bytes += other.payload_bytes;
        self.sent_bytes += other.sent_bytes;
    }
}

/// Produces all of `plan` into a topic of the one broker at `endpoint`, every partition over a connection of its own, with
/// `acks=all` and idempotent producers. `progress` is told of records that were acknowledged.
///
/// # Errors
/// A connection breaks, or the broker refuses something: nothing is tried again.
pub async fn load(
    endpoint: &Endpoint,
    topic: &Topic,
    plan: &LoadPlan,
    progress: impl Fn(u64) + Clone + Send + Sync + 'static,
) -> anyhow::Result<Loaded> {
    let mut lanes = JoinSet::new();
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    for partition in 0..plan.partitions {
        let (endpoint, topic, plan, progress) =
            (endpoint.clone(), topic.clone(), *plan, progress.clone());
        let connections = Arc::clone(&connections);
        lanes.spawn(async move {
            let _connection = connections.acquire_owned().await?;
            let lane = Lane::open(&endpoint, topic, plan, partition).await?;
            let loaded = lane.run(progress).await;
            loaded.with_context(|| format!("producing to partition {partition}"))
        });
    }
    let mut all = Loaded::default();
    while let Some(lane) = lanes.join_next().await {
        all.merge(&lane??);
    }
    Ok(all)
}

/// One partition.
struct Lane {
    client: Client,
    producer: Producer,
    topic: Topic,
    plan: LoadPlan,
    partition: i32,
    window: VecDeque<InFlight>,
    loaded: Loaded,
    latest: Latest,
    buffer: Vec<u8>,
}

struct InFlight {
    correlation_id: i32,
    records: Vec<EventRecord>,
}

impl Lane {
    async fn open(
        endpoint: &Endpoint,
        topic: Topic,
        plan: LoadPlan,
        partition: i32,
    ) -> anyhow::Result<Self> {
        let mut client = Client::try_connect(endpoint).await?;
        Ok(Self {
            producer: client.try_producer().await?,
            client,
            topic,
            plan,
            partition,
            window: VecDeque::new(),
            loaded: Loaded::default(),
            latest: Latest::default(),
            buffer: Vec::new(),
        })
    }

    async fn run(mut self, progress: impl Fn(u64)) -> anyhow::Result<Loaded> {
        let events = Events::of_kind(self.plan.seed, self.plan.kind);
        let count = self.plan.events_of(self.partition);
        let step = self.plan.batch_records.get();
        for first in (0..count).step_by(step) {
            let indices = first..count.min(first + step as u64);
            let records = indices.map(|index| events.event(self.partition, index));
            let records = records.filter(|record| record.key.is_some() || !self.plan.keyed);
            let records: Vec<_> = records.collect();
            if records.is_empty() {
                continue;
            }
            self.send(records).await?;
            if self.window.len() >= self.plan.in_flight.max(1) {
                progress(self.receive().await?);
            }
        }
        while !self.window.is_empty() {
            progress(self.receive().await?);
        }
        self.loaded.latest = self.latest.tally(self.partition);
        Ok(self.loaded)
    }

    async fn send(&mut self, records: Vec<EventRecord>) -> anyhow::Result<()> {
        let codec = CODECS[self.partition.unsigned_abs() as usize % CODECS.len()];
        let mut builder = self
            .producer
            .stamp(BatchBuilder::new(codec), self.producer.sequence);
        for record in &records {
            builder.push(
                record.timestamp_ms,
                record.key.as_deref(),
                record.value.as_deref(),
                &record.header_refs(),
            );
        }
        let count = builder.record_count();
        let batch = builder.build()?;
        self.loaded.sent_bytes += batch.len() as u64;
        let batches = vec![(self.partition, batch)];
        let version = ProduceRequest::MAX_VERSION;
        let request = produce_request(version, ALL, &self.topic, batches);
        let correlation_id = self.client.send(&request, version).await?;
        self.producer.sequence = self
            .producer
            .sequence
            .checked_add(count)
            .context("too many events for the sequences of one producer")?;
        self.window.push_back(InFlight {
            correlation_id,
            records,
        });
        Ok(())
    }

    /// Takes the oldest answer, and returns how many records it acknowledges.
    async fn receive(&mut self) -> anyhow::Result<u64> {
        let sent = self.window.pop_front().context("nothing is in flight")?;
        let receiving = self
            .client
            .receive::<ProduceRequest>(sent.correlation_id, ProduceRequest::MAX_VERSION);
        let response = receiving.await?;
        let answer = only(only(response.responses).partition_responses);
        let code = ErrorCode::from(answer.error_code);
        ensure!(code.is_none(), "{code}: {:?}", answer.error_message);
        for (offset, record) in (answer.base_offset..).zip(&sent.records) {
            self.loaded.payload_bytes += record.payload_bytes();
            let row = Row {
                partition: self.partition,
                offset,
                timestamp_ms: record.timestamp_ms,
                timestamp_type: 0,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &record.header_refs(),
            };
            let digest = self.loaded.tally.add(&row, &mut self.buffer);
            if let Some(key) = row.key.filter(|_| self.plan.keyed) {
                self.latest.add(key, offset, digest);
            }
        }
        Ok(sent.records.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_goes_into_one_partition() {
        for events in [0, 1, 11, 12, 13, 5_000] {
            let plan = LoadPlan::new(1, events, 12);
            let of: Vec<_> = (0..12).map(|partition| plan.events_of(partition)).collect();
            assert_eq!(of.iter().sum::<u64>(), events);
            assert!(of[0] - of[11] <= 1, "{of:?}");
        }
    }
}
