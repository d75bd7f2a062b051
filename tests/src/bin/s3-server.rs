//! The tests' S3 server as a program, for benchmarks and for trying things out by hand:
//!
//! ```text
//! s3-server [--listen 127.0.0.1:9000] [--p50-ms 60 --p99-ms 220] [--seed 1]
//! ```
//!
//! It prints the variables that point S3 clients at it and the bucket's URL, as shell commands, and runs
//! until interrupted or told to end. Everything it stores is in memory and gone when it ends.

use std::time::Duration;

use alluvium_tests::s3::{Latency, S3Options, S3Server};
use anyhow::{Context, bail};

#[derive(Default)]
struct Arguments {
    options: S3Options,
    p50_ms: Option<u64>,
    p99_ms: Option<u64>,
}

fn arguments() -> anyhow::Result<Arguments> {
    let mut parsed = Arguments::default();
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given
            .next()
            .with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--listen" => parsed.options.listen = value.parse().context("--listen")?,
            "--p50-ms" => parsed.p50_ms = Some(value.parse().context("--p50-ms")?),
            "--p99-ms" => parsed.p99_ms = Some(value.parse().context("--p99-ms")?),
            "--seed" => parsed.options.seed = value.parse().context("--seed")?,
            _ => bail!("unknown argument {name}"),
        }
    }
    Ok(parsed)
}

fn latency(arguments: &Arguments) -> anyhow::Result<Option<Latency>> {
    match (arguments.p50_ms, arguments.p99_ms) {
        (None, None) => Ok(None),
        (Some(p50), Some(p99)) if 0 < p50 && p50 <= p99 => Ok(Some(Latency {
            p50: Duration::from_millis(p50),
            p99: Duration::from_millis(p99),
        })),
        _ => bail!("give --p50-ms and --p99-ms, both above zero and in that order"),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = arguments()?;
    let latency = latency(&arguments)?;
    let server = S3Server::start(arguments.options).await?;
    server.faults().set_latency(latency);
    for (name, value) in server.variables() {
        println!("export {name}={value}");
    }
    println!("# --object-store {}", server.url("data"));
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
