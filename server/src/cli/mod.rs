//! The command line: one file per subcommand.

mod args;
mod broker;
mod compaction;
mod config;
mod consume;
mod cost;
mod group;
mod output;
mod produce;
mod restore;
mod serve;
mod topic;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // The only TLS implementation in the build; installed once so that every TLS user takes the same.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("error: another TLS implementation is already installed in this process");
        return ExitCode::FAILURE;
    }
    let outcome = match runtime(&cli.command) {
        Ok(runtime) => runtime.block_on(run(cli.command)),
        Err(error) => Err(anyhow::Error::new(error).context("cannot start the async runtime")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn runtime(command: &Command) -> std::io::Result<tokio::runtime::Runtime> {
    match command {
        Command::Serve(_) => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("alluvium")
            .build(),
        _ => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => serve::run(*args).await,
        Command::Config(args) => config::run(&args),
        Command::Topic(args) => topic::run(args).await,
        Command::Produce(args) => produce::run(args).await,
        Command::Consume(args) => consume::run(args).await,
        Command::Group(args) => group::run(args).await,
        Command::Broker(args) => broker::run(args).await,
        Command::Compaction(args) => compaction::run(args).await,
        Command::Cost(args) => cost::run(args).await,
        Command::Verify(args) => verify::run(*args).await,
        Command::Restore(args) => restore::run(*args).await,
    }
}
