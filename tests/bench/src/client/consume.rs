//! Catch-up fetch: read a topic from its first offset to the end it had at the start.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde::Serialize;

use super::{consumer, watermarks};
use crate::clock::{Deadline, now_ns, since};

/// What a catch-up read brought.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct CatchUpResult {
    /// Records received.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// From asking to the last record.
    pub seconds: f64,
}

impl CatchUpResult {
    /// MB (10^6 bytes of values) a second.
    pub fn mb_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }
}

/// Reads all of `topic` with `consumers` consumers, each of which has its share of the partitions. Offsets must follow
/// one another: nothing in these topics is aborted or cleaned, so a gap is a loss and an error here.
pub fn run(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    consumers: usize,
    time_max: Duration,
) -> Result<CatchUpResult> {
    let ends = watermarks(&consumer(bootstrap)?, topic, partitions)?;
    let deadline = Deadline::after(time_max);
    let started = now_ns();
    let threads: Vec<_> = (0..consumers)
        .map(|share| {
            let parts = (0..partitions)
                .zip(ends.iter().copied())
                .filter(|(partition, _)| *partition as usize % consumers == share)
                .map(|(partition, (first, end))| Part {
                    partition,
                    next: first,
                    end,
                })
                .collect();
            let (bootstrap, topic) = (bootstrap.to_owned(), topic.to_owned());
            thread::spawn(move || read_share(&bootstrap, &topic, parts, deadline))
        })
        .collect();
    let mut total = CatchUpResult::default();
    for thread in threads {
        let (records, bytes) = thread
            .join()
            .map_err(|_| anyhow!("a consumer thread panicked"))??;
        total.records += records;
        total.bytes += bytes;
    }
    total.seconds = since(started).as_secs_f64();
    Ok(total)
}

struct Part {
    partition: i32,
    next: i64,
    end: i64,
}

fn read_share(
    bootstrap: &str,
    topic: &str,
    mut parts: Vec<Part>,
    deadline: Deadline,
) -> Result<(u64, u64)> {
    let consumer: BaseConsumer = consumer(bootstrap)?;
    let mut list = TopicPartitionList::new();
    for part in &parts {
        list.add_partition_offset(topic, part.partition, Offset::Offset(part.next))?;
    }
    consumer.assign(&list)?;
    let expected: i64 = parts.iter().map(|part| part.end - part.next).sum();
    let (mut records, mut bytes) = (0, 0);
    while (records as i64) < expected {
        if deadline.passed() {
            bail!("received {records} of {expected} records of {topic} in time");
        }
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = message.context("consuming")?;
        let part = parts
            .iter_mut()
            .find(|part| part.partition == message.partition())
            .context("a record of a partition not asked for")?;
        if message.offset() >= part.end {
            continue;
        }
        if message.offset() != part.next {
            bail!(
                "{topic}-{}: offset {} follows {}",
                part.partition,
                message.offset(),
                part.next - 1
            );
        }
        part.next += 1;
        records += 1;
        bytes += message.payload_len() as u64;
    }
    Ok((records, bytes))
}
