//! What a cluster costs and how long things take, measured from outside and printed as a table.

mod commits;
mod latency;
mod outages;
mod reads;
mod routes;
mod take_over;

use std::time::Duration;

use alluvium_tests::broker::BrokerOptions;
use alluvium_tests::cluster::{Cluster, Setup};

/// One line of the table.
struct Row {
    what: String,
    target: &'static str,
    measured: String,
}

fn row(what: impl Into<String>, target: &'static str, measured: impl Into<String>) -> Row {
    Row {
        what: what.into(),
        target,
        measured: measured.into(),
    }
}

/// Brokers with the settings that users have, but for the shortest session and topics of class `object`.
async fn start(brokers: usize) -> Cluster {
    let options = BrokerOptions::new()
        .set("broker.session.timeout.ms", 3_000)
        // What the load's consumers ask for.
        .set("group.min.session.timeout.ms", 1_000)
        .set("alluvium.durability", "object");
    let setup = Setup {
        options,
        ..Setup::new(brokers)
    };
    setup.start().await
}

/// Measures one subject, or all of them, and prints a table.
pub async fn run(brokers: usize, only: Option<&str>) -> anyhow::Result<()> {
    let names = ["commits", "latency", "reads", "take-over", "outages"];
    if let Some(other) = only.filter(|only| !names.contains(only)) {
        anyhow::bail!(
            "there are no figures named {other}, but {}",
            names.join(", ")
        );
    }
    let wanted = |name| only.is_none_or(|only| only == name);
    let mut rows = Vec::new();
    if wanted("commits") {
        for partitions in [1, 10_000] {
            rows.push(tell(commits::measure(brokers, partitions).await?));
        }
    }
    if wanted("latency") {
        rows.push(tell(latency::measure(brokers).await?));
    }
    if wanted("reads") {
        for (partitions, readers) in [(1, 1), (1, 10), (1_000, 1), (1_000, 10)] {
            rows.push(tell(reads::measure(brokers, partitions, readers).await?));
        }
    }
    if wanted("take-over") {
        rows.push(tell(take_over::measure(brokers, 10_000).await?));
    }
    if wanted("outages") {
        for outage in [outages::Outage::Etcd, outages::Outage::Bucket] {
            rows.push(tell(outages::measure(brokers, outage).await?));
        }
    }
    println!("\n| What | Target | Measured |\n|---|---|---|");
    for Row {
        what,
        target,
        measured,
    } in rows
    {
        println!("| {what} | {target} | {measured} |");
    }
    Ok(())
}

/// Long work shows progress.
fn tell(row: Row) -> Row {
    println!("{}: {}", row.what, row.measured);
    row
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
