//! Open-loop load: record `i` is due at `start + i / rate`, whatever became of the records before it, and its latency
//! counts from then. A broker (or client) that stalls is charged for every record that was due meanwhile; a loop that
//! waits for answers would leave those out (coordinated omission).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use serde::Serialize;

use super::{REQUEST_TIMEOUT, consumer, watermarks};
use crate::clock::{Deadline, now_ns};
use crate::payload::{PayloadKind, PayloadPool};
use crate::stats::Percentiles;

/// Longest wait for what is outstanding when the last record has been sent.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// A record begins with the run's mark and the time it was due, 8 bytes each.
const STAMP_BYTES: usize = 16;

/// An open-loop load.
#[derive(Debug, Clone, Serialize)]
pub struct OpenLoopSpec {
    /// Bytes of a record's value.
    pub record_bytes: usize,
    /// What is in it.
    pub payload: PayloadKind,
    /// Records a second.
    pub rate: u64,
    /// librdkafka's `linger.ms`.
    pub linger_ms: &'static str,
    /// Partitions, used in turn.
    pub partitions: i32,
    /// Consumers that read everything from the tail, each with connections of its own.
    pub consumers: usize,
    /// Time to send for.
    pub time: Duration,
    /// Records due before this do not count: connections, metadata and code warm up.
    pub discard: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct OpenLoopResult {
    /// Records sent, those discarded included.
    pub sent: u64,
    /// Records that failed.
    pub failed: u64,
    /// Due until acknowledged.
    pub acknowledged: Percentiles,
    /// Due until handed to a consumer; of the first consumer.
    pub end_to_end: Option<Percentiles>,
    /// Due until handed to the client library: what our own sender adds to the figures above.
    pub late: Percentiles,
    /// Bytes of values that consumers received.
    pub consumed_bytes: u64,
}

struct Acks {
    schedule: Schedule,
    latencies: Mutex<Vec<u64>>,
    failed: std::sync::atomic::AtomicU64,
}

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let now = now_ns();
        if result.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        } else if let Some(due) = self.schedule.counted(index as u64) {
            // A poisoned lock means another callback panicked; its samples are as good as before.
            let mut latencies = self
                .latencies
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            latencies.push(now.saturating_sub(due));
        }
    }
}

/// When each record is due.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    start_ns: u64,
    rate: u64,
    discard_ns: u64,
}

impl Schedule {
    fn due(&self, index: u64) -> u64 {
        self.start_ns + (u128::from(index) * 1_000_000_000 / u128::from(self.rate)) as u64
    }

    /// When it is due, if its latency counts.
    fn counted(&self, index: u64) -> Option<u64> {
        let due = self.due(index);
        (due >= self.start_ns + self.discard_ns).then_some(due)
    }
}

/// Sends on schedule, reads from the tail, and waits until all has been acknowledged and consumed.
pub fn run(bootstrap: &str, topic: &str, spec: &OpenLoopSpec) -> Result<OpenLoopResult> {
    if spec.record_bytes < STAMP_BYTES {
        bail!("records of an open-loop run are at least {STAMP_BYTES} bytes");
    }
    let count = spec.rate * u64::try_from(spec.time.as_millis())? / 1000;
    let consumers = (0..spec.consumers)
        .map(|_| at_the_end(bootstrap, topic, spec.partitions))
        .collect::<Result<Vec<_>>>()?;
    // The consumers' first long polls are out before the first record is due.
    let schedule = Schedule {
        start_ns: now_ns() + 300_000_000,
        rate: spec.rate,
        discard_ns: u64::try_from(spec.discard.as_nanos())?,
    };
    let give_up = Deadline::after(spec.time + DRAIN_TIMEOUT);
    let readers: Vec<_> = consumers
        .into_iter()
        .map(|consumer| thread::spawn(move || read_tail(&consumer, schedule, count, give_up)))
        .collect();
    let (late, producer) = send(bootstrap, topic, spec, schedule, count)?;
    let mut end_to_end = None;
    let mut consumed_bytes = 0;
    for reader in readers {
        let tail = reader
            .join()
            .map_err(|_| anyhow!("a consumer thread panicked"))??;
        consumed_bytes += tail.bytes;
        end_to_end.get_or_insert(Percentiles::of(tail.latencies));
    }
    let acks = producer.context();
    let mut latencies = acks
        .latencies
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(OpenLoopResult {
        sent: count,
        failed: acks.failed.load(Ordering::Relaxed),
        acknowledged: Percentiles::of(std::mem::take(&mut *latencies)),
        end_to_end,
        late: Percentiles::of(late),
        consumed_bytes,
    })
}

fn send(
    bootstrap: &str,
    topic: &str,
    spec: &OpenLoopSpec,
    schedule: Schedule,
    count: u64,
) -> Result<(Vec<u64>, Arc<BaseProducer<Acks>>)> {
    let mut config = super::config(bootstrap);
    config
        .set("acks", "all")
        .set("linger.ms", spec.linger_ms)
        .set("queue.buffering.max.messages", "1000000")
        .set("message.timeout.ms", "25000");
    let acks = Acks {
        schedule,
        latencies: Mutex::default(),
        failed: Default::default(),
    };
    let producer: Arc<BaseProducer<Acks>> = Arc::new(
        config
            .create_with_context(acks)
            .context("creating a producer")?,
    );
    producer
        .client()
        .fetch_metadata(Some(topic), REQUEST_TIMEOUT)?;
    let polling = Arc::new(AtomicBool::new(true));
    let poller = {
        let (producer, polling) = (producer.clone(), polling.clone());
        thread::spawn(move || {
            while polling.load(Ordering::Relaxed) {
                producer.poll(Duration::from_millis(20));
            }
        })
    };
    let late = send_on_schedule(&producer, topic, spec, schedule, count);
    let flushed = producer.flush(DRAIN_TIMEOUT);
    polling.store(false, Ordering::Relaxed);
    poller
        .join()
        .map_err(|_| anyhow!("the polling thread panicked"))?;
    flushed.context("waiting for acknowledgements")?;
    Ok((late?, producer))
}

fn send_on_schedule(
    producer: &BaseProducer<Acks>,
    topic: &str,
    spec: &OpenLoopSpec,
    schedule: Schedule,
    count: u64,
) -> Result<Vec<u64>> {
    let pool = PayloadPool::new(spec.payload, spec.record_bytes, 43);
    let mut value = vec![0; spec.record_bytes];
    let mut late = Vec::with_capacity(usize::try_from(count)?);
    for index in 0..count {
        let due = schedule.due(index);
        let now = now_ns();
        if due > now {
            thread::sleep(Duration::from_nanos(due - now));
        }
        if schedule.counted(index).is_some() {
            late.push(now_ns().saturating_sub(due));
        }
        value.copy_from_slice(pool.get(index));
        value[..8].copy_from_slice(&schedule.start_ns.to_be_bytes());
        value[8..STAMP_BYTES].copy_from_slice(&index.to_be_bytes());
        let partition = (index % spec.partitions as u64) as i32;
        let mut record =
            BaseRecord::<(), [u8], usize>::with_opaque_to(topic, usize::try_from(index)?)
                .partition(partition)
                .payload(&value);
        // A full queue only delays: the schedule, and so the latency, goes on.
        while let Err((error, unsent)) = producer.send(record) {
            if !matches!(
                error,
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)
            ) {
                return Err(error).context("sending");
            }
            record = unsent;
            thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(late)
}

fn at_the_end(bootstrap: &str, topic: &str, partitions: i32) -> Result<BaseConsumer> {
    let consumer = consumer(bootstrap)?;
    let mut list = TopicPartitionList::new();
    for (partition, (_, end)) in (0..).zip(watermarks(&consumer, topic, partitions)?) {
        list.add_partition_offset(topic, partition, Offset::Offset(end))?;
    }
    consumer.assign(&list)?;
    Ok(consumer)
}

struct TailRead {
    latencies: Vec<u64>,
    bytes: u64,
}

fn read_tail(
    consumer: &BaseConsumer,
    schedule: Schedule,
    count: u64,
    give_up: Deadline,
) -> Result<TailRead> {
    let mut read = TailRead {
        latencies: Vec::with_capacity(usize::try_from(count)?),
        bytes: 0,
    };
    let mut received = 0;
    while received < count {
        if give_up.passed() {
            bail!("a tail consumer received {received} of {count} records in time");
        }
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let now = now_ns();
        let message = message.context("consuming")?;
        let value = message.payload().context("a record without a value")?;
        let Some(index) = stamped_index(value, schedule.start_ns) else {
            continue;
        };
        received += 1;
        read.bytes += value.len() as u64;
        if let Some(due) = schedule.counted(index) {
            read.latencies.push(now.saturating_sub(due));
        }
    }
    Ok(read)
}

/// The index in a record of this run; nothing if it is another run's.
fn stamped_index(value: &[u8], mark: u64) -> Option<u64> {
    let (found, rest) = value.split_first_chunk::<8>()?;
    let index = rest.first_chunk::<8>()?;
    (u64::from_be_bytes(*found) == mark).then(|| u64::from_be_bytes(*index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_does_not_drift() {
        let schedule = Schedule {
            start_ns: 1000,
            rate: 3,
            discard_ns: 500_000_000,
        };
        assert_eq!(schedule.due(0), 1000);
        assert_eq!(schedule.due(3_000_000), 1000 + 1_000_000 * 1_000_000_000);
        assert_eq!(schedule.counted(1), None);
        assert_eq!(schedule.counted(2), Some(666_667_666));
    }

    #[test]
    fn records_of_other_runs_are_told_apart() {
        let mut value = [0; 20];
        value[..8].copy_from_slice(&77u64.to_be_bytes());
        value[8..16].copy_from_slice(&5u64.to_be_bytes());
        assert_eq!(stamped_index(&value, 77), Some(5));
        assert_eq!(stamped_index(&value, 78), None);
        assert_eq!(stamped_index(&value[..10], 77), None);
    }
}
