//! `alluvium consume`: records to standard output.

use std::collections::BTreeMap;
use std::io::{self, Write};

use alluvium_protocol::StrBytes;
use alluvium_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use alluvium_protocol::messages::{FetchRequest, FetchResponse};
use alluvium_segment::record_batch::{self, DecodeLimits, Record};
use anyhow::{Context, bail};

use super::args::ConsumeArgs;
use crate::client::{
    Call, ClientError, Cluster, EARLIEST, LATEST, Leaders, Retries, check, passes,
};

/// Bytes asked for in one fetch.
const FETCH_BYTES: i32 = 16 << 20;
/// Bytes asked for from one partition.
const PARTITION_BYTES: i32 = 1 << 20;
/// How long the broker may wait for records, in milliseconds.
const MAX_WAIT_MS: i32 = 500;
/// The newest version that names topics; later ones give topic ids.
const FETCH_BY_NAME: i16 = 12;

struct Reader {
    cluster: Cluster,
    topic: String,
    /// Who leads the partitions, as long as nobody says otherwise.
    leaders: Option<Leaders>,
    /// Bounds how long some partition is not served.
    retries: Retries,
    /// Next offset of each partition.
    next: BTreeMap<i32, i64>,
    /// Where each partition ended when reading began, if reading stops there.
    ends: BTreeMap<i32, i64>,
    left: u64,
    json: bool,
}

/// Reads until the count, the end or an error.
pub async fn run(args: ConsumeArgs) -> anyhow::Result<()> {
    let cluster = Cluster::open(&args.broker.bootstrap, "alluvium-consume").await?;
    let mut reader = open(cluster, &args).await?;
    while reader.left > 0 && !reader.at_end() {
        reader.fetch().await?;
    }
    Ok(())
}

async fn open(mut cluster: Cluster, args: &ConsumeArgs) -> anyhow::Result<Reader> {
    let topic = cluster.topic(&args.topic, false).await?;
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
            let indexes = indexes.iter().copied();
            cluster.offsets(&args.topic, indexes, start).await?
        }
    };
    let ends = if args.exit_at_end {
        cluster.offsets(&args.topic, indexes, LATEST).await?
    } else {
        BTreeMap::new()
    };
    Ok(Reader {
        cluster,
        topic: args.topic.clone(),
        leaders: None,
        retries: Retries::default(),
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

    /// One round of fetches, to all leaders at the same time. What one of them refuses because it does not lead any more
    /// is asked of the next one.
    async fn fetch(&mut self) -> anyhow::Result<()> {
        let leaders = match self.leaders.take() {
            Some(leaders) => leaders,
            None => {
                let partitions = self.next.keys().copied().collect();
                self.cluster.leaders(&self.topic, &partitions).await?
            }
        };
        let mut failed = leaders.leaderless.first().map(|partition| {
            let what = format!("{}-{partition} has no leader", self.topic);
            ClientError::NoLeader { what }
        });
        let calls = leaders.by_leader.iter();
        let calls = calls.map(|(leader, led)| (*leader, self.request(led)));
        let calls = calls.collect();
        for (_, answered) in self.cluster.call_each(calls).await {
            if let Err(error) = self.take(answered) {
                failed = Some(passing(error)?);
            }
        }
        match failed {
            None => {
                self.leaders = Some(leaders);
                self.retries = Retries::default();
            }
            Some(error) => self.retries.wait(error).await?,
        }
        Ok(())
    }

    fn request(&self, partitions: &[i32]) -> Call<FetchRequest> {
        let wanted = partitions.iter().filter_map(|partition| {
            Some(FetchPartition {
                partition: *partition,
                fetch_offset: *self.next.get(partition)?,
                partition_max_bytes: PARTITION_BYTES,
                ..FetchPartition::default()
            })
        });
        let request = FetchRequest {
            max_wait_ms: MAX_WAIT_MS,
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            session_epoch: -1,
            topics: vec![FetchTopic {
                topic: StrBytes::copy_of(&self.topic),
                partitions: wanted.collect(),
                ..FetchTopic::default()
            }],
            ..FetchRequest::default()
        };
        Call {
            request,
            version: Some(FETCH_BY_NAME),
        }
    }

    /// Prints what one leader answered, and tells the last failure of a partition.
    fn take(&mut self, answered: Result<FetchResponse, ClientError>) -> anyhow::Result<()> {
        let response = answered?;
        check(response.error_code, "fetch")?;
        let topics = response.responses.into_iter();
        let mut last = Ok(());
        for answer in topics.flat_map(|topic| topic.partitions) {
            let partition = answer.partition_index;
            match check(answer.error_code, &format!("{}-{partition}", self.topic)) {
                Err(error) if passes(&error) => last = Err(error.into()),
                Err(error) => return Err(error.into()),
                Ok(()) => {
                    if let Some(records) = answer.records {
                        self.print(partition, &records.into_bytes())?;
                    }
                }
            }
        }
        last
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

/// The failure, if it may pass.
fn passing(error: anyhow::Error) -> anyhow::Result<ClientError> {
    match error.downcast::<ClientError>() {
        Ok(error) if passes(&error) => Ok(error),
        Ok(error) => Err(error.into()),
        Err(other) => Err(other),
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
