//! `alluvium serve`.

use std::io::IsTerminal;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;

use super::args::ServeArgs;
use crate::config::{self, Config, Loaded};
use crate::wiring;

/// Runs a broker until it is told to stop.
pub async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let loaded = load(&args)?;
    start_logging(&loaded.config)?;
    // Installed first, so that a signal during a long recovery ends the process cleanly too.
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let running = tokio::select! {
        started = wiring::start(loaded) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let failed = tokio::select! {
        reason = running.failed() => Some(reason),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    info!("stopping");
    running.stop().await;
    match failed {
        Some(reason) => Err(reason),
        None => Ok(()),
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
