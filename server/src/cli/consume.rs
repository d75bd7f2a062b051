//! `alluvium consume`: records to standard output.

use std::collections::BTreeMap;
use std::io::{self, Write};

use alluvium_protocol::StrBytes;
use alluvium_protocol::messages::FetchRequest;
use alluvium_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use alluvium_segment::record_batch::{self, DecodeLimits, Record};
use anyhow::{Context, bail};

use super::args::ConsumeArgs;
use crate::client::{Connection, EARLIEST, LATEST, check};

/// Bytes asked for in one fetch.
const FETCH_BYTES: i32 = 16 << 20;
/// Bytes asked for from one partition.
const PARTITION_BYTES: i32 = 1 << 20;
/// How long the broker may wait for records, in milliseconds.
const MAX_WAIT_MS: i32 = 500;
/// The newest version that names topics; later ones give topic ids.
const FETCH_BY_NAME: i16 = 12;

struct Reader {
    topic: String,
    /// Next offset of each partition.
    next: BTreeMap<i32, i64>,
    /// Where each partition ended when reading began, if reading stops there.
    ends: BTreeMap<i32, i64>,
    left: u64,
    json: bool,
}

/// Reads until the count, the end or an error.
pub async fn run(args: ConsumeArgs) -> anyhow::Result<()> {
    let mut broker = Connection::open(&args.broker.bootstrap, "alluvium-consume").await?;
    let mut reader = open(&mut broker, &args).await?;
    while reader.left > 0 && !reader.at_end() {
        reader.fetch(&mut broker).await?;
    }
    Ok(())
}

async fn open(broker: &mut Connection, args: &ConsumeArgs) -> anyhow::Result<Reader> {
    let topic = broker.topic(&args.topic, false).await?;
    let mut indexes: Vec<_> = topic.partitions.iter().map(|p| p.partition_index).collect();
    if let Some(partition) = args.partition {
        if !indexes.contains(&partition) {
            bail!("{} has no partition {partition}", args.topic);
        }
        indexes = vec![partition];
    }
    let next = match args.offset {
        Some(offset) => indexes.iter().map(|index| (*index, offset)).collect(),
        None => {
            let start = if args.from_beginning {
                EARLIEST
            } else {
                LATEST
            };
            broker
                .offsets(&args.topic, &indexes, start)
                .await?
                .into_iter()
                .collect()
        }
    };
    let ends = if args.exit_at_end {
        broker
            .offsets(&args.topic, &indexes, LATEST)
            .await?
            .into_iter()
            .collect()
    } else {
        BTreeMap::new()
    };
    Ok(Reader {
        topic: args.topic.clone(),
        next,
        ends,
        left: args.count.unwrap_or(u64::MAX),
        json: args.json,
    })
}

impl Reader {
    fn at_end(&self) -> bool {
        !self.ends.is_empty()
            && self
                .ends
                .iter()
                .all(|(partition, end)| self.next.get(partition) >= Some(end))
    }

    async fn fetch(&mut self, broker: &mut Connection) -> anyhow::Result<()> {
        let request = FetchRequest {
            max_wait_ms: MAX_WAIT_MS,
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            session_epoch: -1,
            topics: vec![FetchTopic {
                topic: StrBytes::copy_of(&self.topic),
                partitions: self
                    .next
                    .iter()
                    .map(|(partition, offset)| FetchPartition {
                        partition: *partition,
                        fetch_offset: *offset,
                        partition_max_bytes: PARTITION_BYTES,
                        ..FetchPartition::default()
                    })
                    .collect(),
                ..FetchTopic::default()
            }],
            ..FetchRequest::default()
        };
        let response = broker.call_version(&request, FETCH_BY_NAME).await?;
        check(response.error_code, "fetch")?;
        for answer in response
            .responses
            .into_iter()
            .flat_map(|topic| topic.partitions)
        {
            let partition = answer.partition_index;
            check(answer.error_code, &format!("{}-{partition}", self.topic))?;
            if let Some(records) = answer.records {
                self.print(partition, &records.into_bytes())?;
            }
        }
        Ok(())
    }

    fn print(&mut self, partition: i32, fetched: &bytes::Bytes) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        for batch in record_batch::split(fetched) {
            // A response may end within a batch; the rest comes with the next fetch.
            let Ok((header, raw)) = batch else { break };
            if !header.attributes.is_control() {
                let records = record_batch::records(&raw, &DecodeLimits::default())
                    .with_context(|| format!("batch at offset {}", header.base_offset))?;
                for record in records {
                    self.print_record(&mut out, partition, &record?)?;
                }
            }
            let after = header.base_offset + i64::from(header.last_offset_delta) + 1;
            let next = self.next.entry(partition).or_default();
            *next = after.max(*next);
        }
        out.flush()?;
        Ok(())
    }

    fn print_record(
        &mut self,
        out: &mut impl Write,
        partition: i32,
        record: &Record,
    ) -> anyhow::Result<()> {
        let wanted = self
            .next
            .get(&partition)
            .is_none_or(|next| record.offset.get() >= *next);
        if self.left == 0 || !wanted {
            return Ok(());
        }
        self.left -= 1;
        if self.json {
            serde_json::to_writer(&mut *out, &json(partition, record))?;
        } else {
            out.write_all(record.value.as_deref().unwrap_or_default())?;
        }
        out.write_all(b"\n")?;
        Ok(())
    }
}

fn json(partition: i32, record: &Record) -> serde_json::Value {
    let text = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|header| serde_json::json!([text(&header.key), header.value.as_ref().map(text)]))
        .collect();
    serde_json::json!({
        "partition": partition,
        "offset": record.offset.get(),
        "timestamp": record.timestamp,
        "key": record.key.as_ref().map(text),
        "value": record.value.as_ref().map(text),
        "headers": headers,
    })
}
