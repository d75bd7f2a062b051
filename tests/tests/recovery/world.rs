//! A broker under load that is killed again and again.

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::rand::{Random, SeededRandom};
use alluvium_tests::broker::{Broker, BrokerOptions, until};
use alluvium_tests::client::{Client, Topic};
use alluvium_tests::history::{Recorder, Report, check};
use alluvium_tests::workload::{Workload, WorkloadOptions, read_all};

/// How many rounds each loop does.
const ROUNDS_VARIABLE: &str = "ALLUVIUM_TEST_ROUNDS";
const ROUNDS_DEFAULT: usize = 5;
pub const PARTITIONS: i32 = 3;
/// Records acknowledged between two kills: enough to be in the middle of things, at a different place each time.
const RECORDS_BETWEEN_KILLS: std::ops::Range<u64> = 30..400;

/// The first commit of a life holds what was recovered; the log is given back after it.
const COMMITS: f64 = 3.0;

pub fn rounds() -> usize {
    std::env::var(ROUNDS_VARIABLE)
        .ok()
        .map_or(ROUNDS_DEFAULT, |text| {
            text.parse().expect("a number of rounds")
        })
}

pub struct World {
    name: &'static str,
    pub broker: Broker,
    pub topic: Topic,
    pub workload: Workload,
    pub random: Arc<SeededRandom>,
    recorder: Recorder,
    restarts: Vec<Duration>,
}

impl World {
    pub async fn start(name: &'static str, options: BrokerOptions) -> Self {
        Self::start_with(name, options.set("segment.upload.ms", 150)).await
    }

    pub async fn start_with(name: &'static str, options: BrokerOptions) -> Self {
        let broker = options.set("wal.file.bytes", 4 << 20).start().await;
        let mut client = Client::connect(&broker.endpoint()).await;
        let topic = client.create_topic("load", PARTITIONS, &[]).await;
        let recorder = Recorder::default();
        let options = WorkloadOptions::new(topic.clone(), PARTITIONS);
        let workload = Workload::start(broker.endpoint(), &options, &recorder);
        Self {
            name,
            broker,
            topic,
            workload,
            random: SeededRandom::new(11),
            recorder,
            restarts: Vec::new(),
        }
    }

    /// Lets some records be acknowledged: a different number every time.
    pub async fn some_load(&mut self) {
        let width = RECORDS_BETWEEN_KILLS.end - RECORDS_BETWEEN_KILLS.start;
        let records = RECORDS_BETWEEN_KILLS.start + self.random.below(width);
        self.workload.acknowledge(records).await;
    }

    /// Lets this life upload and commit: what it found in the write-ahead log, and more.
    pub async fn some_commits(&self) {
        until("segments are committed", async || {
            let metrics = self.broker.metrics().await;
            metrics.sum("alluvium_ingest_commit_seconds_count") >= COMMITS
        })
        .await;
    }

    pub async fn restart(&mut self) {
        let took = self.broker.restart().await;
        self.restarts.push(took);
    }

    pub async fn kill_and_restart(&mut self) {
        self.broker.kill();
        self.restart().await;
    }

    /// Ends the load without waiting for answers that may never come, reads everything and judges it.
    pub async fn judge(self) -> Report {
        self.workload.abandon().await;
        read_all(
            &self.broker.endpoint(),
            &self.topic,
            PARTITIONS,
            &self.recorder,
        )
        .await;
        check(&self.recorder.history())
    }

    /// Ends the load, reads everything, judges it, and audits what is stored.
    pub async fn finish(mut self) {
        self.workload.acknowledge(1).await;
        self.workload.finish().await;
        read_all(
            &self.broker.endpoint(),
            &self.topic,
            PARTITIONS,
            &self.recorder,
        )
        .await;
        let report = check(&self.recorder.history());
        println!(
            "{}: rounds {}, {report}, {}",
            self.name,
            self.restarts.len(),
            times(self.restarts)
        );
        report.assert_clean();
        assert!(report.acknowledged > 0);
        let status = self.broker.terminate().await;
        assert!(status.success(), "{status}");
        self.broker.verify_ok().await;
    }
}

fn times(mut times: Vec<Duration>) -> String {
    times.sort();
    match times.as_slice() {
        [] => "never restarted".to_owned(),
        [first, .., last] => {
            let middle = times[times.len() / 2];
            format!("restart min {first:.0?}, median {middle:.0?}, max {last:.0?}")
        }
        [only] => format!("restart {only:.0?}"),
    }
}
