//! Reading: fetches in all versions, and records out of them.

use alluvium::client::ClientError;
use alluvium_protocol::messages::FetchRequest;
use alluvium_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use alluvium_protocol::messages::fetch_response::PartitionData;
use alluvium_protocol::{ErrorCode, Message};
use alluvium_segment::record_batch::{DecodeLimits, Record, check_crc, records, split};
use bytes::Bytes;

use super::{BY_ID, Client, Topic, only};

/// One partition's part of a fetch answer.
#[derive(Debug)]
pub struct FetchAnswer {
    /// The code.
    pub code: ErrorCode,
    /// First offset not yet readable.
    pub high_watermark: i64,
    /// First offset not yet readable by `read_committed`.
    pub last_stable: i64,
    /// First offset still readable.
    pub log_start: i64,
    /// The bytes as they came.
    pub bytes: Bytes,
    /// The records at and after the offset asked for.
    pub records: Vec<Record>,
}

/// A fetch of one partition that waits at most `max_wait_ms`.
pub fn fetch_request(
    version: i16,
    topic: &Topic,
    partition: i32,
    offset: i64,
    max_wait_ms: i32,
) -> FetchRequest {
    let (topic, topic_id) = topic.named(version, BY_ID);
    FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 50 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic,
            topic_id,
            partitions: vec![FetchPartition {
                partition,
                current_leader_epoch: -1,
                fetch_offset: offset,
                last_fetched_epoch: -1,
                log_start_offset: -1,
                partition_max_bytes: 10 << 20,
                ..FetchPartition::default()
            }],
        }],
        ..FetchRequest::default()
    }
}

impl FetchAnswer {
    /// Reads a partition's answer to a fetch from `offset`. Panics on bytes that are no batches.
    pub fn new(data: PartitionData, offset: i64) -> Self {
        let bytes = data.records.unwrap_or_default().into_bytes();
        Self {
            code: data.error_code.into(),
            high_watermark: data.high_watermark,
            last_stable: data.last_stable_offset,
            log_start: data.log_start_offset,
            records: open(&bytes, offset),
            bytes,
        }
    }
}

/// All records of `bytes` from `offset` on, each batch's checksum verified.
fn open(bytes: &Bytes, offset: i64) -> Vec<Record> {
    let mut opened = Vec::new();
    for batch in split(bytes) {
        let (_, raw) = batch.expect("whole batches");
        check_crc(&raw).expect("an intact batch");
        let batch = records(&raw, &DecodeLimits::default()).expect("a readable batch");
        let batch = batch.map(|record| record.expect("a readable record"));
        opened.extend(batch.filter(|record| record.offset.get() >= offset));
    }
    opened
}

impl Client {
    /// Fetches from one partition without waiting for more.
    pub async fn fetch(&mut self, topic: &Topic, partition: i32, offset: i64) -> FetchAnswer {
        self.try_fetch(topic, partition, offset, 0)
            .await
            .expect("an answer")
    }

    /// Fetches from one partition.
    pub async fn try_fetch(
        &mut self,
        topic: &Topic,
        partition: i32,
        offset: i64,
        max_wait_ms: i32,
    ) -> Result<FetchAnswer, ClientError> {
        let version = FetchRequest::MAX_VERSION;
        let request = fetch_request(version, topic, partition, offset, max_wait_ms);
        let response = self.try_call(&request, version).await?;
        let code = ErrorCode::from(response.error_code);
        assert!(code.is_none(), "{code}");
        let data = only(only(response.responses).partitions);
        Ok(FetchAnswer::new(data, offset))
    }

    /// Every record of a partition from `offset` up to the high watermark that the last answer names.
    pub async fn read(&mut self, topic: &Topic, partition: i32, offset: i64) -> Vec<Record> {
        let mut records = Vec::new();
        let mut next = offset;
        loop {
            let answer = self.fetch(topic, partition, next).await;
            assert!(answer.code.is_none(), "{} at offset {next}", answer.code);
            if let Some(last) = answer.records.last() {
                next = last.offset.get() + 1;
            } else {
                assert!(
                    next >= answer.high_watermark,
                    "no records at offset {next} below the end"
                );
            }
            records.extend(answer.records);
            if next >= answer.high_watermark {
                return records;
            }
        }
    }

    /// The values of a partition, as text.
    pub async fn values(&mut self, topic: &Topic, partition: i32) -> Vec<String> {
        let records = self.read(topic, partition, 0).await;
        let text = |record: Record| {
            let value = record.value.expect("a value");
            String::from_utf8(value.to_vec()).expect("text")
        };
        records.into_iter().map(text).collect()
    }
}
