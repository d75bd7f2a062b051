//! Closed-loop produce: as many records as broker and client manage. For throughput and CPU per GB only; latency
//! under such a load says how long the client's queue is, so it is not reported (see `open_loop`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use serde::Serialize;

use super::REQUEST_TIMEOUT;
use crate::clock::{Deadline, now_ns, since};
use crate::payload::{PayloadKind, PayloadPool};

/// Longest time for what is still queued when the run is over.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

/// A produce load.
#[derive(Debug, Clone, Serialize)]
pub struct ProduceSpec {
    /// Bytes of a record's value; records have no key.
    pub record_bytes: usize,
    /// What is in it.
    pub payload: PayloadKind,
    /// librdkafka's `compression.type`.
    pub compression: &'static str,
    /// Producers, each with its connection and a thread of ours that sends.
    pub producers: usize,
    /// Partitions; each producer sends to all of them in turn.
    pub partitions: i32,
    /// `enable.idempotence`.
    pub idempotent: bool,
}

/// When a run ends: whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct ProduceBound {
    /// Time to send for.
    pub time: Duration,
    /// Bytes of values to send, over all producers.
    pub bytes: u64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ProduceResult {
    /// Records acknowledged.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// From the first send to the last acknowledgement.
    pub seconds: f64,
    /// Records that failed.
    pub failed: u64,
}

impl ProduceResult {
    /// MB (10^6 bytes of values) a second.
    pub fn mb_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }
}

struct Failures(Arc<AtomicU64>);

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Shared {
    bootstrap: String,
    topic: String,
    spec: ProduceSpec,
    pool: PayloadPool,
    bytes_each: u64,
    stop: AtomicBool,
    failed: Arc<AtomicU64>,
    sent: AtomicU64,
    start: Barrier,
}

/// Sends to `topic` until the bound is reached, and waits for every acknowledgement (`acks=all`).
pub fn run(
    bootstrap: &str,
    topic: &str,
    spec: &ProduceSpec,
    bound: ProduceBound,
) -> Result<ProduceResult> {
    let shared = Arc::new(Shared {
        bootstrap: bootstrap.to_owned(),
        topic: topic.to_owned(),
        spec: spec.clone(),
        pool: PayloadPool::new(spec.payload, spec.record_bytes, 42),
        bytes_each: bound.bytes / spec.producers as u64,
        stop: AtomicBool::new(false),
        failed: Arc::new(AtomicU64::new(0)),
        sent: AtomicU64::new(0),
        start: Barrier::new(spec.producers + 1),
    });
    let threads: Vec<_> = (0..spec.producers)
        .map(|index| {
            let shared = shared.clone();
            thread::spawn(move || send_all(&shared, index))
        })
        .collect();
    shared.start.wait();
    let started = now_ns();
    let deadline = Deadline::after(bound.time);
    while !deadline.passed() && !threads.iter().all(|thread| thread.is_finished()) {
        thread::sleep(deadline.left().min(Duration::from_millis(5)));
    }
    shared.stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread
            .join()
            .map_err(|_| anyhow!("a producer thread panicked"))??;
    }
    let seconds = since(started).as_secs_f64();
    let failed = shared.failed.load(Ordering::Relaxed);
    let records = shared.sent.load(Ordering::Relaxed) - failed;
    Ok(ProduceResult {
        records,
        bytes: records * spec.record_bytes as u64,
        seconds,
        failed,
    })
}

fn send_all(shared: &Shared, index: usize) -> Result<()> {
    let producer = connect(shared);
    // Reached even if connecting failed, or the others would wait for ever.
    shared.start.wait();
    let producer = producer?;
    let spec = &shared.spec;
    let limit = shared.bytes_each / spec.record_bytes as u64;
    let mut sent = 0;
    while sent < limit && !shared.stop.load(Ordering::Relaxed) {
        let partition = ((sent + index as u64) % spec.partitions as u64) as i32;
        let payload = shared.pool.get(sent.wrapping_mul(2) + index as u64);
        let record = BaseRecord::<(), [u8]>::to(&shared.topic)
            .partition(partition)
            .payload(payload);
        match producer.send(record) {
            Ok(()) => sent += 1,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(Duration::from_millis(1));
            }
            Err((error, _)) => return Err(error).context("sending"),
        }
    }
    shared.sent.fetch_add(sent, Ordering::Relaxed);
    producer
        .flush(FLUSH_TIMEOUT)
        .context("waiting for acknowledgements")
}

fn connect(shared: &Shared) -> Result<BaseProducer<Failures>> {
    let spec = &shared.spec;
    let mut config = super::config(&shared.bootstrap);
    config
        .set("acks", "all")
        .set("linger.ms", "5")
        .set("compression.type", spec.compression)
        .set(
            "enable.idempotence",
            if spec.idempotent { "true" } else { "false" },
        )
        .set("queue.buffering.max.messages", "200000")
        .set("queue.buffering.max.kbytes", "65536")
        .set("message.timeout.ms", "60000")
        // Only failures are reported one by one: a million callbacks a second would measure the client.
        .set("delivery.report.only.error", "true");
    let producer: BaseProducer<Failures> = config
        .create_with_context(Failures(shared.failed.clone()))
        .context("creating a producer")?;
    producer
        .client()
        .fetch_metadata(Some(&shared.topic), REQUEST_TIMEOUT)
        .with_context(|| format!("asking for the metadata of {}", shared.topic))?;
    Ok(producer)
}
