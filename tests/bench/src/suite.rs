//! Takes one system through everything: start, produce, latency, tail, catch-up, restart, storage.
//!
//! A scenario that fails costs its figures and is named in the report; the others go on.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::client::consume;
use crate::client::{admin, open_loop, produce};
use crate::clock::since;
use crate::driver::{Cost, Target};
use crate::plan::{self, CATCH_UP_CONSUMERS, CATCH_UP_TIME_MAX, PARTITIONS, Scale, TAIL_CONSUMERS};
use crate::procfs;
use crate::report::{Column, Report};
use crate::scenario;
use crate::stats::median;
use crate::system::{Broker, SystemKind, Systems, evict_page_cache};

/// The topic that catch-up reads, kept over the restart.
const CATCH_UP_TOPIC: &str = "bench-catch-up";
/// With less than this free, topics are deleted after their scenario.
const DISK_FREE_BYTES_MIN: u64 = 20 << 30;
/// How long a broker is left alone before its idle memory is read.
const IDLE: Duration = Duration::from_secs(2);

/// One system on its way through the scenarios.
pub struct Suite<'a> {
    /// How brokers are started.
    pub systems: &'a Systems,
    /// Which one.
    pub kind: SystemKind,
    /// How long everything takes.
    pub scale: Scale,
    /// Folder for the data of this run.
    pub work: PathBuf,
    /// Where figures go.
    pub report: &'a mut Report,
}

/// A variant of a system is a topic setting.
#[derive(Debug, Clone)]
struct Variant {
    column: Column,
    configs: Vec<(String, String)>,
    first: bool,
}

fn variants(kind: SystemKind) -> [Variant; 2] {
    let variant = |column, key: &str, value: &str, first| Variant {
        column,
        configs: if key.is_empty() {
            Vec::new()
        } else {
            vec![(key.into(), value.into())]
        },
        first,
    };
    match kind {
        SystemKind::Kafka => [
            variant(Column::Kafka, "", "", true),
            variant(Column::KafkaFlush, "flush.messages", "1", false),
        ],
        SystemKind::Alluvium => [
            variant(Column::Local, "alluvium.durability", "local", true),
            variant(Column::Object, "alluvium.durability", "object", false),
        ],
    }
}

impl Suite<'_> {
    /// Runs everything.
    pub fn run(&mut self) -> Result<()> {
        let [first, second] = variants(self.kind);
        let data = self.work.join(format!("{:?}", self.kind).to_lowercase());
        let mut broker = self.start(&data, &first, "start")?;
        self.idle_memory(&broker, &first);
        let target = self.target(&broker);
        self.warm_up(&target, &first)?;
        for variant in [&first, &second] {
            self.produce_all(&target, variant);
            broker.check()?;
            self.latency_all(&target, variant);
            broker.check()?;
        }
        self.attempt("tail", first.column, |suite| suite.tail(&target, &first));
        self.attempt("catch-up", first.column, |suite| {
            suite.catch_up_cached(&target, &first)
        });
        broker.check()?;
        self.stop(broker, &first)?;
        self.attempt("catch-up-cold", first.column, |suite| {
            suite.catch_up_cold(&data, &first)
        });
        remove(&data);
        let fresh = data.with_extension("2");
        self.attempt("storage", first.column, |suite| {
            suite.storage(&fresh, &first)
        });
        remove(&fresh);
        Ok(())
    }

    fn target(&self, broker: &Broker) -> Target {
        Target {
            bootstrap: broker.bootstrap.clone(),
            pid: Some(broker.pid()),
            metrics: broker.metrics,
            settle_max: self.scale.settle_max,
        }
    }

    fn attempt(
        &mut self,
        name: &str,
        column: Column,
        action: impl FnOnce(&mut Self) -> Result<()>,
    ) {
        self.say(column, name);
        if let Err(error) = action(self) {
            eprintln!("  failed: {error:#}");
            self.report.failed(column, name, &error);
        }
    }

    fn say(&self, column: Column, name: &str) {
        eprintln!("[{}] {name}", column.label());
    }

    /// Starts the broker and waits for the first acknowledged record, of a topic of its own.
    fn start(&mut self, data: &Path, variant: &Variant, figure: &'static str) -> Result<Broker> {
        self.say(variant.column, figure);
        let mut broker = self.systems.start(self.kind, data)?;
        scenario::first_acknowledgement(&mut broker)
            .context("waiting for the first acknowledgement")?;
        let ms = since(broker.started_ns).as_secs_f64() * 1e3;
        self.report.figure(variant.column, figure, ms);
        Ok(broker)
    }

    fn stop(&mut self, broker: Broker, variant: &Variant) -> Result<()> {
        let took = broker.stop()?;
        self.report
            .figure(variant.column, "stop", took.as_secs_f64() * 1e3);
        Ok(())
    }

    fn idle_memory(&mut self, broker: &Broker, variant: &Variant) {
        thread::sleep(IDLE);
        if let Ok(memory) = procfs::memory(broker.pid()) {
            self.report
                .figure(variant.column, "memory-idle", memory.resident as f64 / MIB);
        }
    }

    fn warm_up(&mut self, target: &Target, variant: &Variant) -> Result<()> {
        self.say(variant.column, "warm-up");
        let topic = "bench-warm-up";
        admin::create_topic(&target.bootstrap, topic, PARTITIONS, &variant.configs)?;
        let spec = &plan::produce()[0].spec;
        produce::run(
            &target.bootstrap,
            topic,
            spec,
            self.scale.system_warm_up_bound(),
        )?;
        consume::run(
            &target.bootstrap,
            topic,
            PARTITIONS,
            CATCH_UP_CONSUMERS,
            CATCH_UP_TIME_MAX,
        )?;
        self.drop_topic(target, topic);
        target.settle()
    }

    fn produce_all(&mut self, target: &Target, variant: &Variant) {
        for load in plan::produce() {
            if (!variant.first && !load.second) || (!load.quick && !self.scale.all) {
                continue;
            }
            self.attempt(load.name, variant.column, |suite| {
                let topic = topic_name(load.name, variant);
                admin::create_topic(&target.bootstrap, &topic, PARTITIONS, &variant.configs)?;
                let runs = scenario::produce(target, &topic, &load.spec, &suite.scale)?;
                suite.drop_topic(target, &topic);
                suite.produce_figures(variant.column, load.name, &runs);
                suite.detail(variant.column, load.name, &load.spec, &runs);
                Ok(())
            });
        }
    }

    fn produce_figures(&mut self, column: Column, name: &str, runs: &[scenario::ProduceRun]) {
        let mut put = |what: &str, values: Vec<f64>| {
            if let Some(value) = median(values) {
                self.report.figure(column, &format!("{name}/{what}"), value);
            }
        };
        let per_gb = |of: &dyn Fn(&Cost) -> Option<f64>| {
            runs.iter()
                .filter_map(|run| Some(of(&run.cost)? * 1e9 / run.result.bytes as f64))
                .collect::<Vec<_>>()
        };
        put(
            "mb-s",
            runs.iter().map(|run| run.result.mb_per_second()).collect(),
        );
        put("cpu-gb", per_gb(&|cost| cost.broker_cpu_seconds));
        put(
            "client-cpu-gb",
            per_gb(&|cost| Some(cost.client_cpu_seconds)),
        );
        put("puts-gb", per_gb(&|cost| Some(cost.counters?.puts)));
        put(
            "transactions-gb",
            per_gb(&|cost| Some(cost.counters?.transactions)),
        );
        put(
            "put-bytes",
            per_gb(&|cost| Some(cost.counters?.put_bytes / 1e9)),
        );
        let peak = runs
            .iter()
            .filter_map(|run| run.cost.broker_peak_bytes)
            .max();
        self.note_peak(column, peak);
    }

    fn latency_all(&mut self, target: &Target, variant: &Variant) {
        for load in plan::latency(&self.scale) {
            if !variant.first && !load.second {
                continue;
            }
            self.attempt(load.name, variant.column, |suite| {
                let topic = topic_name(load.name, variant);
                admin::create_topic(&target.bootstrap, &topic, PARTITIONS, &variant.configs)?;
                let (result, cost) =
                    target.measure(|| open_loop::run(&target.bootstrap, &topic, &load.spec))?;
                suite.drop_topic(target, &topic);
                suite.latency_figures(variant.column, load.name, &result, &cost, load.spec.time);
                suite.detail(variant.column, load.name, &load.spec, &(&result, &cost));
                anyhow::ensure!(
                    result.failed == 0,
                    "{} of {} records failed",
                    result.failed,
                    result.sent
                );
                Ok(())
            });
        }
    }

    fn latency_figures(
        &mut self,
        column: Column,
        name: &str,
        result: &open_loop::OpenLoopResult,
        cost: &Cost,
        time: Duration,
    ) {
        let mut put =
            |what: &str, value: f64| self.report.figure(column, &format!("{name}/{what}"), value);
        put("p50", result.acknowledged.p50_ms);
        put("p99", result.acknowledged.p99_ms);
        put("p999", result.acknowledged.p999_ms);
        put("late-p99", result.late.p99_ms);
        if let Some(end_to_end) = result.end_to_end {
            put("e2e-p50", end_to_end.p50_ms);
            put("e2e-p99", end_to_end.p99_ms);
        }
        if let Some(cpu) = cost.broker_cpu_seconds {
            put("cores", cpu / time.as_secs_f64());
        }
        if let Some(counters) = cost.counters {
            put("puts-s", counters.puts / cost.seconds);
            put("transactions-s", counters.transactions / cost.seconds);
        }
        self.note_peak(column, cost.broker_peak_bytes);
    }

    /// What a GB of tail fetch costs: the load with consumers less the same load without.
    fn tail(&mut self, target: &Target, variant: &Variant) -> Result<()> {
        let topic = topic_name("tail", variant);
        admin::create_topic(&target.bootstrap, &topic, PARTITIONS, &variant.configs)?;
        let rounds = scenario::tail(target, &topic, &self.scale)?;
        self.drop_topic(target, &topic);
        if let Some(value) = median(
            rounds
                .iter()
                .filter_map(scenario::TailRound::mb_per_cpu_second),
        ) {
            self.report.figure(variant.column, "tail/mb-cpu", value);
        }
        let e2e = rounds
            .iter()
            .filter_map(|round| Some(round.with.end_to_end?.p99_ms));
        if let Some(value) = median(e2e) {
            self.report.figure(variant.column, "tail/e2e-p99", value);
        }
        let peak = rounds
            .iter()
            .filter_map(|round| round.with_cost.broker_peak_bytes)
            .max();
        self.note_peak(variant.column, peak);
        self.detail(
            variant.column,
            "tail",
            &plan::tail(&self.scale, TAIL_CONSUMERS),
            &rounds,
        );
        Ok(())
    }

    fn catch_up_cached(&mut self, target: &Target, variant: &Variant) -> Result<()> {
        admin::create_topic(
            &target.bootstrap,
            CATCH_UP_TOPIC,
            PARTITIONS,
            &variant.configs,
        )?;
        let spec = &plan::produce()[0].spec;
        let bound = produce::ProduceBound {
            time: Duration::from_secs(60),
            bytes: self.scale.catch_up_bytes,
        };
        produce::run(&target.bootstrap, CATCH_UP_TOPIC, spec, bound)?;
        target.settle()?;
        let reads = scenario::catch_up(target, CATCH_UP_TOPIC, self.scale.runs, true)?;
        self.catch_up_figures(variant.column, "catch-up", &reads);
        Ok(())
    }

    fn catch_up_cold(&mut self, data: &Path, variant: &Variant) -> Result<()> {
        evict_page_cache(data)?;
        let broker = self.start(data, variant, "start-again")?;
        let target = self.target(&broker);
        let reads = scenario::catch_up(&target, CATCH_UP_TOPIC, 1, false)?;
        self.catch_up_figures(variant.column, "catch-up-cold", &reads);
        broker.stop()?;
        Ok(())
    }

    fn catch_up_figures(&mut self, column: Column, name: &str, reads: &[scenario::CatchUpRun]) {
        let mut put = |what: &str, value: Option<f64>| {
            if let Some(value) = value {
                self.report.figure(column, &format!("{name}/{what}"), value);
            }
        };
        put(
            "mb-s",
            median(reads.iter().map(|read| read.result.mb_per_second())),
        );
        put(
            "mb-cpu",
            median(
                reads
                    .iter()
                    .filter_map(scenario::CatchUpRun::mb_per_cpu_second),
            ),
        );
        put(
            "gets-gb",
            median(reads.iter().filter_map(|read| {
                Some(read.cost.counters?.gets * 1e9 / read.result.bytes as f64)
            })),
        );
        self.note_peak(
            column,
            reads
                .iter()
                .filter_map(|read| read.cost.broker_peak_bytes)
                .max(),
        );
        self.detail(column, name, &"1 KiB random, from the first offset", &reads);
    }

    /// On an empty folder: what stays on disk of a known amount of JSON, and what an idle partition costs.
    fn storage(&mut self, data: &Path, variant: &Variant) -> Result<()> {
        let mut broker = self.start(data, variant, "start")?;
        let target = self.target(&broker);
        if self.scale.idle_partitions > 0 {
            self.idle_partitions(&target, variant)?;
        }
        let topic = "bench-storage";
        admin::create_topic(&target.bootstrap, topic, PARTITIONS, &variant.configs)?;
        let spec = plan::produce()
            .into_iter()
            .find(|load| load.name == "produce-1k-json")
            .context("no such load")?
            .spec;
        let bytes = self.scale.catch_up_bytes / 2;
        let bound = produce::ProduceBound {
            time: Duration::from_secs(60),
            bytes,
        };
        let result = produce::run(&target.bootstrap, topic, &spec, bound)?;
        broker.check()?;
        // Stopping uploads what is left.
        broker.stop()?;
        let stored = self.systems.stored_bytes(self.kind, data)?;
        self.report.figure(
            variant.column,
            "stored-json",
            stored as f64 / result.bytes as f64,
        );
        Ok(())
    }

    fn idle_partitions(&mut self, target: &Target, variant: &Variant) -> Result<()> {
        let Some(pid) = target.pid else { return Ok(()) };
        target.settle()?;
        let before = procfs::memory(pid)?;
        admin::create_topic(
            &target.bootstrap,
            "bench-idle",
            self.scale.idle_partitions,
            &variant.configs,
        )?;
        target.settle()?;
        let after = procfs::memory(pid)?;
        let added = after.resident.saturating_sub(before.resident) as f64;
        self.report.figure(
            variant.column,
            "memory-partition",
            added / 1024.0 / f64::from(self.scale.idle_partitions),
        );
        Ok(())
    }

    fn note_peak(&mut self, column: Column, bytes: Option<u64>) {
        if let Some(bytes) = bytes {
            self.report
                .figure_max(column, "memory-peak", bytes as f64 / MIB);
        }
    }

    fn detail(&mut self, column: Column, name: &str, spec: &impl Serialize, runs: &impl Serialize) {
        self.report.detail(column, name, spec, runs);
    }

    fn drop_topic(&mut self, target: &Target, topic: &str) {
        // Pages of deleted files would go back to the hypervisor (see `memory`), so topics go only when the disk gets full.
        let free = rustix::fs::statvfs(&self.work).map(|stat| stat.f_bavail * stat.f_frsize);
        if free.is_ok_and(|free| free > DISK_FREE_BYTES_MIN) {
            return;
        }
        if let Err(error) = admin::delete_topic(&target.bootstrap, topic) {
            eprintln!("  could not delete {topic}: {error:#}");
        }
    }
}

const MIB: f64 = (1 << 20) as f64;

fn topic_name(scenario: &str, variant: &Variant) -> String {
    format!(
        "bench-{scenario}-{}",
        if variant.first { "first" } else { "second" }
    )
}

fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        eprintln!("could not remove {}: {error}", folder.display());
    }
}
