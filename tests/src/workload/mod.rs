//! Producers and a reader that go on through every fault and write down what they did and saw.
//!
//! Every record has a value of its own. An idempotent producer retries until it knows; the others never retry, since
//! a value that they sent twice may rightly stand twice. What stays open is recorded as unknown.

mod producer;
mod reader;
mod record;

use std::time::Duration;

use alluvium::config::Endpoint;
use alluvium_segment::record_batch::Codec;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use self::reader::read_all;
pub(crate) use self::record::{content, push, record};
use crate::broker::PATIENCE;
use crate::client::Topic;
use crate::history::Recorder;

/// Pause before a client tries to connect again.
const RECONNECT_AFTER: Duration = Duration::from_millis(10);

/// What a producer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProducerKind {
    /// `acks=all`, with sequences, retried until it succeeds.
    Idempotent,
    /// `acks=all`
    All,
    /// `acks=1`
    Leader,
    /// `acks=0`
    Unacknowledged,
}

/// What a workload does.
#[derive(Debug, Clone)]
pub struct WorkloadOptions {
    /// Where to.
    pub topic: Topic,
    /// Partitions of the topic; each producer writes to all of them.
    pub partitions: i32,
    /// One producer each.
    pub producers: Vec<ProducerKind>,
    /// Requests a producer has in flight at most.
    pub in_flight: usize,
    /// Records of a batch at most.
    pub batch_records_max: u64,
    /// Bytes of a value at most.
    pub value_bytes_max: u64,
    /// Of every choice that the workload makes.
    pub seed: u64,
}

impl WorkloadOptions {
    /// Every kind of producer, small batches, five in flight.
    pub fn new(topic: Topic, partitions: i32) -> Self {
        use ProducerKind::{All, Idempotent, Leader, Unacknowledged};
        Self {
            topic,
            partitions,
            producers: vec![Idempotent, Idempotent, All, Leader, Unacknowledged],
            in_flight: 5,
            batch_records_max: 8,
            value_bytes_max: 200,
            seed: 1,
        }
    }
}

/// A workload that runs in the background.
#[derive(Debug)]
pub struct Workload {
    acknowledged: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
    producers: JoinSet<()>,
    reader: JoinSet<()>,
}

impl Workload {
    /// Starts against whoever listens at `endpoint`, now or later.
    pub fn start(endpoint: Endpoint, options: &WorkloadOptions, recorder: &Recorder) -> Self {
        let (count, acknowledged) = watch::channel(0);
        let (stop, stopping) = watch::channel(false);
        let mut producers = JoinSet::new();
        for (number, kind) in (1..).zip(&options.producers) {
            let seams = producer::ProducerSeams {
                endpoint: endpoint.clone(),
                recorder: recorder.clone(),
                acknowledged: count.clone(),
                stopping: stopping.clone(),
            };
            let producer = producer::WorkloadProducer::new(number, *kind, options, seams);
            producers.spawn(producer.run());
        }
        let mut reader = JoinSet::new();
        reader.spawn(reader::follow(
            endpoint,
            options.topic.clone(),
            options.partitions,
            recorder.clone(),
            stopping,
        ));
        Self {
            acknowledged,
            stop,
            producers,
            reader,
        }
    }

    /// Records acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        *self.acknowledged.borrow()
    }

    /// Waits until `count` records more than now are acknowledged.
    pub async fn acknowledge(&mut self, count: u64) {
        let wanted = self.acknowledged() + count;
        let reaching = self.acknowledged.wait_for(|have| *have >= wanted);
        let reached = timeout(PATIENCE, reaching).await.is_ok();
        if !reached {
            // A producer that met something it must not meet has ended with the reason.
            while let Some(ended) = self.producers.try_join_next() {
                ended.expect("a producer that goes on");
            }
            let have = self.acknowledged();
            panic!("{have} records acknowledged after {PATIENCE:?}, waiting for {wanted}");
        }
    }

    /// Ends at once. What was not answered by now stays out of the history: only what was acknowledged matters.
    pub async fn abandon(mut self) {
        self.producers.shutdown().await;
        self.reader.shutdown().await;
    }

    /// Starts nothing more, and waits until the fate of all that was sent is known. The broker must be there.
    pub async fn finish(mut self) {
        self.stop.send_replace(true);
        let ended = async {
            while let Some(ended) = self.producers.join_next().await {
                ended.expect("a producer that ends well");
            }
            while let Some(ended) = self.reader.join_next().await {
                ended.expect("a reader that ends well");
            }
        };
        timeout(PATIENCE, ended)
            .await
            .expect("all sends are answered");
    }
}

/// Producers take turns through the codecs.
pub(crate) fn codec_of(producer: u32) -> Codec {
    const CODECS: [Codec; 5] = [
        Codec::None,
        Codec::Lz4,
        Codec::Zstd,
        Codec::Gzip,
        Codec::Snappy,
    ];
    CODECS[producer as usize % CODECS.len()]
}
