//! The one client that drives every broker: librdkafka, with the same settings for each.

pub mod admin;
pub mod consume;
pub mod open_loop;
pub mod produce;

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::clock::Deadline;

/// Longest wait for one answer of a broker outside of a measurement.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Settings that producers and consumers share.
pub fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("client.id", "alluvium-bench")
        // A broker that is just starting is asked again soon, so that start-up time is the broker's and not the client's.
        .set("reconnect.backoff.ms", "5")
        .set("reconnect.backoff.max.ms", "50")
        .set("topic.metadata.refresh.fast.interval.ms", "10")
        .set("retry.backoff.ms", "10")
        .set("socket.nagle.disable", "true");
    config
}

/// A consumer that is told its partitions. librdkafka wants a group's name even so; nothing is committed to it.
pub fn consumer(bootstrap: &str) -> Result<BaseConsumer> {
    let mut config = config(bootstrap);
    config
        .set("group.id", "alluvium-bench")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "false")
        .set("auto.offset.reset", "error")
        // Deep enough that the broker, and not the pause of a full queue (a second by default), sets the pace.
        .set("fetch.queue.backoff.ms", "2")
        .set("queued.max.messages.kbytes", "131072")
        .set("queued.min.messages", "200000")
        .set("fetch.message.max.bytes", "4194304");
    config.create().context("creating a consumer")
}

/// First and next offset of each partition. Asked again until the broker leads them all, which it may not yet do when
/// it has just been started.
pub fn watermarks(
    consumer: &BaseConsumer,
    topic: &str,
    partitions: i32,
) -> Result<Vec<(i64, i64)>> {
    let deadline = Deadline::after(REQUEST_TIMEOUT);
    (0..partitions)
        .map(|partition| {
            loop {
                match consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT) {
                    Ok(ends) => return Ok(ends),
                    Err(error) if deadline.passed() => {
                        return Err(error).with_context(|| {
                            format!("asking for the ends of {topic}-{partition}")
                        });
                    }
                    Err(_) => thread::sleep(Duration::from_millis(20)),
                }
            }
        })
        .collect()
}
