//! `alluvium produce`: a record for each line of standard input.

use std::collections::BTreeMap;
use std::time::Duration;

use alluvium_common::clock::{Clock, SystemClock};
use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};
use alluvium_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use alluvium_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse,
};
use alluvium_protocol::{ErrorCode, Records, StrBytes};
use alluvium_segment::record_batch::{BatchBuilder, Codec};
use anyhow::{Context, bail};
use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::{Instant, timeout_at};

use super::args::ProduceArgs;
use crate::client::{Call, Cluster, PartitionAnswer, check};

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
    let mut cluster = Cluster::open(&args.broker.bootstrap, "alluvium-produce").await?;
    let topic = cluster.topic(&args.topic, true).await?;
    let partitions = i32::try_from(topic.partitions.len()).context("too many partitions")?;
    if let Some(partition) = args.partition
        && !(0..partitions).contains(&partition)
    {
        bail!("{} has partitions 0 to {}", args.topic, partitions - 1);
    }
    let mut producer = Producer::open(cluster, args.topic.clone(), codec).await?;
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
        producer.send(by_partition).await?;
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

/// Idempotent: a batch that is sent again, because its leader moved or did not answer, is kept once (I10).
struct Producer {
    cluster: Cluster,
    topic: String,
    codec: Codec,
    id: ProducerId,
    epoch: ProducerEpoch,
    /// The next sequence of each partition.
    next: BTreeMap<i32, Sequence>,
}

impl Producer {
    async fn open(mut cluster: Cluster, topic: String, codec: Codec) -> anyhow::Result<Self> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: TIMEOUT_MS,
            producer_id: -1,
            producer_epoch: -1,
        };
        let refusal =
            |response: &InitProducerIdResponse| check(response.error_code, "a producer id").err();
        let given = cluster.ask(&request, refusal).await?;
        Ok(Self {
            cluster,
            topic,
            codec,
            id: ProducerId(given.producer_id),
            epoch: ProducerEpoch(given.producer_epoch),
            next: BTreeMap::new(),
        })
    }

    /// Waits until all is acknowledged.
    async fn send(&mut self, by_partition: BTreeMap<i32, Vec<Line>>) -> anyhow::Result<()> {
        let now_ms = SystemClock.now_ms();
        let mut batches = BTreeMap::new();
        for (partition, lines) in by_partition {
            let next = self.next.entry(partition).or_insert(Sequence::ZERO);
            let batch = BatchBuilder::new(self.codec).producer(self.id, self.epoch, *next);
            *next = next.plus(u32::try_from(lines.len()).context("too many lines")?);
            batches.insert(partition, build(batch, now_ms, &lines)?);
        }
        let partitions: Vec<_> = batches.keys().copied().collect();
        let topic = self.topic.clone();
        let request = |partitions: &[i32]| Ok(request(&topic, partitions, &batches));
        let sent = self
            .cluster
            .ask_leaders(&self.topic, partitions, request, read);
        sent.await?;
        Ok(())
    }
}

fn build(mut batch: BatchBuilder, now_ms: i64, lines: &[Line]) -> anyhow::Result<Bytes> {
    for line in lines {
        batch.push(now_ms, line.key.as_deref(), Some(&line.value), &[]);
    }
    Ok(batch.build()?)
}

fn request(
    topic: &str,
    partitions: &[i32],
    batches: &BTreeMap<i32, Bytes>,
) -> Call<ProduceRequest> {
    let data = partitions.iter().map(|index| PartitionProduceData {
        index: *index,
        records: batches.get(index).cloned().map(Records::from),
    });
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: TIMEOUT_MS,
        topic_data: vec![TopicProduceData {
            name: StrBytes::copy_of(topic),
            partition_data: data.collect(),
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    };
    Call {
        request,
        version: Some(PRODUCE_BY_NAME),
    }
}

fn read(response: ProduceResponse) -> Vec<PartitionAnswer<()>> {
    let topics = response.responses.into_iter();
    topics
        .flat_map(|topic| topic.partition_responses)
        .map(|answer| PartitionAnswer {
            partition: answer.index,
            code: match ErrorCode::from(answer.error_code) {
                // An attempt whose answer was lost had succeeded.
                ErrorCode::DuplicateSequenceNumber => ErrorCode::None,
                code => code,
            },
            message: answer.error_message,
            value: (),
        })
        .collect()
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
