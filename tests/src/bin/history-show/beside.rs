//! What producers notice of others who read a backlog, and of the compactor: their latency alone, beside each, and beside
//! both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use alluvium::config::Endpoint;
use alluvium_protocol::messages::{FetchRequest, ProduceRequest};
use alluvium_protocol::{ErrorCode, Message};
use alluvium_segment::record_batch::{BatchBuilder, Codec, NO_HEADERS, split};
use alluvium_tests::broker::{Broker, BrokerOptions};
use alluvium_tests::client::{ALL, Client, Topic, fetch_request, only, produce_request};
use alluvium_tests::events::{LoadPlan, load};
use anyhow::ensure;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::progress::Progress;
use super::publish;

/// Records that lie in table files when readers come, and records that are published meanwhile.
const HISTORY: &str = "history";
const BACKLOGS: [&str; 2] = ["backlog-1", "backlog-2"];
/// What the producers write.
const LIVE: &str = "live";

/// How long the producers are looked at each time.
const LOOKED_AT: Duration = Duration::from_secs(20);
/// Producers, each of them with a connection of its own, and what each of them sends: 10 MB a second together.
const PRODUCERS: i32 = 8;
const BATCHES_PER_SECOND: u32 = 125;
const BATCH_RECORDS: usize = 10;
const RECORD_BYTES: usize = 1_000;
/// Readers of the backlog.
const READERS: i32 = 2;

/// A broker that publishes when it is asked to, so that there is something to publish when it is wanted.
pub fn options() -> BrokerOptions {
    BrokerOptions::new()
        .set("publish.bytes", "1TiB")
        .set("publish.interval.ms", 86_400_000)
}

/// Loads three times as many events as there are to be, publishes a third of them, and measures.
pub async fn measure(broker: &Broker, plan: &LoadPlan) -> anyhow::Result<()> {
    let endpoint = broker.endpoint();
    let mut client = Client::try_connect(&endpoint).await?;
    let mut topics = Vec::new();
    for (name, seed) in [HISTORY, BACKLOGS[0], BACKLOGS[1]]
        .into_iter()
        .zip(plan.seed..)
    {
        let topic = client.create_topic(name, plan.partitions, &[]).await;
        let step = Progress::counting(name, plan.events)?;
        let plan = LoadPlan { seed, ..*plan };
        let loaded = load(&endpoint, &topic, &plan, step.counter()).await?;
        step.done(&loaded.tally);
        topics.push(topic);
    }
    publish(broker, HISTORY).await?;
    let live = client.create_topic(LIVE, PRODUCERS, &[]).await;
    let alone = produce(&endpoint, &live).await?;

    let readers = Readers::start(&endpoint, &topics[0], plan.partitions);
    let beside_readers = produce(&endpoint, &live).await?;
    let read_bytes = readers.stop().await?;

    let beside_compactor = produce_and_publish(broker, &live, BACKLOGS[0]).await?;

    let readers = Readers::start(&endpoint, &topics[0], plan.partitions);
    let beside_both = produce_and_publish(broker, &live, BACKLOGS[1]).await?;
    let read_bytes_of_both = readers.stop().await?;

    print([&alone, &beside_readers, &beside_compactor, &beside_both]);
    println!(
        "\n{READERS} readers had {:.0} MB of record batches from table files, and {:.0} MB beside the compactor, which \
         published {} events each time",
        read_bytes as f64 / 1e6,
        read_bytes_of_both as f64 / 1e6,
        plan.events
    );
    Ok(())
}

async fn produce_and_publish(
    broker: &Broker,
    live: &Topic,
    backlog: &str,
) -> anyhow::Result<Vec<Duration>> {
    let endpoint = broker.endpoint();
    let (latencies, published) = tokio::join!(produce(&endpoint, live), publish(broker, backlog));
    published?;
    latencies
}

/// Some who read history, until they are stopped.
struct Readers {
    is_over: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    running: JoinSet<anyhow::Result<()>>,
}

impl Readers {
    fn start(endpoint: &Endpoint, topic: &Topic, partitions: i32) -> Self {
        let mut readers = Self {
            is_over: Arc::default(),
            bytes: Arc::default(),
            running: JoinSet::new(),
        };
        for first in 0..READERS {
            let (endpoint, topic) = (endpoint.clone(), topic.clone());
            let mine = (first..partitions).step_by(READERS as usize).collect();
            let (is_over, bytes) = (Arc::clone(&readers.is_over), Arc::clone(&readers.bytes));
            readers
                .running
                .spawn(async move { read(&endpoint, &topic, mine, &is_over, &bytes).await });
        }
        readers
    }

    /// How many bytes they had.
    async fn stop(mut self) -> anyhow::Result<u64> {
        self.is_over.store(true, Ordering::SeqCst);
        while let Some(reader) = self.running.join_next().await {
            reader??;
        }
        Ok(self.bytes.load(Ordering::SeqCst))
    }
}

/// Latencies of all batches, in ascending order.
async fn produce(endpoint: &Endpoint, topic: &Topic) -> anyhow::Result<Vec<Duration>> {
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..BATCH_RECORDS {
        let value = [b'v'; RECORD_BYTES];
        builder.push(1_767_571_200_000, None, Some(&value), NO_HEADERS);
    }
    let batch = builder.build()?;
    let mut producers = JoinSet::new();
    for partition in 0..PRODUCERS {
        let (endpoint, topic, batch) = (endpoint.clone(), topic.clone(), batch.clone());
        producers.spawn(async move {
            let mut client = Client::try_connect(&endpoint).await?;
            let version = ProduceRequest::MAX_VERSION;
            let mut latencies = Vec::new();
            let mut turns = interval(Duration::from_secs(1) / BATCHES_PER_SECOND);
            // Counted from when a batch was to be sent, so that a wait shows in those that had to wait for it too.
            turns.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let end = Instant::now() + LOOKED_AT;
            loop {
                let due = turns.tick().await;
                if due >= end {
                    return anyhow::Ok(latencies);
                }
                let batches = vec![(partition, batch.clone())];
                let request = produce_request(version, ALL, &topic, batches);
                let response = client.try_call(&request, version).await?;
                let answer = only(only(response.responses).partition_responses);
                let code = ErrorCode::from(answer.error_code);
                ensure!(code.is_none(), "{code}: {:?}", answer.error_message);
                latencies.push(due.elapsed());
            }
        });
    }
    let mut all = Vec::new();
    while let Some(producer) = producers.join_next().await {
        all.extend(producer??);
    }
    all.sort_unstable();
    Ok(all)
}

/// Reads partitions from their beginning to their end, again and again.
async fn read(
    endpoint: &Endpoint,
    topic: &Topic,
    partitions: Vec<i32>,
    is_over: &AtomicBool,
    bytes: &AtomicU64,
) -> anyhow::Result<()> {
    let mut client = Client::try_connect(endpoint).await?;
    let version = FetchRequest::MAX_VERSION;
    for partition in partitions.iter().cycle() {
        let mut next = 0;
        loop {
            if is_over.load(Ordering::SeqCst) {
                return Ok(());
            }
            let request = fetch_request(version, topic, *partition, next, 0);
            let response = client.try_call(&request, version).await?;
            let data = only(only(response.responses).partitions);
            let code = ErrorCode::from(data.error_code);
            ensure!(code.is_none(), "{code} at offset {next}");
            let records = data.records.unwrap_or_default().into_bytes();
            bytes.fetch_add(records.len() as u64, Ordering::SeqCst);
            for batch in split(&records) {
                let (header, _) = batch?;
                next = header.base_offset + i64::from(header.last_offset_delta) + 1;
            }
            if next >= data.high_watermark {
                break;
            }
        }
    }
    Ok(())
}

fn print(columns: [&[Duration]; 4]) {
    println!(
        "\n| acknowledged after, ms | alone | beside readers | beside the compactor | beside both |"
    );
    println!("|---|---:|---:|---:|---:|");
    for (name, permille) in [
        ("p50", 500),
        ("p99", 990),
        ("p99.9", 999),
        ("at most", 1_000),
    ] {
        let of = |all: &[Duration]| {
            let at = (all.len() * permille / 1_000).min(all.len().saturating_sub(1));
            all.get(at).map_or(0.0, |one| one.as_secs_f64() * 1e3)
        };
        let cells = columns.map(|all| format!("{:.2}", of(all)));
        println!("| {name} | {} |", cells.join(" | "));
    }
}
