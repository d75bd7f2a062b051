//! History as a whole: events are produced to a broker, published as Parquet, and read by everybody who can. All must have
//! counted the same. Started by `tests/history/show`.
//!
//! ```text
//! history-show [--events 5000000] [--partitions 12] [--seed 1] [--kind shop] [--compacted | --beside] [--behind]
//! ```

mod beside;
mod cleaned;
mod figures;
mod progress;
mod report;
mod stored;

use std::process::{ExitCode, Stdio};

use alluvium_tests::broker::{Broker, BrokerOptions};
use alluvium_tests::client::{Client, Topic};
use alluvium_tests::events::{ConsumePlan, Kind, LoadPlan, Python, Reader, Tally, consume, load};
use alluvium_tests::published::table_files;
use anyhow::{Context, ensure};
use clap::Parser;

use self::cleaned::until_cleaned;
use self::figures::{Usage, Usages, print_figures};
use self::progress::Progress;
use self::report::{Finding, print_bytes, print_digests};

/// Lines of the broker's log that are printed when the show fails.
const LOG_LINES: usize = 40;

/// The topic of the show.
const TOPIC: &str = "events";

/// Produces events, publishes them as Parquet, and compares what all readers find.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many events.
    #[arg(long, default_value_t = 5_000_000)]
    events: u64,
    /// Over how many partitions.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// Which events: those of a seed are always the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What the events are like.
    #[arg(long, value_enum, default_value_t)]
    kind: Kind,
    /// With a compacted topic: everybody must find the latest event of each user, and nothing else.
    #[arg(long)]
    compacted: bool,
    /// Compress as the compactor does by default while it is behind: faster, and not as small.
    #[arg(long)]
    behind: bool,
    /// Measure instead what producers notice of readers of history and of the compactor, with eleven times as many events.
    #[arg(long, conflicts_with = "compacted")]
    beside: bool,
}

/// What a compacted topic is set to: cleaned as soon as something can be.
const COMPACTED: [(&str, &str); 2] = [
    ("cleanup.policy", "compact"),
    ("min.cleanable.dirty.ratio", "0"),
];

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not returned, which would print where it came from instead of only what it is.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut broker = arguments.options().start().await;
    let shown = match arguments.beside {
        true => beside::measure(&broker, &arguments.plan()).await,
        false => show(&mut broker, arguments).await,
    };
    let warnings = broker.log().unexpected();
    // Told here, with everything else, and not when the broker is dropped.
    broker.accept_any_log();
    let ended = broker.terminate().await;
    if shown.is_err() {
        let lines = broker.log().last(LOG_LINES);
        eprintln!("last lines of the broker, which ended with {ended}:\n{lines}");
    }
    shown?;
    ensure!(
        warnings.is_empty(),
        "the broker logged:\n{}",
        warnings.join("\n")
    );
    ensure!(ended.success(), "the broker ended with {ended}");
    Ok(())
}

impl Arguments {
    /// A broker that publishes when it is asked to, all at a time.
    fn options(&self) -> BrokerOptions {
        let options = BrokerOptions::new()
            .set("publish.bytes", "1TiB")
            .set("publish.interval.ms", 86_400_000);
        match self.behind {
            true => options.set("publish.zstd.level", 1),
            false => options,
        }
    }

    fn plan(&self) -> LoadPlan {
        LoadPlan {
            keyed: self.compacted,
            ..LoadPlan::of_kind(self.kind, self.seed, self.events, self.partitions)
        }
    }
}

async fn show(broker: &mut Broker, arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments {
        events,
        partitions,
        kind,
        compacted,
        ..
    } = *arguments;
    let python = Python::install().await?;
    let endpoint = broker.endpoint();
    let mut client = Client::try_connect(&endpoint).await?;
    let mut settings = kind.settings().to_vec();
    if compacted {
        settings.extend(COMPACTED);
    }
    let topic = client.create_topic(TOPIC, partitions, &settings).await;

    let step = Progress::counting("produced", events)?;
    let loaded = load(&endpoint, &topic, &arguments.plan(), step.counter()).await?;
    step.done(&loaded.tally);

    let mut findings = Vec::new();
    let wanted = match compacted {
        // Before all is cleaned nobody can say how much of it a reader finds.
        true => &loaded.latest,
        false => {
            let consumer = "consumer before";
            findings.push(read_by_consumer(broker, &topic, partitions, events, consumer).await?);
            &loaded.tally
        }
    };
    let produced = Usage::of(broker).await;
    broker.kill();
    broker.restart().await;
    let restarted = Usage::of(broker).await;
    let mut published = publish(broker, TOPIC).await;
    if published.is_ok() && compacted {
        published = until_cleaned(broker, &topic, TOPIC).await;
    }
    if published.is_ok() {
        let publishing = [restarted, Usage::of(broker).await];
        print_cost(broker).await?;
        // Of what it has in memory a broker would give as it came: a new process has to read table files.
        broker.kill();
        broker.restart().await;
        let restarted = Usage::of(broker).await;
        let consumer = "consumer after";
        findings
            .push(read_by_consumer(broker, &topic, partitions, wanted.records, consumer).await?);
        let usages = Usages {
            produced,
            publishing,
            reading: [restarted, Usage::of(broker).await],
        };
        print_figures(&loaded, &usages);
        findings.extend(read_by_engines(broker, &topic, &python).await?);
    }
    print_bytes(&loaded, broker.folder())?;
    let differing = print_digests(wanted, &findings);
    published?;
    ensure!(
        differing == 0,
        "{differing} of {} readers found other records",
        findings.len()
    );
    let what = match compacted {
        true => "the latest of each key, and nothing else",
        false => "what was produced",
    };
    println!("all {} readers found {what}", findings.len());
    Ok(())
}

/// A Kafka consumer reads the whole topic.
async fn read_by_consumer(
    broker: &Broker,
    topic: &Topic,
    partitions: i32,
    events: u64,
    reader: &'static str,
) -> anyhow::Result<Finding> {
    let step = Progress::counting(reader, events)?;
    let plan = ConsumePlan::new(partitions);
    let tally = consume(&broker.endpoint(), topic, &plan, step.counter()).await?;
    step.done(&tally);
    Ok(finding(reader, tally))
}

/// Has everything published that was produced, and waits until it is.
async fn publish(broker: &Broker, topic: &str) -> anyhow::Result<()> {
    let published = run_command(broker, &["compaction", "run", "--topic", topic, "--wait"]).await;
    published.context("nothing was published, so nobody could read it")
}

/// What the topic costs, as users are told.
async fn print_cost(broker: &Broker) -> anyhow::Result<()> {
    println!();
    run_command(broker, &["cost", "--topic", TOPIC]).await
}

/// Runs a command of the program, whose words are printed.
async fn run_command(broker: &Broker, arguments: &[&str]) -> anyhow::Result<()> {
    let command = format!("alluvium {}", arguments.join(" "));
    println!("{command}");
    let status = broker
        .command_line(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .with_context(|| format!("{command} cannot be started"))?;
    ensure!(status.success(), "{command} ended with {status}, see above");
    Ok(())
}

/// Engines that know nothing of the log read the Parquet files.
async fn read_by_engines(
    broker: &Broker,
    topic: &Topic,
    python: &Python,
) -> anyhow::Result<Vec<Finding>> {
    let files = table_files(broker, topic);
    ensure!(
        !files.is_empty(),
        "no manifest below {}/objects names a Parquet file",
        broker.folder().display()
    );
    let mut findings = Vec::new();
    for reader in Reader::ALL {
        let step = Progress::waiting(reader.name());
        let tally = python.tally(reader, &files).await?;
        step.done(&tally);
        findings.push(finding(reader.name(), tally));
    }
    Ok(findings)
}

fn finding(reader: &str, tally: Tally) -> Finding {
    let reader = reader.to_owned();
    Finding { reader, tally }
}
