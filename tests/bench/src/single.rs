//! One load against a broker that runs already, here or elsewhere.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::client::{admin, open_loop, produce};
use crate::clock::now_ns;
use crate::driver::{Cost, Target};
use crate::plan::{self, PARTITIONS, Scale};
use crate::scenario;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The load.
    #[arg(value_enum)]
    pub scenario: ScenarioName,
    /// `HOST:PORT` of the broker.
    #[arg(long)]
    pub bootstrap: String,
    /// Process id of the broker, for CPU and memory.
    #[arg(long)]
    pub pid: Option<u32>,
    /// `ADDRESS:PORT` of the broker's metrics page, for PUTs and transactions.
    #[arg(long)]
    pub metrics: Option<SocketAddr>,
    /// `KEY=VALUE`, repeatable: a setting of the topic the load creates.
    #[arg(long)]
    pub topic_config: Vec<String>,
    /// Short runs.
    #[arg(long)]
    pub quick: bool,
}

/// The loads by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScenarioName {
    #[value(name = "produce-1k")]
    Produce1k,
    #[value(name = "produce-1k-json")]
    Produce1kJson,
    #[value(name = "produce-100")]
    Produce100,
    #[value(name = "produce-1k-lz4")]
    Produce1kLz4,
    #[value(name = "produce-1k-idempotent")]
    Produce1kIdempotent,
    #[value(name = "latency-10mb")]
    Latency10Mb,
    #[value(name = "latency-200")]
    Latency200,
    Tail,
    CatchUp,
}

/// Runs the load and prints what it found as JSON.
pub fn run(args: &RunArgs) -> Result<()> {
    let scale = if args.quick {
        Scale::quick()
    } else {
        Scale::full()
    };
    let target = Target {
        bootstrap: args.bootstrap.clone(),
        pid: args.pid,
        metrics: args.metrics,
        settle_max: scale.settle_max,
    };
    let configs = args
        .topic_config
        .iter()
        .map(|setting| match setting.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => bail!("{setting}: expected KEY=VALUE"),
        })
        .collect::<Result<Vec<_>>>()?;
    let found = load(args.scenario, &target, &configs, &scale)?;
    println!("{}", serde_json::to_string_pretty(&found)?);
    Ok(())
}

/// Runs `scenario` on a topic of its own, which is deleted afterwards.
pub fn load(
    scenario: ScenarioName,
    target: &Target,
    configs: &[(String, String)],
    scale: &Scale,
) -> Result<serde_json::Value> {
    let topic = format!("bench-{}", now_ns());
    admin::create_topic(&target.bootstrap, &topic, PARTITIONS, configs)?;
    let found = on_topic(scenario, target, &topic, scale);
    admin::delete_topic(&target.bootstrap, &topic)?;
    found
}

fn on_topic(
    scenario: ScenarioName,
    target: &Target,
    topic: &str,
    scale: &Scale,
) -> Result<serde_json::Value> {
    let name = scenario
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default();
    if let Some(load) = plan::produce().into_iter().find(|load| load.name == name) {
        let runs = scenario::produce(target, topic, &load.spec, scale)?;
        for run in &runs {
            summary(run.result.mb_per_second(), run.result.bytes, &run.cost);
        }
        return Ok(serde_json::to_value(runs)?);
    }
    if let Some(load) = plan::latency(scale)
        .into_iter()
        .find(|load| load.name == name)
    {
        let found = target.measure(|| open_loop::run(&target.bootstrap, topic, &load.spec))?;
        return Ok(serde_json::to_value(found)?);
    }
    if scenario == ScenarioName::Tail {
        let rounds = scenario::tail(target, topic, scale)?;
        for round in &rounds {
            eprintln!(
                "{:.0} MB per broker CPU-second",
                round.mb_per_cpu_second().unwrap_or(f64::NAN)
            );
        }
        return Ok(serde_json::to_value(rounds)?);
    }
    let bound = produce::ProduceBound {
        time: plan::CATCH_UP_TIME_MAX,
        bytes: scale.catch_up_bytes,
    };
    produce::run(&target.bootstrap, topic, &plan::produce()[0].spec, bound)?;
    target.settle()?;
    let reads = scenario::catch_up(target, topic, scale.runs, true)?;
    for read in &reads {
        summary(read.result.mb_per_second(), read.result.bytes, &read.cost);
    }
    Ok(serde_json::to_value(reads)?)
}

fn summary(mb_per_second: f64, bytes: u64, cost: &Cost) {
    let gb = bytes as f64 / 1e9;
    let broker = cost
        .broker_cpu_seconds
        .map_or(f64::NAN, |seconds| seconds / gb);
    eprintln!(
        "{mb_per_second:.0} MB/s, CPU-seconds per GB: broker {broker:.2}, client {:.2}",
        cost.client_cpu_seconds / gb
    );
}
