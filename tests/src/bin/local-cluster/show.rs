//! Producers and consumers go on while brokers are killed, drained and added.

use std::time::Duration;

use alluvium_tests::cluster::Cluster;
use alluvium_tests::history::{Recorder, check};
use alluvium_tests::load::{Load, LoadOptions, LoadTopic};
use alluvium_tests::workload::ProducerKind;
use tokio::time::{Instant, sleep};

use super::setup;

/// How long a broker stays dead, and how long the load goes on after everything that was done.
const PAUSE: Duration = Duration::from_secs(6);

/// What happens to a running load, told line by line.
struct Show {
    cluster: Cluster,
    load: Load,
    began: Instant,
    /// What did not go as it must.
    failed: Vec<String>,
}

impl Show {
    fn begin(&self, what: &str) {
        println!("{:6.1} s  {what}", self.began.elapsed().as_secs_f64());
        self.load.gaps().measure_anew();
    }

    async fn end(&mut self) {
        sleep(PAUSE).await;
        let gaps = self.load.gaps();
        println!(
            "          longest pause of a partition: produce {:.2} s, fetch {:.2} s; of commits {:.2} s",
            gaps.longest("produce ").as_secs_f64(),
            gaps.longest("fetch ").as_secs_f64(),
            gaps.longest("commit offset").as_secs_f64(),
        );
    }

    async fn kill(&mut self, number: usize) {
        self.begin(&format!("kill -9 broker {number}"));
        self.cluster.node(number).kill();
        self.end().await;
        self.begin(&format!("start broker {number} again"));
        self.cluster.node(number).revive();
        self.cluster.until_ready().await;
        self.end().await;
    }

    async fn drain(&mut self, number: usize) {
        self.begin(&format!("alluvium broker drain {number} --wait"));
        let (id, began) = (number.to_string(), Instant::now());
        let other = number % self.cluster.nodes().len() + 1;
        let other = self.cluster.node(other).broker();
        let drained = other.command(&["broker", "drain", &id, "--wait"], "").await;
        let took = began.elapsed().as_secs_f64();
        match drained.status.success() {
            true => println!("          it leads nothing after {took:.1} s"),
            false => self.failed.push(format!("broker {number} was not drained")),
        }
        self.end().await;
        self.begin(&format!("alluvium broker undrain {number}"));
        let other = self.cluster.node(number % self.cluster.nodes().len() + 1);
        let undrain = ["broker", "undrain", &id];
        other.broker().command_ok(&undrain, "").await;
        self.end().await;
    }

    async fn join(&mut self) {
        let number = self.cluster.nodes().len() + 1;
        self.begin(&format!("broker {number} joins"));
        let began = Instant::now();
        self.cluster.add().await;
        self.load.know(&self.cluster);
        while self.led_by(number).await == 0 {
            if began.elapsed() > Duration::from_secs(60) {
                self.failed
                    .push(format!("broker {number} leads nothing after a minute"));
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        println!(
            "          it leads after {:.1} s",
            began.elapsed().as_secs_f64()
        );
        self.end().await;
    }

    /// How many partitions that broker leads, as `alluvium broker list` tells it.
    async fn led_by(&mut self, number: usize) -> usize {
        let listing = self.cluster.node(1).broker();
        let output = listing.command(&["broker", "list"], "").await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut rows = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let leads = rows
            .next()
            .and_then(|header| header.iter().position(|name| *name == "LEADS"));
        let row = rows.find(|row| row.first() == Some(&number.to_string().as_str()));
        let led = leads
            .zip(row)
            .and_then(|(column, row)| row.get(column)?.parse().ok());
        led.unwrap_or(0)
    }
}

/// The show.
pub async fn run(brokers: usize) -> anyhow::Result<()> {
    let recorder = Recorder::default();
    let cluster = setup(brokers).start().await;
    let options = LoadOptions {
        topics: vec![LoadTopic {
            name: "show".to_owned(),
            partitions: 12,
            class: "object",
        }],
        producers: vec![ProducerKind::Idempotent],
        pace: Duration::from_millis(50),
        // A broker that joins is given new topics at once; it is told when it leads what others led.
        churn: false,
        ..LoadOptions::new(1)
    };
    let load = Load::start(&cluster, &options, &recorder).await;
    load.progress(200).await;
    let mut show = Show {
        cluster,
        load,
        began: Instant::now(),
        failed: Vec::new(),
    };
    println!(
        "{brokers} brokers, 12 partitions of durability object, sessions of 3 s, one producer on each partition"
    );
    show.begin("undisturbed");
    show.end().await;
    for number in 1..=brokers {
        show.kill(number).await;
    }
    for number in 1..=brokers {
        show.drain(number).await;
    }
    show.join().await;
    let Show {
        mut cluster,
        load,
        mut failed,
        ..
    } = show;
    let topics = load.topics().to_vec();
    load.finish().await;
    Load::read_all(&topics, &cluster, options.patience, &recorder).await;
    let report = check(&recorder.take());
    println!(
        "\neverything read back: {report}, violations {}",
        report.violations.len()
    );
    report
        .violations
        .iter()
        .for_each(|violation| println!("  {violation}"));
    failed.extend(cluster.terminate().await);
    failed.iter().for_each(|failed| println!("  {failed}"));
    let audit = cluster.verify().await;
    println!(
        "alluvium verify: {}",
        audit.as_ref().err().map_or("in order", |found| found)
    );
    anyhow::ensure!(
        report.violations.is_empty() && failed.is_empty() && audit.is_ok(),
        "something is wrong, see above"
    );
    Ok(())
}
