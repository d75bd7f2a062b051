//! `alluvium serve`.

use std::io::IsTerminal;
use std::time::Duration;

use alluvium_common::error::ErrorKind;
use alluvium_ingest::recovery::StartError;
use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use super::args::ServeArgs;
use crate::config::{self, Config, Loaded};
use crate::wiring::{self, End, Running};

/// Pause before a process that has lost its session is started anew, after an attempt that failed. Short: the cluster
/// lacks a broker meanwhile; but not so short that a store that is away is hammered.
const REJOIN_PAUSE: Duration = Duration::from_secs(1);

/// Attempts at the first start, when what keeps it is expected to pass: enough for a session to end and a plan to be
/// carried out, few enough that a supervisor is told of what does not pass.
const STARTS_MAX: usize = 20;

/// Runs a broker, or what else the roles say, until it is told to stop. One that has lost its session, because it was frozen or cut off for longer
/// than that lasts, starts anew in the same process: it can do nothing any more in the old one (F2).
pub async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let loaded = load(&args)?;
    start_logging(&loaded.config)?;
    // Installed first, so that a signal during a long recovery ends the process cleanly too.
    let mut signals = Signals::new()?;
    let Some(first) = signals.or_end(first_start(&loaded)).await else {
        return Ok(());
    };
    let mut running = first?;
    loop {
        let end = signals.or_end(running.ended()).await;
        info!("stopping");
        running.stop().await;
        match end {
            None => return Ok(()),
            Some(End::Failed(reason)) => return Err(reason),
            Some(End::SessionLost) => warn!("the session was lost; starting a new one"),
        }
        let Some(rejoined) = signals.or_end(rejoin(&loaded)).await else {
            return Ok(());
        };
        running = rejoined;
    }
}

/// What is wrong with settings or surroundings is told at once. What only comes of others who go on meanwhile, as when
/// this broker was gone for a moment and its partitions are just being given away, is tried again.
async fn first_start(loaded: &Loaded) -> anyhow::Result<Running> {
    for _ in 1..STARTS_MAX {
        match wiring::start(loaded.clone()).await {
            Err(error) if comes_of_others(&error) => warn!(
                error = format!("{error:#}"),
                "not started yet; trying again"
            ),
            started => return started,
        }
        tokio::time::sleep(REJOIN_PAUSE).await;
    }
    wiring::start(loaded.clone()).await
}

fn comes_of_others(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    let start_error = causes.find_map(|cause| cause.downcast_ref::<StartError>());
    start_error.is_some_and(|error| matches!(error.kind(), ErrorKind::Retry | ErrorKind::Fenced))
}

/// Tries for as long as it takes: what was there before will be there again.
async fn rejoin(loaded: &Loaded) -> Running {
    loop {
        match wiring::start(loaded.clone()).await {
            Ok(running) => return running,
            Err(error) => warn!(
                error = format!("{error:#}"),
                "not started yet; trying again"
            ),
        }
        tokio::time::sleep(REJOIN_PAUSE).await;
    }
}

/// What tells a process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
        })
    }

    /// Waits for `work`; `None` when a signal comes first.
    async fn or_end<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            _ = self.terminate.recv() => None,
            _ = self.interrupt.recv() => None,
        }
    }
}

/// Joins file, environment and flags.
pub(super) fn load(args: &ServeArgs) -> anyhow::Result<Loaded> {
    let flags = args.settings()?;
    Ok(config::load(
        args.config.as_deref(),
        std::env::vars(),
        &flags,
    )?)
}

fn start_logging(config: &Config) -> anyhow::Result<()> {
    // The cache's library tells of its own defaults at every start.
    let filter = EnvFilter::try_new(format!("foyer=warn,{}", config.log_filter))
        .with_context(|| format!("log.filter {:?} is not valid", config.log_filter))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match config.log_format.as_str() {
        "json" => lines.json().init(),
        "text" => lines.init(),
        other => anyhow::bail!("log.format is text or json, not {other:?}"),
    }
    Ok(())
}
