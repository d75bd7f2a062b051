//! Readers: one that follows the end through every fault, and one that reads everything at the end.

use alluvium::client::ClientError;
use alluvium::config::Endpoint;
use alluvium_protocol::ErrorCode;
use tokio::sync::watch;
use tokio::time::sleep;

use super::RECONNECT_AFTER;
use super::record::content;
use crate::client::{Client, Topic};
use crate::history::{Read, Recorder};

/// How long one fetch waits for records. Short, since one connection follows all partitions in turn.
const WAIT_MS: i32 = 20;

/// Follows all partitions from their beginning until the workload stops.
pub(super) async fn follow(
    endpoint: Endpoint,
    topic: Topic,
    partitions: i32,
    recorder: Recorder,
    stopping: watch::Receiver<bool>,
) {
    let count = usize::try_from(partitions).expect("a few partitions");
    let mut follower = Follower {
        topic,
        next: vec![0; count],
        recorder,
        stopping,
    };
    while !*follower.stopping.borrow() {
        // Whatever went wrong, the broker may be dead: connect again.
        if follower.session(&endpoint).await.is_err() {
            sleep(RECONNECT_AFTER).await;
        }
    }
}

struct Follower {
    topic: Topic,
    /// Offset to be read next, by partition.
    next: Vec<i64>,
    recorder: Recorder,
    stopping: watch::Receiver<bool>,
}

impl Follower {
    async fn session(&mut self, endpoint: &Endpoint) -> Result<(), ClientError> {
        let mut client = Client::try_connect(endpoint).await?;
        while !*self.stopping.borrow() {
            for partition in 0..self.next.len() {
                self.step(&mut client, partition).await?;
            }
        }
        Ok(())
    }

    async fn step(&mut self, client: &mut Client, partition: usize) -> Result<(), ClientError> {
        let from = self.next[partition];
        let index = i32::try_from(partition).expect("a few partitions");
        let began = self.recorder.tick();
        let answer = client.try_fetch(&self.topic, index, from, WAIT_MS).await?;
        if answer.code.is_error() {
            may_pass(answer.code);
            sleep(RECONNECT_AFTER).await;
            return Ok(());
        }
        if let Some(last) = answer.records.last() {
            self.next[partition] = last.offset.get() + 1;
        }
        self.recorder.read(Read {
            reader: "follower".to_owned(),
            broker: None,
            partition: self.topic.partition(index),
            began,
            ended: self.recorder.tick(),
            from,
            log_start: answer.log_start,
            last_stable: answer.last_stable,
            high_watermark: answer.high_watermark,
            records: answer
                .records
                .iter()
                .map(|r| (r.offset.get(), content(r)))
                .collect(),
            // Nobody else could have added anything.
            tells_end: true,
            is_complete: false,
            is_final: false,
        });
        Ok(())
    }
}

/// Errors that a reader may meet while a broker starts or stops. OFFSET_OUT_OF_RANGE, for one, may never be met:
/// it would make a consumer skip or repeat records.
fn may_pass(code: ErrorCode) {
    let passes = matches!(
        code,
        ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::KafkaStorageError
            | ErrorCode::RequestTimedOut
    );
    assert!(passes, "a reader that follows the end was told {code}");
}

/// Reads all partitions from the beginning to the end, over a connection of its own.
pub async fn read_all(endpoint: &Endpoint, topic: &Topic, partitions: i32, recorder: &Recorder) {
    let mut client = Client::connect(endpoint).await;
    for partition in 0..partitions {
        let began = recorder.tick();
        let end = client.fetch(topic, partition, 0).await;
        let records = client.read(topic, partition, 0).await;
        let last = records.last().map_or(0, |record| record.offset.get() + 1);
        recorder.read(Read {
            reader: "last".to_owned(),
            broker: None,
            partition: topic.partition(partition),
            began,
            ended: recorder.tick(),
            from: 0,
            log_start: end.log_start,
            last_stable: end.last_stable.max(last),
            high_watermark: end.high_watermark.max(last),
            records: records
                .iter()
                .map(|r| (r.offset.get(), content(r)))
                .collect(),
            tells_end: true,
            is_complete: true,
            is_final: true,
        });
    }
}
