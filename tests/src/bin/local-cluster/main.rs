//! A cluster on this machine: brokers, a real etcd, an S3 server in memory. Started by `tests/cluster`.
//!
//! ```text
//! local-cluster up      [--brokers 3]   runs until it is interrupted, and says how to use it
//! local-cluster show    [--brokers 3]   producers and consumers go on while brokers are killed, drained and added
//! local-cluster figures [--brokers 3] [--only commits|latency|reads|take-over|outages]
//!                                       measures what a cluster costs, as a table
//! local-cluster steady  [--brokers 3] [--minutes 60]
//!                                       how large the metadata is in the course of time
//! ```

mod figures;
mod show;
mod steady;

use std::time::Duration;

use alluvium_tests::cluster::{Cluster, Setup};
use anyhow::{Context, bail};
use tokio::time::sleep;

const USAGE: &str =
    "usage: local-cluster up|show|figures|steady [--brokers N] [--minutes N] [--only NAME]";

/// What the command line may say besides the command.
struct Arguments {
    brokers: usize,
    minutes: u64,
    only: Option<String>,
}

impl Arguments {
    fn parse(words: &[&str]) -> anyhow::Result<Self> {
        let mut arguments = Self {
            brokers: 3,
            minutes: 60,
            only: None,
        };
        for pair in words.chunks(2) {
            match pair {
                ["--brokers", count] => {
                    arguments.brokers = count.parse().context("--brokers takes a number")?;
                }
                ["--minutes", count] => {
                    arguments.minutes = count.parse().context("--minutes takes a number")?;
                }
                ["--only", name] => arguments.only = Some((*name).to_owned()),
                other => bail!("unknown arguments {other:?}; {USAGE}"),
            }
        }
        Ok(arguments)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let (command, rest) = words.split_first().unwrap_or((&"up", &[]));
    let Arguments {
        brokers,
        minutes,
        only,
    } = Arguments::parse(rest)?;
    match *command {
        "up" => up(brokers).await,
        "show" => show::run(brokers).await,
        "figures" => figures::run(brokers, only.as_deref()).await,
        "steady" => steady::run(brokers, minutes).await,
        other => bail!("unknown command {other:?}; {USAGE}"),
    }
}

fn setup(brokers: usize) -> Setup {
    Setup::new(brokers).set("alluvium.durability", "object")
}

fn bootstrap(cluster: &Cluster) -> String {
    let endpoints: Vec<_> = cluster
        .endpoints()
        .iter()
        .map(ToString::to_string)
        .collect();
    endpoints.join(",")
}

async fn up(brokers: usize) -> anyhow::Result<()> {
    let mut cluster = setup(brokers).start().await;
    println!("{brokers} brokers are ready, over a real etcd and an S3 server in memory.\n");
    println!("  export ALLUVIUM_BOOTSTRAP={}", bootstrap(&cluster));
    println!("  alluvium broker list");
    println!("  echo hello | alluvium produce greetings");
    println!("  alluvium consume greetings --from-beginning --count 1\n");
    for node in cluster.nodes() {
        let (number, process) = (node.number(), node.broker().process_id());
        println!("broker {number}: {}, process {process}", node.endpoint());
    }
    println!(
        "\nA broker that is killed is started again. Ctrl-C ends everything, the data included."
    );
    loop {
        tokio::select! {
            ended = tokio::signal::ctrl_c() => break ended?,
            () = sleep(Duration::from_secs(2)) => cluster.supervise(),
        }
    }
    cluster.terminate().await;
    Ok(())
}
