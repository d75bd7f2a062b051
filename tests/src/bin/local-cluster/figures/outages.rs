//! What clients see while etcd or the bucket is away, and how soon everything goes on.

use std::time::Duration;

use alluvium_tests::cluster::{BucketTrouble, Cluster, Fault};
use alluvium_tests::history::{Recorder, check};
use alluvium_tests::load::{Load, LoadOptions, LoadTopic};
use alluvium_tests::workload::ProducerKind;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Row, row, seconds, start};

/// What is away, and for how long.
#[derive(Debug, Clone, Copy)]
pub enum Outage {
    /// All of etcd hangs, for longer than a session.
    Etcd,
    /// Every request to the bucket is refused.
    Bucket,
}

impl Outage {
    fn fault(self) -> Fault {
        match self {
            Self::Etcd => Fault::EtcdAway,
            Self::Bucket => Fault::Bucket(BucketTrouble::Away),
        }
    }

    fn lasting(self) -> Duration {
        match self {
            Self::Etcd => Duration::from_secs(20),
            Self::Bucket => Duration::from_secs(60),
        }
    }
}

/// Load goes on through the outage, and everything is read back after it.
pub async fn measure(brokers: usize, outage: Outage) -> anyhow::Result<Row> {
    let mut cluster = start(brokers).await;
    let options = LoadOptions {
        topics: vec![LoadTopic {
            name: "outages".to_owned(),
            partitions: 12,
            class: "object",
        }],
        producers: vec![ProducerKind::Idempotent],
        churn: false,
        ..LoadOptions::new(1)
    };
    let recorder = Recorder::default();
    let load = Load::start(&cluster, &options, &recorder).await;
    load.progress(1_000).await;
    let memory_before = resident(&cluster);
    load.gaps().measure_anew();
    cluster.begin(outage.fault()).await;
    let until = Instant::now() + outage.lasting();
    let mut memory = memory_before;
    while Instant::now() < until {
        sleep_until(until.min(Instant::now() + Duration::from_millis(500))).await;
        memory = memory.max(resident(&cluster));
    }
    let fetches = load.gaps().longest("fetch ");
    cluster.end(outage.fault()).await;
    load.recover(|| cluster.supervise()).await;
    sleep(Duration::from_secs(2)).await;
    let topics = load.topics().to_vec();
    load.finish().await;
    Load::read_all(&topics, &cluster, options.patience, &recorder).await;
    let history = recorder.take();
    let recovered = history.recoveries.iter().filter_map(|one| one.took);
    let recovered = recovered.max().unwrap_or_default();
    let report = check(&history);
    cluster.terminate().await;
    anyhow::ensure!(report.violations.is_empty(), "{:?}", report.violations);
    let mib = |bytes: u64| bytes >> 20;
    Ok(row(
        format!("{outage:?} away for {}", seconds(outage.lasting())),
        "nothing lost, resumes within 5 s",
        format!(
            "{report}; produce, fetch and commits go on after {}; longest pause of reads meanwhile {}; memory of a broker {} MiB, before {} MiB",
            seconds(recovered),
            seconds(fetches),
            mib(memory),
            mib(memory_before)
        ),
    ))
}

/// Of the largest broker.
fn resident(cluster: &Cluster) -> u64 {
    let nodes = cluster.nodes().iter();
    let resident = nodes.map(|node| node.broker().resident_bytes());
    resident.max().unwrap_or_default()
}
