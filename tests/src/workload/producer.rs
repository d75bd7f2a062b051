//! One producer of the workload.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use alluvium::client::ClientError;
use alluvium::config::Endpoint;
use alluvium_common::rand::{Random, SeededRandom};
use alluvium_protocol::ErrorCode;
use alluvium_protocol::messages::produce_response::PartitionProduceResponse;
use alluvium_protocol::messages::{MetadataRequest, ProduceRequest};
use alluvium_segment::record_batch::BatchBuilder;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::sleep;

use super::record::{content, push, record};
use super::{ProducerKind, RECONNECT_AFTER, WorkloadOptions, codec_of};
use crate::client::{ALL, Client, Producer, only, produce_request};
use crate::history::{Recorder, Send, SendOutcome, is_definite};

/// Produce versions in use, by turns: topics named by name, and by id.
const VERSIONS: [i16; 4] = [13, 12, 9, 7];

/// What a producer is given.
pub(super) struct ProducerSeams {
    pub endpoint: Endpoint,
    pub recorder: Recorder,
    pub acknowledged: watch::Sender<u64>,
    pub stopping: watch::Receiver<bool>,
}

pub(super) struct WorkloadProducer {
    number: u32,
    kind: ProducerKind,
    options: WorkloadOptions,
    seams: ProducerSeams,
    random: Arc<SeededRandom>,
    version: i16,
    session: u32,
    order: u64,
    records: u64,
    /// Id and epoch, and the next sequence of each partition.
    identity: Option<(Producer, HashMap<i32, i32>)>,
    window: VecDeque<InFlight>,
}

struct InFlight {
    send: Send,
    batch: Bytes,
    correlation_id: i32,
}

/// Why a connection was given up.
enum Broken {
    Client(ClientError),
    /// An answer after which everything is sent again, in order.
    Answer,
}

impl From<ClientError> for Broken {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl WorkloadProducer {
    pub(super) fn new(
        number: u32,
        kind: ProducerKind,
        options: &WorkloadOptions,
        seams: ProducerSeams,
    ) -> Self {
        Self {
            number,
            kind,
            options: options.clone(),
            seams,
            random: SeededRandom::new(options.seed * 1_000 + u64::from(number)),
            version: VERSIONS[number as usize % VERSIONS.len()],
            session: 0,
            order: 0,
            records: 0,
            identity: None,
            window: VecDeque::new(),
        }
    }

    pub(super) async fn run(mut self) {
        while !(self.is_stopping() && self.window.is_empty()) {
            if let Err(broken) = self.session().await {
                self.give_up_connection(&broken);
                sleep(RECONNECT_AFTER).await;
            }
        }
    }

    fn is_stopping(&self) -> bool {
        *self.seams.stopping.borrow()
    }

    fn is_idempotent(&self) -> bool {
        self.kind == ProducerKind::Idempotent
    }

    fn acks(&self) -> i16 {
        match self.kind {
            ProducerKind::Idempotent | ProducerKind::All => ALL,
            ProducerKind::Leader => 1,
            ProducerKind::Unacknowledged => 0,
        }
    }

    /// Produces over one connection until it breaks or the workload stops.
    async fn session(&mut self) -> Result<(), Broken> {
        let mut client = Client::try_connect(&self.seams.endpoint).await?;
        if self.is_idempotent() && self.identity.is_none() {
            self.identity = Some((client.try_producer().await?, HashMap::new()));
        }
        for at in 0..self.window.len() {
            self.transmit(&mut client, at).await?;
        }
        loop {
            while self.window.len() < self.options.in_flight && !self.is_stopping() {
                let next = self.next_batch();
                self.window.push_back(next);
                self.transmit(&mut client, self.window.len() - 1).await?;
            }
            if self.kind == ProducerKind::Unacknowledged {
                self.unanswered(&mut client).await?;
            } else if !self.window.is_empty() {
                self.answer(&mut client).await?;
            }
            if self.window.is_empty() && self.is_stopping() {
                return Ok(());
            }
        }
    }

    async fn transmit(&mut self, client: &mut Client, at: usize) -> Result<(), ClientError> {
        let (version, acks) = (self.version, self.acks());
        let entry = &mut self.window[at];
        let batches = vec![(entry.send.partition.index, entry.batch.clone())];
        let request = produce_request(version, acks, &self.options.topic, batches);
        entry.correlation_id = client.send(&request, version).await?;
        Ok(())
    }

    /// `acks=0` gets no answer: the answer to the next request is the next thing on the connection.
    async fn unanswered(&mut self, client: &mut Client) -> Result<(), ClientError> {
        let request = MetadataRequest {
            topics: Some(Vec::new()),
            ..MetadataRequest::default()
        };
        client.try_call(&request, 9).await?;
        for entry in self.window.drain(..) {
            self.seams.recorder.sent(entry.send);
        }
        Ok(())
    }

    async fn answer(&mut self, client: &mut Client) -> Result<(), Broken> {
        let id = self.window[0].correlation_id;
        let response = client.receive::<ProduceRequest>(id, self.version).await?;
        let answer = only(only(response.responses).partition_responses);
        let code = ErrorCode::from(answer.error_code);
        if code.is_error() && self.is_idempotent() {
            self.check_idempotent(code, &answer);
            return Err(Broken::Answer);
        }
        let Some(mut entry) = self.window.pop_front() else {
            return Ok(());
        };
        entry.send.outcome = match code {
            ErrorCode::None => SendOutcome::Acknowledged {
                base_offset: answer.base_offset,
            },
            code if is_definite(code) => SendOutcome::Failed,
            _ => SendOutcome::Unknown,
        };
        if code.is_none() {
            let records = entry.send.records.len() as u64;
            self.seams
                .acknowledged
                .send_modify(|count| *count += records);
        }
        if entry.send.outcome != SendOutcome::Unknown {
            entry.send.ended = Some(self.seams.recorder.tick());
        }
        self.seams.recorder.sent(entry.send);
        Ok(())
    }

    /// This producer keeps the order and all before its oldest batch is acknowledged, so a broker that finds
    /// anything wrong with that batch has forgotten something.
    fn check_idempotent(&self, code: ErrorCode, answer: &PartitionProduceResponse) {
        let send = &self.window[0].send;
        assert!(
            !is_definite(code) && code != ErrorCode::UnknownProducerId,
            "producer {} was told {code} ({:?}) for its oldest batch, number {} of partition {}",
            self.number,
            answer.error_message,
            send.order,
            send.partition,
        );
    }

    fn give_up_connection(&mut self, broken: &Broken) {
        if let Broken::Client(ClientError::BadAnswer(why)) = broken {
            panic!("an answer that is none: {why}");
        }
        if self.is_idempotent() {
            return;
        }
        self.session += 1;
        for entry in self.window.drain(..) {
            self.seams.recorder.sent(entry.send);
        }
    }

    fn next_batch(&mut self) -> InFlight {
        let partitions = u64::from(self.options.partitions.unsigned_abs());
        let partition = self.random.below(partitions) as i32;
        let count = 1 + self.random.below(self.options.batch_records_max);
        let mut builder = BatchBuilder::new(codec_of(self.number));
        if let Some((producer, sequences)) = &mut self.identity {
            let sequence = sequences.entry(partition).or_insert(0);
            builder = producer.stamp(builder, *sequence);
            *sequence += count as i32;
        }
        let mut contents = Vec::new();
        for _ in 0..count {
            self.records += 1;
            let id = (u64::from(self.number) << 40) | self.records;
            let record = record(id, self.options.value_bytes_max, self.random.as_ref());
            contents.push(content(&record));
            push(&mut builder, &record);
        }
        self.order += 1;
        InFlight {
            send: Send {
                producer: self.number,
                session: self.session,
                idempotent: self.is_idempotent(),
                partition: self.options.topic.partition(partition),
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
