//! What producers notice of others who read a backlog, and of the compactor: their latency alone, beside each, and beside
//! both. Other users of the machine disturb each of these as much, so they are measured by turns, in several rounds, and
//! what is told is the median of the rounds. On a small machine whoever keeps a core busy makes all others wait for it now
//! and then, so a loop that does nothing is measured too: what producers notice of that is the machine's.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use alluvium::config::Endpoint;
use alluvium_protocol::messages::{FetchRequest, ProduceRequest};
use alluvium_protocol::{ErrorCode, Message};
use alluvium_segment::record_batch::{BatchBuilder, Codec, NO_HEADERS, split};
use alluvium_tests::broker::Broker;
use alluvium_tests::client::{ALL, Client, Topic, fetch_request, only, produce_request};
use alluvium_tests::events::{LoadPlan, load};
use anyhow::{anyhow, ensure};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::progress::Progress;
use super::publish;

/// Records that lie in table files when readers come.
const HISTORY: &str = "history";
/// What the producers write.
const LIVE: &str = "live";

/// How often each is measured.
const ROUNDS: u64 = 5;
/// How long the producers are looked at each time.
const LOOKED_AT: Duration = Duration::from_secs(10);
/// Producers, each of them with a connection of its own, and what each of them sends: 10 MB a second together.
const PRODUCERS: i32 = 8;
const BATCHES_PER_SECOND: u32 = 125;
const BATCH_RECORDS: usize = 10;
const RECORD_BYTES: usize = 1_000;
/// Readers of the backlog, as fast as they can.
const READERS: i32 = 1;
/// Added to the niceness of their threads: theirs would be other machines, whose work no producer notices. That of the
/// loop that does nothing, too.
const LOWEST_NICENESS: i32 = 19;

/// Loads as many events as there are to be for the readers, and as many for the compactor twice in each round.
pub async fn measure(broker: &Broker, plan: &LoadPlan) -> anyhow::Result<()> {
    let endpoint = broker.endpoint();
    let mut client = Client::try_connect(&endpoint).await?;
    let backlog = |round: u64, with: &str| format!("backlog-{round}-{with}");
    let backlogs =
        (0..ROUNDS).flat_map(|round| ["alone", "readers"].map(|with| backlog(round, with)));
    let names: Vec<_> = std::iter::once(HISTORY.to_owned())
        .chain(backlogs)
        .collect();
    let mut topics = Vec::new();
    for (name, seed) in names.iter().zip(plan.seed..) {
        let topic = client.create_topic(name, plan.partitions, &[]).await;
        let step = Progress::counting("loaded", plan.events)?;
        let plan = LoadPlan { seed, ..*plan };
        let loaded = load(&endpoint, &topic, &plan, step.counter()).await?;
        step.done(&loaded.tally);
        topics.push(topic);
    }
    publish(broker, HISTORY).await?;
    let live = client.create_topic(LIVE, PRODUCERS, &[]).await;
    let start_readers = || Readers::start(&endpoint, &topics[0], plan.partitions);
    let mut rounds = Vec::new();
    let mut read_bytes = [0, 0];
    for round in 0..ROUNDS {
        let alone = produce(&endpoint, &live).await?;
        let busy = BusyLoop::start()?;
        let beside_loop = produce(&endpoint, &live).await?;
        busy.stop();
        let readers = start_readers()?;
        let beside_readers = produce(&endpoint, &live).await?;
        read_bytes[0] += readers.stop().await?;
        let beside_compactor = produce_and_publish(broker, &live, &backlog(round, "alone")).await?;
        let readers = start_readers()?;
        let beside_both = produce_and_publish(broker, &live, &backlog(round, "readers")).await?;
        read_bytes[1] += readers.stop().await?;
        rounds.push([
            alone,
            beside_loop,
            beside_readers,
            beside_compactor,
            beside_both,
        ]);
    }
    print(&rounds);
    println!(
        "\nOf history, {READERS} at a time read {:.0} MB of record batches from table files, and {:.0} MB beside the compactor, which \
         published {} events each time",
        read_bytes[0] as f64 / 1e6,
        read_bytes[1] as f64 / 1e6,
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

/// A thread of the lowest priority that keeps a core busy and does nothing else, until it is stopped.
struct BusyLoop {
    is_over: Arc<AtomicBool>,
    running: thread::JoinHandle<()>,
}

impl BusyLoop {
    fn start() -> anyhow::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_over);
        let thread = thread::Builder::new().name("busy-loop".to_owned());
        let (started, has_started) = mpsc::sync_channel(1);
        let running = thread.spawn(move || {
            // It is waited for below.
            let _ = started.send(rustix::process::setpriority_process(None, LOWEST_NICENESS));
            while !until.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        })?;
        has_started.recv()??;
        Ok(Self { is_over, running })
    }

    fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        // It cannot panic.
        let _ = self.running.join();
    }
}

/// Some who read history, until they are stopped.
struct Readers {
    is_over: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    running: Vec<thread::JoinHandle<anyhow::Result<()>>>,
}

impl Readers {
    fn start(endpoint: &Endpoint, topic: &Topic, partitions: i32) -> anyhow::Result<Self> {
        let mut readers = Self {
            is_over: Arc::default(),
            bytes: Arc::default(),
            running: Vec::new(),
        };
        for first in 0..READERS {
            let (endpoint, topic) = (endpoint.clone(), topic.clone());
            let mine = (first..partitions).step_by(READERS as usize).collect();
            let (is_over, bytes) = (Arc::clone(&readers.is_over), Arc::clone(&readers.bytes));
            let reader = move || {
                // On Linux this is the niceness of the calling thread.
                rustix::process::setpriority_process(None, LOWEST_NICENESS)?;
                let runtime = Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(read(&endpoint, &topic, mine, &is_over, &bytes))
            };
            let thread = thread::Builder::new().name("reader".to_owned());
            readers.running.push(thread.spawn(reader)?);
        }
        Ok(readers)
    }

    /// How many bytes they had.
    async fn stop(self) -> anyhow::Result<u64> {
        self.is_over.store(true, Ordering::SeqCst);
        let ended = move || {
            for reader in self.running {
                reader.join().map_err(|_| anyhow!("a reader panicked"))??;
            }
            anyhow::Ok(())
        };
        tokio::task::spawn_blocking(ended).await??;
        Ok(self.bytes.load(Ordering::SeqCst))
    }
}

/// Latencies of all batches.
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

fn print(rounds: &[[Vec<Duration>; 5]]) {
    println!(
        "\n| acknowledged after, ms | alone | beside a loop | beside readers | beside the compactor | beside both |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    for (name, permille) in [
        ("p50", 500),
        ("p99", 990),
        ("p99.9", 999),
        ("at most", 1_000),
    ] {
        let of = |column: usize| {
            let of_rounds = rounds
                .iter()
                .map(|round| at_permille(&round[column], permille));
            at_permille(&of_rounds.collect::<Vec<_>>(), 500).as_secs_f64() * 1e3
        };
        let cells = [0, 1, 2, 3, 4].map(|column| format!("{:.2}", of(column)));
        println!("| {name} | {} |", cells.join(" | "));
    }
    println!(
        "\nEach is the median of {ROUNDS} rounds of {} s.",
        LOOKED_AT.as_secs()
    );
}

/// That of `all` which so many of a thousand do not exceed.
fn at_permille(all: &[Duration], permille: usize) -> Duration {
    let mut sorted = all.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() * permille / 1_000).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
