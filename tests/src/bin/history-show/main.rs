//! History as a whole: events are produced to a broker, published as Parquet, and read by everybody who can. All must have
//! counted the same. Started by `tests/history/show`.
//!
//! ```text
//! history-show [--events 5000000] [--partitions 12] [--seed 1]
//! ```

mod figures;
mod progress;
mod report;
mod stored;

use std::process::{ExitCode, Stdio};

use alluvium_tests::broker::{Broker, BrokerOptions};
use alluvium_tests::client::{Client, Topic};
use alluvium_tests::events::{ConsumePlan, LoadPlan, Python, Reader, Tally, consume, load};
use anyhow::{Context, ensure};
use clap::Parser;

use self::figures::{Usage, print_figures};
use self::progress::Progress;
use self::report::{Finding, print_bytes, print_digests};
use self::stored::parquet_files;

/// The topic of the show.
const TOPIC: &str = "events";

/// Produces events, publishes them as Parquet, and compares what all readers find.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many events.
    #[arg(long, default_value_t = 5_000_000)]
    events: u64,
    /// Over how many partitions.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=1_000))]
    partitions: i32,
    /// Which events: those of a seed are always the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

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
    let python = Python::install().await?;
    let mut broker = BrokerOptions::new().start().await;
    let shown = show(&broker, &python, arguments).await;
    let warnings = broker.log().unexpected();
    // Told here, with everything else, and not when the broker is dropped.
    broker.accept_any_log();
    let ended = broker.terminate().await;
    shown?;
    ensure!(
        warnings.is_empty(),
        "the broker logged:\n{}",
        warnings.join("\n")
    );
    ensure!(ended.success(), "the broker ended with {ended}");
    Ok(())
}

async fn show(broker: &Broker, python: &Python, arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments {
        events,
        partitions,
        seed,
    } = *arguments;
    let endpoint = broker.endpoint();
    let mut client = Client::try_connect(&endpoint).await?;
    let topic = client.create_topic(TOPIC, partitions, &[]).await;

    let step = Progress::counting("produced", events)?;
    let plan = LoadPlan::new(seed, events, partitions);
    let loaded = load(&endpoint, &topic, &plan, step.counter()).await?;
    step.done(&loaded.tally);

    let mut findings =
        vec![read_by_consumer(broker, &topic, partitions, events, "consumer before").await?];
    let before = Usage::of(broker).await;
    let published = publish(broker).await;
    if published.is_ok() {
        let after = Usage::of(broker).await;
        findings
            .push(read_by_consumer(broker, &topic, partitions, events, "consumer after").await?);
        print_figures(broker, &before, &after, &Usage::of(broker).await);
        findings.extend(read_by_engines(broker, python).await?);
    }
    print_bytes(&loaded, broker.folder())?;
    let differing = print_digests(&loaded.tally, &findings);
    published?;
    ensure!(
        differing == 0,
        "{differing} of {} readers found other records",
        findings.len()
    );
    println!("all {} readers found what was produced", findings.len());
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
async fn publish(broker: &Broker) -> anyhow::Result<()> {
    let arguments = ["compaction", "run", "--topic", TOPIC, "--wait"];
    let command = format!("alluvium {}", arguments.join(" "));
    println!("{command}");
    let status = broker
        .command_line(&arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .with_context(|| format!("{command} cannot be started"))?;
    ensure!(
        status.success(),
        "nothing was published, so nobody could read it: {command} ended with {status}, see above"
    );
    Ok(())
}

/// Engines that know nothing of the log read the Parquet files.
async fn read_by_engines(broker: &Broker, python: &Python) -> anyhow::Result<Vec<Finding>> {
    let files = parquet_files(broker.folder())?;
    ensure!(
        !files.is_empty(),
        "no Parquet file is below {}/objects/tables",
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
