//! The consumer: reads a topic from offset 0 to its end and counts what it is given, a fetch at a time.

use alluvium::config::Endpoint;
use alluvium_protocol::messages::FetchRequest;
use alluvium_protocol::messages::fetch_response::PartitionData;
use alluvium_protocol::{ErrorCode, Message};
use alluvium_segment::record_batch::{
    BatchHeader, DecodeLimits, TimestampType, check_crc, records, split,
};
use anyhow::{Context, ensure};
use bytes::Bytes;
use tokio::task::JoinSet;

use super::digest::Row;
use super::tally::Tally;
use crate::client::{Client, Topic, fetch_request, only};

/// Kafka's number for `read_committed`.
const READ_COMMITTED: i8 = 1;
/// How long the broker may wait for records that are said to be there.
const WAIT_MS: i32 = 500;

/// What to read, and how.
#[derive(Debug, Clone, Copy)]
pub struct ConsumePlan {
    /// How many partitions the topic has.
    pub partitions: i32,
    /// Partitions that are read at the same time. Each takes memory for one fetch and one open batch.
    pub readers: usize,
}

impl ConsumePlan {
    /// Four partitions at a time.
    pub fn new(partitions: i32) -> Self {
        Self {
            partitions,
            readers: 4,
        }
    }
}

/// Reads all partitions of a topic of the one broker at `endpoint`, as a `read_committed` consumer does. `progress` is told
/// of records that were read.
///
/// # Errors
/// A connection breaks, the broker refuses something or answers with what no batch is, or offsets do not ascend.
pub async fn consume(
    endpoint: &Endpoint,
    topic: &Topic,
    plan: &ConsumePlan,
    progress: impl Fn(u64) + Clone + Send + Sync + 'static,
) -> anyhow::Result<Tally> {
    let mut readers = JoinSet::new();
    let step = plan.readers.max(1);
    for first in (0..plan.partitions).take(step) {
        let (endpoint, topic, progress) = (endpoint.clone(), topic.clone(), progress.clone());
        let partitions = (first..plan.partitions).step_by(step);
        readers.spawn(async move {
            let mut client = Client::try_connect(&endpoint).await?;
            let mut all = Tally::default();
            for partition in partitions {
                let reading = read(&mut client, &topic, partition, &progress).await;
                all.merge(&reading.with_context(|| format!("reading partition {partition}"))?);
            }
            anyhow::Ok(all)
        });
    }
    let mut all = Tally::default();
    while let Some(reader) = readers.join_next().await {
        all.merge(&reader??);
    }
    Ok(all)
}

async fn read(
    client: &mut Client,
    topic: &Topic,
    partition: i32,
    progress: &impl Fn(u64),
) -> anyhow::Result<Tally> {
    let version = FetchRequest::MAX_VERSION;
    let mut reading = Reading {
        partition,
        next: 0,
        tally: Tally::default(),
        buffer: Vec::new(),
    };
    loop {
        let from = reading.next;
        let request = FetchRequest {
            isolation_level: READ_COMMITTED,
            ..fetch_request(version, topic, partition, from, WAIT_MS)
        };
        let response = client.try_call(&request, version).await?;
        let code = ErrorCode::from(response.error_code);
        ensure!(code.is_none(), "{code}");
        let data = only(only(response.responses).partitions);
        let code = ErrorCode::from(data.error_code);
        ensure!(code.is_none(), "{code} at offset {from}");
        let before = reading.tally.records;
        reading.take(&data)?;
        progress(reading.tally.records - before);
        if reading.next >= data.high_watermark {
            return Ok(reading.tally);
        }
        let (next, end) = (reading.next, data.high_watermark);
        ensure!(next > from, "nothing at offset {from}, below the end {end}");
    }
}

/// One partition.
struct Reading {
    partition: i32,
    /// The offset to be read next.
    next: i64,
    tally: Tally,
    buffer: Vec<u8>,
}

impl Reading {
    fn take(&mut self, data: &PartitionData) -> anyhow::Result<()> {
        // Whoever loads events uses no transactions, so that no list of aborted ones need be followed.
        let aborted = data.aborted_transactions.as_ref().map_or(0, Vec::len);
        ensure!(aborted == 0, "{aborted} aborted transactions among events");
        let bytes = data.records.clone().unwrap_or_default().into_bytes();
        let from = self.next;
        for batch in split(&bytes) {
            let (header, raw) = batch?;
            check_crc(&raw)?;
            if !header.attributes.is_control() {
                self.take_batch(&header, &raw, from)?;
            }
            // A batch may end with offsets whose records are gone.
            let end = header.base_offset + i64::from(header.last_offset_delta) + 1;
            self.next = self.next.max(end);
        }
        Ok(())
    }

    /// A fetch answers with whole batches: records before `from`, the offset asked for, are no news. All others must be.
    fn take_batch(&mut self, header: &BatchHeader, raw: &Bytes, from: i64) -> anyhow::Result<()> {
        for record in records(raw, &DecodeLimits::default())? {
            let record = record?;
            let offset = record.offset.get();
            if offset < from {
                continue;
            }
            let next = self.next;
            ensure!(offset >= next, "offset {offset} after {}", next - 1);
            self.next = offset + 1;
            let headers: Vec<_> = record
                .headers
                .iter()
                .map(|header| (header.key.as_ref(), header.value.as_deref()))
                .collect();
            let row = Row {
                partition: self.partition,
                offset,
                timestamp_ms: record.timestamp,
                timestamp_type: match header.attributes.timestamp_type() {
                    TimestampType::CreateTime => 0,
                    TimestampType::LogAppendTime => 1,
                },
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &headers,
            };
            self.tally.add(&row, &mut self.buffer);
        }
        Ok(())
    }
}
