//! The scenarios, each against one broker: shared by the comparison, single runs and profiling.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde::Serialize;

use crate::client::config;
use crate::client::consume::{self, CatchUpResult};
use crate::client::open_loop::{self, OpenLoopResult};
use crate::client::produce::{self, ProduceResult, ProduceSpec};
use crate::clock::Deadline;
use crate::driver::{Cost, Target};
use crate::plan::{self, CATCH_UP_CONSUMERS, CATCH_UP_TIME_MAX, PARTITIONS, Scale, TAIL_CONSUMERS};
use crate::system::Broker;

/// Longest time a broker may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Waits until `broker` has acknowledged a record in a topic that did not exist.
pub fn first_acknowledgement(broker: &mut Broker) -> Result<()> {
    let deadline = Deadline::after(START_TIMEOUT);
    // librdkafka's own reconnecting is tuned low, but the port is tried here, so that only the broker is timed.
    while std::net::TcpStream::connect(&broker.bootstrap).is_err() {
        broker.check()?;
        ensure!(
            !deadline.passed(),
            "the port is not open after {START_TIMEOUT:?}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let producer: BaseProducer = config(&broker.bootstrap)
        .set("acks", "all")
        .set("linger.ms", "0")
        .create()?;
    let topic = "bench-start";
    producer
        .send(BaseRecord::<(), str>::to(topic).payload("first"))
        .map_err(|(error, _)| error)?;
    loop {
        match producer.flush(Duration::from_millis(500)) {
            Ok(()) => return Ok(()),
            Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)) if !deadline.passed() => {
                broker.check()?
            }
            Err(error) => return Err(error).context("the first record"),
        }
    }
}

/// One produce run.
#[derive(Debug, Clone, Serialize)]
pub struct ProduceRun {
    /// What it did.
    pub result: ProduceResult,
    /// What it cost.
    pub cost: Cost,
}

/// A run thrown away, then `scale.runs` runs.
pub fn produce(
    target: &Target,
    topic: &str,
    spec: &ProduceSpec,
    scale: &Scale,
) -> Result<Vec<ProduceRun>> {
    produce::run(&target.bootstrap, topic, spec, scale.warm_up_bound())?;
    target.settle()?;
    (0..scale.runs)
        .map(|_| {
            let (result, cost) = target
                .measure(|| produce::run(&target.bootstrap, topic, spec, scale.run_bound()))?;
            if result.failed > 0 {
                bail!(
                    "{} records failed, {} were acknowledged",
                    result.failed,
                    result.records
                );
            }
            Ok(ProduceRun { result, cost })
        })
        .collect()
}

/// The same open-loop load without and with consumers.
#[derive(Debug, Clone, Serialize)]
pub struct TailRound {
    /// Without consumers.
    pub without_cost: Cost,
    /// With consumers.
    pub with: OpenLoopResult,
    /// With consumers.
    pub with_cost: Cost,
}

impl TailRound {
    /// MB fetched per CPU-second that fetching added. Nothing if the difference drowns in the noise of ticks.
    pub fn mb_per_cpu_second(&self) -> Option<f64> {
        let added = self.with_cost.broker_cpu_seconds? - self.without_cost.broker_cpu_seconds?;
        (added >= 0.03).then(|| self.with.consumed_bytes as f64 / 1e6 / added)
    }
}

/// `scale.runs` rounds.
pub fn tail(target: &Target, topic: &str, scale: &Scale) -> Result<Vec<TailRound>> {
    let load = |consumers| {
        let spec = plan::tail(scale, consumers);
        target.measure(|| {
            let result = open_loop::run(&target.bootstrap, topic, &spec)?;
            ensure!(
                result.failed == 0,
                "{} of {} records failed",
                result.failed,
                result.sent
            );
            Ok(result)
        })
    };
    (0..scale.runs)
        .map(|_| {
            let (_, without_cost) = load(0)?;
            let (with, with_cost) = load(TAIL_CONSUMERS)?;
            Ok(TailRound {
                without_cost,
                with,
                with_cost,
            })
        })
        .collect()
}

/// One read of a whole topic.
#[derive(Debug, Clone, Serialize)]
pub struct CatchUpRun {
    /// What it brought.
    pub result: CatchUpResult,
    /// What it cost.
    pub cost: Cost,
}

impl CatchUpRun {
    /// MB per CPU-second of the broker.
    pub fn mb_per_cpu_second(&self) -> Option<f64> {
        let cpu = self.cost.broker_cpu_seconds?;
        (cpu > 0.0).then(|| self.result.bytes as f64 / 1e6 / cpu)
    }
}

/// Reads all of `topic` `runs` times; with `warm_up`, once more before that counts.
pub fn catch_up(
    target: &Target,
    topic: &str,
    runs: usize,
    warm_up: bool,
) -> Result<Vec<CatchUpRun>> {
    let read = || {
        consume::run(
            &target.bootstrap,
            topic,
            PARTITIONS,
            CATCH_UP_CONSUMERS,
            CATCH_UP_TIME_MAX,
        )
    };
    if warm_up {
        read()?;
        target.settle()?;
    }
    (0..runs)
        .map(|_| {
            let (result, cost) = target.measure(read)?;
            Ok(CatchUpRun { result, cost })
        })
        .collect()
}
