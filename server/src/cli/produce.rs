//! `alluvium produce`: a record for each line of standard input.

use std::collections::BTreeMap;
use std::time::Duration;

use alluvium_common::clock::{Clock, SystemClock};
use alluvium_protocol::messages::ProduceRequest;
use alluvium_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use alluvium_protocol::{Records, StrBytes};
use alluvium_segment::record_batch::{BatchBuilder, Codec};
use anyhow::{Context, bail};
use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::{Instant, timeout_at};

use super::args::ProduceArgs;
use super::topic::refuse;
use crate::client::Connection;

/// Lines of one request at most, so that a long input shows progress on the other side.
const LINES_MAX: usize = 1_000;
/// Bytes of one request at most: below the default of max.message.bytes for any single batch.
const REQUEST_BYTES_MAX: usize = 512 * 1024;
/// How long the first line of a request waits for more.
const LINGER: Duration = Duration::from_millis(5);
/// How long the broker may take to make a request durable.
const TIMEOUT_MS: i32 = 30_000;
/// The newest version that names topics; later ones give topic ids.
const PRODUCE_BY_NAME: i16 = 12;

struct Line {
    key: Option<Bytes>,
    value: Bytes,
}

/// Reads lines until the end of input and waits for the acknowledgement of each.
pub async fn run(args: ProduceArgs) -> anyhow::Result<()> {
    let codec = codec(&args.compression)?;
    let mut broker = Connection::open(&args.broker.bootstrap, "alluvium-produce").await?;
    let topic = broker.topic(&args.topic, true).await?;
    let partitions = i32::try_from(topic.partitions.len()).context("too many partitions")?;
    if let Some(partition) = args.partition
        && !(0..partitions).contains(&partition)
    {
        bail!("{} has partitions 0 to {}", args.topic, partitions - 1);
    }
    let mut lines = BufReader::new(tokio::io::stdin()).split(b'\n');
    let mut turn = 0;
    let mut sent = 0_u64;
    loop {
        let batch = collect(&mut lines, args.key_separator.as_deref()).await?;
        if batch.is_empty() {
            break;
        }
        sent += batch.len() as u64;
        let mut by_partition: BTreeMap<i32, Vec<Line>> = BTreeMap::new();
        for line in batch {
            let partition = match (args.partition, &line.key) {
                (Some(partition), _) => partition,
                (None, Some(key)) => partition_of_key(key, partitions),
                (None, None) => turn,
            };
            by_partition.entry(partition).or_default().push(line);
        }
        turn = (turn + 1) % partitions;
        send(&mut broker, &args.topic, by_partition, codec).await?;
    }
    eprintln!("{sent} records acknowledged");
    Ok(())
}

fn codec(name: &str) -> anyhow::Result<Codec> {
    Ok(match name {
        "none" => Codec::None,
        "gzip" => Codec::Gzip,
        "snappy" => Codec::Snappy,
        "lz4" => Codec::Lz4,
        "zstd" => Codec::Zstd,
        other => bail!("{other:?} is no codec; codecs are none, gzip, snappy, lz4, zstd"),
    })
}

async fn collect(
    lines: &mut tokio::io::Split<BufReader<tokio::io::Stdin>>,
    separator: Option<&str>,
) -> anyhow::Result<Vec<Line>> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let Some(first) = lines.next_segment().await? else {
        return Ok(batch);
    };
    let mut next = Some(first);
    let deadline = Instant::now() + LINGER;
    while let Some(line) = next.take() {
        bytes += line.len();
        batch.push(split_key(line, separator));
        if batch.len() >= LINES_MAX || bytes >= REQUEST_BYTES_MAX {
            break;
        }
        next = match timeout_at(deadline, lines.next_segment()).await {
            Ok(line) => line?,
            Err(_) => None,
        };
    }
    Ok(batch)
}

fn split_key(line: Vec<u8>, separator: Option<&str>) -> Line {
    let line = Bytes::from(line);
    let at = separator
        .filter(|separator| !separator.is_empty())
        .and_then(|separator| {
            let wanted = separator.as_bytes();
            let at = line
                .windows(wanted.len())
                .position(|window| window == wanted)?;
            Some((at, wanted.len()))
        });
    match at {
        Some((at, length)) => Line {
            key: Some(line.slice(..at)),
            value: line.slice(at + length..),
        },
        None => Line {
            key: None,
            value: line,
        },
    }
}

/// Kafka's default partitioner for records with a key: murmur2 of the key, made positive.
fn partition_of_key(key: &[u8], partitions: i32) -> i32 {
    ((murmur2(key) & 0x7fff_ffff) % partitions.unsigned_abs()) as i32
}

/// MurmurHash2 by Austin Appleby with the seed that Kafka's clients use.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    for (i, byte) in rest.iter().enumerate().rev() {
        hash ^= u32::from(*byte) << (8 * i);
        if i == 0 {
            hash = hash.wrapping_mul(M);
        }
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

async fn send(
    broker: &mut Connection,
    topic: &str,
    by_partition: BTreeMap<i32, Vec<Line>>,
    codec: Codec,
) -> anyhow::Result<()> {
    let now_ms = SystemClock.now_ms();
    let mut partition_data = Vec::with_capacity(by_partition.len());
    for (index, lines) in by_partition {
        let mut batch = BatchBuilder::new(codec);
        for line in lines {
            batch.push(now_ms, line.key.as_deref(), Some(&line.value), &[]);
        }
        let mut records = Records::new();
        records.push(batch.build()?);
        partition_data.push(PartitionProduceData {
            index,
            records: Some(records),
        });
    }
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: TIMEOUT_MS,
        topic_data: vec![TopicProduceData {
            name: StrBytes::copy_of(topic),
            partition_data,
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    let response = broker.call_version(&request, PRODUCE_BY_NAME).await?;
    for answer in response
        .responses
        .into_iter()
        .flat_map(|topic| topic.partition_responses)
    {
        refuse(answer.error_code, answer.error_message)
            .with_context(|| format!("partition {} of {topic}", answer.index))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hash_as_in_kafkas_clients() {
        // From Kafka's own test of its hash (UtilsTest.testMurmur2).
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn the_separator_splits_once() {
        let line = split_key(b"a:b:c".to_vec(), Some(":"));
        assert_eq!(line.key.as_deref(), Some(&b"a"[..]));
        assert_eq!(&line.value[..], b"b:c");
        assert_eq!(split_key(b"abc".to_vec(), Some(":")).key, None);
    }
}
