//! One producer on one partition: its batches go to whoever leads it, in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::rand::{Random, SeededRandom};
use alluvium_protocol::ErrorCode;
use alluvium_protocol::messages::produce_response::{NodeEndpoint, PartitionProduceResponse};
use alluvium_protocol::messages::{InitProducerIdRequest, ProduceRequest};
use alluvium_segment::record_batch::BatchBuilder;
use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::caller::Caller;
use super::router::{Broker, Found, address};
use super::{LoadOptions, REQUEST_PATIENCE, RETRY_AFTER, Shared};
use crate::client::{ALL, Client, Producer, Topic, produce_request};
use crate::history::{Send, SendOutcome, is_definite};
use crate::workload::{ProducerKind, codec_of, content, push, record};

/// Produce versions in use, by turns. All have leader hints; from 13 on topics are named by id.
const VERSIONS: [i16; 3] = [13, 12, 10];
const INIT_PRODUCER_ID_VERSION: i16 = 4;
const BATCH_RECORDS_MAX: u64 = 6;
const VALUE_BYTES_MAX: u64 = 120;

pub(super) struct Lane {
    number: u32,
    kind: ProducerKind,
    topic: Topic,
    index: i32,
    in_flight: usize,
    pace: Duration,
    shared: Shared,
    random: Arc<SeededRandom>,
    version: i16,
    session: u32,
    order: u64,
    records: u64,
    /// Id and epoch, and the next sequence.
    identity: Option<Producer>,
    window: VecDeque<InFlight>,
}

struct InFlight {
    send: Send,
    batch: Bytes,
    correlation_id: i32,
}

/// The connection to the leader is given up, and what is in flight is sent again or given up too.
struct Broken;

impl Lane {
    pub(super) fn new(
        number: u32,
        kind: ProducerKind,
        topic: Topic,
        index: i32,
        options: &LoadOptions,
        shared: Shared,
    ) -> Self {
        Self {
            number,
            kind,
            topic,
            index,
            in_flight: options.in_flight,
            pace: options.pace,
            shared,
            random: SeededRandom::new(options.seed * 10_000 + u64::from(number)),
            version: VERSIONS[number as usize % VERSIONS.len()],
            session: 0,
            order: 0,
            records: 0,
            identity: None,
            window: VecDeque::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut caller = self.shared.caller();
        while !(self.shared.is_stopping() && self.window.is_empty()) {
            if self.is_idempotent() && self.identity.is_none() {
                self.identity = new_identity(&mut caller).await;
            }
            let is_ready = self.identity.is_some() || !self.is_idempotent();
            let partition = self.topic.partition(self.index);
            if let (true, Found::Leader(leader)) =
                (is_ready, self.shared.router.leader(partition).await)
                && self.session(&leader).await.is_err()
            {
                self.give_up_connection(&leader);
            }
            sleep(RETRY_AFTER).await;
        }
    }

    fn is_idempotent(&self) -> bool {
        self.kind == ProducerKind::Idempotent
    }

    fn acks(&self) -> i16 {
        match self.kind {
            ProducerKind::Leader => 1,
            _ => ALL,
        }
    }

    /// Produces over one connection until it breaks or the load stops.
    async fn session(&mut self, leader: &Broker) -> Result<(), Broken> {
        let connecting = timeout(REQUEST_PATIENCE, Client::try_connect(&leader.endpoint));
        let Ok(Ok(mut client)) = connecting.await else {
            return Err(Broken);
        };
        for at in 0..self.window.len() {
            self.transmit(&mut client, at).await?;
        }
        let mut next_at = Instant::now();
        loop {
            let is_free = self.window.len() < self.in_flight && !self.shared.is_stopping();
            if is_free && (self.window.is_empty() || Instant::now() >= next_at) {
                sleep_until(next_at).await;
                next_at = Instant::now() + self.pace;
                let next = self.next_batch();
                self.window.push_back(next);
                self.transmit(&mut client, self.window.len() - 1).await?;
            } else if self.window.is_empty() {
                return Ok(());
            } else {
                self.answer(&mut client, leader).await?;
            }
        }
    }

    async fn transmit(&mut self, client: &mut Client, at: usize) -> Result<(), Broken> {
        let (version, acks) = (self.version, self.acks());
        let entry = &mut self.window[at];
        let batches = vec![(self.index, entry.batch.clone())];
        let request = produce_request(version, acks, &self.topic, batches);
        let sending = timeout(REQUEST_PATIENCE, client.send(&request, version));
        match sending.await {
            Ok(Ok(correlation_id)) => {
                entry.correlation_id = correlation_id;
                Ok(())
            }
            _ => Err(Broken),
        }
    }

    async fn answer(&mut self, client: &mut Client, leader: &Broker) -> Result<(), Broken> {
        let id = self.window[0].correlation_id;
        let receiving = client.receive::<ProduceRequest>(id, self.version);
        let Ok(Ok(response)) = timeout(REQUEST_PATIENCE, receiving).await else {
            return Err(Broken);
        };
        let nodes = response.node_endpoints;
        let partitions = response.responses.into_iter();
        let answer = partitions
            .flat_map(|topic| topic.partition_responses)
            .last();
        let answer = answer.ok_or(Broken)?;
        let code = ErrorCode::from(answer.error_code);
        if code.is_none() {
            self.acknowledged(answer.base_offset);
            return Ok(());
        }
        self.follow(&answer, &nodes, leader);
        if self.is_idempotent() && !self.has_forgotten(code, leader) {
            return Err(Broken);
        }
        if let Some(mut entry) = self.window.pop_front() {
            entry.send.outcome = match is_definite(code) {
                true => SendOutcome::Failed,
                false => SendOutcome::Unknown,
            };
            entry.send.ended = is_definite(code).then(|| self.shared.recorder.tick());
            self.shared.recorder.sent(entry.send);
        }
        Err(Broken)
    }

    fn acknowledged(&mut self, base_offset: i64) {
        if let Some(mut entry) = self.window.pop_front() {
            entry.send.outcome = SendOutcome::Acknowledged { base_offset };
            entry.send.ended = Some(self.shared.recorder.tick());
            self.shared
                .progressed("produce", Some(entry.send.partition));
            self.shared.recorder.sent(entry.send);
        }
    }

    /// Whoever says that it does not lead may say who does.
    fn follow(&self, answer: &PartitionProduceResponse, nodes: &[NodeEndpoint], leader: &Broker) {
        let hinted = &answer.current_leader;
        let node = nodes.iter().find(|node| node.node_id == hinted.leader_id);
        let hint = node.and_then(|node| address(node.node_id, &node.host, node.port));
        let partition = self.topic.partition(self.index);
        self.shared.router.forget(partition, leader.id);
        self.shared
            .router
            .hint(partition, hint, hinted.leader_epoch);
    }

    /// This producer keeps the order, and all before its oldest batch is acknowledged, so a broker that finds
    /// anything wrong with that batch has forgotten something. Then it begins anew.
    fn has_forgotten(&mut self, code: ErrorCode, leader: &Broker) -> bool {
        let forgotten = is_definite(code) || code == ErrorCode::UnknownProducerId;
        if forgotten {
            self.shared.recorder.anomaly(
                "I10",
                format!(
                    "broker {} tells producer {} {code} for its oldest batch, number {} of partition {}",
                    leader.id,
                    self.number,
                    self.window[0].send.order,
                    self.topic.partition(self.index)
                ),
            );
            self.identity = None;
        }
        forgotten
    }

    fn give_up_connection(&mut self, leader: &Broker) {
        let partition = self.topic.partition(self.index);
        // A hint that came with the error names another broker and stays.
        self.shared.router.forget(partition, leader.id);
        if self.identity.is_some() {
            return;
        }
        self.session += 1;
        for entry in self.window.drain(..) {
            self.shared.recorder.sent(entry.send);
        }
    }

    fn next_batch(&mut self) -> InFlight {
        let count = 1 + self.random.below(BATCH_RECORDS_MAX);
        let mut builder = BatchBuilder::new(codec_of(self.number));
        if let Some(producer) = &mut self.identity {
            builder = producer.stamp(builder, producer.sequence);
            producer.sequence += i32::try_from(count).expect("few records");
        }
        let mut contents = Vec::new();
        for _ in 0..count {
            self.records += 1;
            let id = (u64::from(self.number) << 40) | self.records;
            let record = record(id, VALUE_BYTES_MAX, self.random.as_ref());
            contents.push(content(&record));
            push(&mut builder, &record);
        }
        self.order += 1;
        InFlight {
            send: Send {
                producer: self.number,
                session: self.session,
                idempotent: self.is_idempotent(),
                partition: self.topic.partition(self.index),
                order: self.order,
                records: contents,
                ended: None,
                outcome: SendOutcome::Unknown,
            },
            batch: builder.build().expect("a batch"),
            correlation_id: 0,
        }
    }
}

/// A producer id from any broker.
async fn new_identity(caller: &mut Caller) -> Option<Producer> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        producer_id: -1,
        producer_epoch: -1,
    };
    let answer = caller.call_any(&request, INIT_PRODUCER_ID_VERSION).await;
    let answer = answer.ok()?;
    let code = ErrorCode::from(answer.error_code);
    code.is_none()
        .then(|| Producer::new(answer.producer_id, answer.producer_epoch))
}
