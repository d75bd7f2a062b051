//! Readers: each follows one partition, through one broker or through whoever leads it.

use std::sync::Arc;

use alluvium_protocol::messages::FetchRequest;
use alluvium_protocol::{ErrorCode, Message, StrBytes};
use tokio::time::{Instant, sleep};

use super::caller::Caller;
use super::router::{Broker, Found, Router, address};
use super::{RETRY_AFTER, Shared};
use crate::client::{FetchAnswer, Topic, fetch_request};
use crate::cluster::rack;
use crate::history::{Read, Recorder};
use crate::workload::content;

/// How long a fetch waits for records.
const WAIT_MS: i32 = 200;

/// What a fetch of one partition came to.
pub(super) enum Fetched {
    Answer(FetchAnswer),
    NoAnswer,
}

/// Fetches from `broker` and learns from its hints.
pub(super) async fn fetch(
    caller: &mut Caller,
    broker: &Broker,
    topic: &Topic,
    index: i32,
    offset: i64,
    wait_ms: i32,
) -> Fetched {
    let version = FetchRequest::MAX_VERSION;
    let request = fetch_request(version, topic, index, offset, wait_ms);
    send(caller, broker, topic, index, request).await
}

async fn send(
    caller: &mut Caller,
    broker: &Broker,
    topic: &Topic,
    index: i32,
    request: FetchRequest,
) -> Fetched {
    let version = FetchRequest::MAX_VERSION;
    let offset = request.topics[0].partitions[0].fetch_offset;
    let Ok(response) = caller.call(broker, &request, version).await else {
        return Fetched::NoAnswer;
    };
    let nodes = response.node_endpoints;
    let partitions = response
        .responses
        .into_iter()
        .flat_map(|topic| topic.partitions);
    let Some(data) = partitions.last() else {
        return Fetched::NoAnswer;
    };
    if ErrorCode::from(data.error_code).is_error() {
        let hinted = &data.current_leader;
        let node = nodes.iter().find(|node| node.node_id == hinted.leader_id);
        let leader = node.and_then(|node| address(node.node_id, &node.host, node.port));
        let partition = topic.partition(index);
        caller.router.forget(partition, broker.id);
        caller.router.hint(partition, leader, hinted.leader_epoch);
    }
    Fetched::Answer(FetchAnswer::new(data, offset))
}

pub(super) struct Reader {
    name: String,
    topic: Topic,
    index: i32,
    /// Asked first, whether it leads or not.
    pinned: Option<i32>,
    next: i64,
    shared: Shared,
}

impl Reader {
    pub(super) fn new(topic: Topic, index: i32, pinned: Option<i32>, shared: Shared) -> Self {
        let name = match pinned {
            Some(broker) => format!("through {broker}"),
            None => "live".to_owned(),
        };
        Self {
            name,
            topic,
            index,
            pinned,
            next: 0,
            shared,
        }
    }

    /// Follows until the load stops.
    pub(super) async fn run(mut self) {
        let mut caller = self.shared.caller();
        while !self.shared.is_stopping() {
            let pinned = self.pinned.and_then(|id| self.shared.router.broker(id));
            let served = match pinned {
                // It says that it is of that broker's rack, and so reads there whoever leads.
                Some(broker) => {
                    let rack = rack(usize::try_from(broker.id).expect("from 1"));
                    self.step(&mut caller, &broker, &rack).await
                }
                None => false,
            };
            if served {
                continue;
            }
            let partition = self.topic.partition(self.index);
            let is_read = match self.shared.router.leader(partition).await {
                Found::Leader(leader) => self.step(&mut caller, &leader, "").await,
                Found::Nobody | Found::NoTopic => false,
            };
            if !is_read {
                sleep(RETRY_AFTER).await;
            }
        }
    }

    /// One fetch. Whether it was answered with records or the lack of them.
    async fn step(&mut self, caller: &mut Caller, broker: &Broker, rack: &str) -> bool {
        let (from, partition) = (self.next, self.topic.partition(self.index));
        let began = self.shared.recorder.tick();
        let version = FetchRequest::MAX_VERSION;
        let request = FetchRequest {
            rack_id: StrBytes::copy_of(rack),
            ..fetch_request(version, &self.topic, self.index, from, WAIT_MS)
        };
        let fetched = send(caller, broker, &self.topic, self.index, request).await;
        let Fetched::Answer(answer) = fetched else {
            self.shared.router.forget(partition, broker.id);
            return false;
        };
        if answer.code.is_error() {
            self.judge(answer.code, broker);
            return false;
        }
        if let Some(last) = answer.records.last() {
            self.next = last.offset.get() + 1;
        }
        let read = read(
            &self.name,
            broker,
            &self.topic,
            self.index,
            began,
            from,
            &answer,
        );
        let ended = self.shared.recorder.tick();
        self.shared.recorder.read(Read { ended, ..read });
        self.shared.progressed("fetch", Some(partition));
        true
    }

    /// A reader that follows the end has seen all before it: there is no such offset only if something is lost.
    fn judge(&self, code: ErrorCode, broker: &Broker) {
        if code == ErrorCode::OffsetOutOfRange {
            let (partition, next) = (self.topic.partition(self.index), self.next);
            self.shared.recorder.anomaly(
                "I13",
                format!(
                    "broker {} knows no offset {next} of partition {partition}, up to which reader {} has read",
                    broker.id, self.name
                ),
            );
        }
    }
}

/// A read as histories have it.
pub(super) fn read(
    reader: &str,
    broker: &Broker,
    topic: &Topic,
    index: i32,
    began: u64,
    from: i64,
    answer: &FetchAnswer,
) -> Read {
    let records: Vec<_> = answer
        .records
        .iter()
        .map(|record| (record.offset.get(), content(record)))
        .collect();
    Read {
        reader: reader.to_owned(),
        broker: Some(broker.id),
        partition: topic.partition(index),
        began,
        ended: began,
        from,
        log_start: answer.log_start,
        last_stable: answer.last_stable,
        high_watermark: answer.high_watermark,
        tells_end: records.is_empty(),
        records,
        is_complete: false,
        is_final: false,
    }
}

/// Reads a partition from its beginning to the end that its leader tells, and records it as final. What cannot be read
/// in time is not recorded, which the checker notices.
pub(super) async fn read_to_the_end(
    router: &Arc<Router>,
    topic: &Topic,
    index: i32,
    deadline: Instant,
    recorder: &Recorder,
) {
    let mut caller = Caller::new(Arc::clone(router));
    let mut all: Option<Read> = None;
    let mut next = 0;
    while Instant::now() < deadline {
        let Found::Leader(leader) = router.leader(topic.partition(index)).await else {
            sleep(RETRY_AFTER).await;
            continue;
        };
        let began = recorder.tick();
        let fetched = fetch(&mut caller, &leader, topic, index, next, 0).await;
        let Fetched::Answer(answer) = fetched else {
            router.forget(topic.partition(index), leader.id);
            continue;
        };
        if answer.code == ErrorCode::OffsetOutOfRange {
            return recorder.anomaly(
                "I3",
                format!(
                    "offset {next} of partition {} is out of range at the end",
                    topic.partition(index)
                ),
            );
        }
        if answer.code.is_error() {
            sleep(RETRY_AFTER).await;
            continue;
        }
        let read = read("last", &leader, topic, index, began, next, &answer);
        next = read.records.last().map_or(next, |(last, _)| last + 1);
        let so_far = all.get_or_insert(Read {
            records: Vec::new(),
            ..read.clone()
        });
        so_far.records.extend(read.records);
        so_far.high_watermark = read.high_watermark;
        so_far.last_stable = read.last_stable;
        if next >= read.high_watermark {
            let all = all.expect("just put there");
            return recorder.read(Read {
                ended: recorder.tick(),
                tells_end: true,
                is_complete: true,
                is_final: true,
                ..all
            });
        }
    }
}
