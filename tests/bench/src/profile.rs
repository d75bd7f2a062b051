//! Where the broker's CPU time goes under one load: by thread always, by function where `perf` is at hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use crate::Start;
use crate::driver::Target;
use crate::memory::Occupied;
use crate::plan::Scale;
use crate::procfs;
use crate::scenario;
use crate::single::{self, ScenarioName};
use crate::system::SystemKind;

/// Samples a second and thread. Odd, so as not to beat with timers.
const PERF_HERTZ: &str = "499";
/// Functions below this share of the samples are left out.
const PERF_PERCENT_MIN: &str = "0.5";

/// Arguments of `profile`.
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// The load.
    #[arg(value_enum)]
    scenario: ScenarioName,
    #[command(flatten)]
    start: Start,
    /// `alluvium.durability` of the topic.
    #[arg(long, default_value = "local")]
    durability: String,
    /// Where to write `perf.data` and the reports.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Short runs.
    #[arg(long)]
    quick: bool,
}

/// Starts the broker, runs the load under `perf`, prints what it says.
pub fn run(args: &ProfileArgs) -> Result<()> {
    let work = args.start.work_folder()?;
    fs::create_dir_all(&args.out)?;
    let scale = if args.quick {
        Scale::quick()
    } else {
        Scale::full()
    };
    let _occupied = Occupied::free_memory(&work)?;
    let mut broker = args
        .start
        .systems(true)?
        .start(SystemKind::Alluvium, &work.join("alluvium"))?;
    scenario::first_acknowledgement(&mut broker)?;
    let target = Target {
        bootstrap: broker.bootstrap.clone(),
        pid: Some(broker.pid()),
        metrics: broker.metrics,
        settle_max: scale.settle_max,
    };
    let data = args.out.join("perf.data");
    let before = procfs::cpu_by_thread(broker.pid())?;
    let perf = record(broker.pid(), &data);
    let configs = [("alluvium.durability".to_owned(), args.durability.clone())];
    let found = single::load(args.scenario, &target, &configs, &scale);
    println!("CPU-seconds by thread:");
    for (name, seconds) in procfs::cpu_by_thread(broker.pid())? {
        println!(
            "  {name:<20} {:.2}",
            seconds - before.get(&name).copied().unwrap_or_default()
        );
    }
    match perf {
        Ok(perf) => functions(perf, &data, &args.out)?,
        Err(error) => {
            println!("no functions, as perf cannot be run ({error:#}); Debian has it in linux-perf")
        }
    }
    broker.stop()?;
    fs::write(
        args.out.join("profile.json"),
        serde_json::to_string_pretty(&found?)?,
    )?;
    Ok(())
}

fn record(pid: u32, data: &Path) -> Result<Child> {
    let mut command = Command::new("perf");
    command.args([
        "record",
        "--quiet",
        "--freq",
        PERF_HERTZ,
        "--call-graph",
        "fp",
        "--pid",
        &pid.to_string(),
    ]);
    command.arg("--output").arg(data).stdout(Stdio::null());
    let mut child = command.spawn().context("starting perf")?;
    // It ends at once if the kernel does not let it look.
    std::thread::sleep(std::time::Duration::from_millis(500));
    ensure!(child.try_wait()?.is_none(), "perf record ended at once");
    Ok(child)
}

fn functions(mut perf: Child, data: &Path, out: &Path) -> Result<()> {
    if let Some(pid) = i32::try_from(perf.id()).ok().and_then(Pid::from_raw) {
        kill_process(pid, Signal::INT)?;
    }
    perf.wait()?;
    let flat = report(
        data,
        &[
            "--no-children",
            "--call-graph",
            "none",
            "--sort",
            "comm,symbol",
        ],
    )?;
    fs::write(out.join("perf-functions.txt"), &flat)?;
    let callers = report(
        data,
        &[
            "--no-children",
            "--call-graph",
            "caller,0.5,callee,function,percent",
            "--sort",
            "symbol",
        ],
    )?;
    fs::write(out.join("perf-callers.txt"), callers)?;
    let inclusive = report(
        data,
        &["--children", "--call-graph", "none", "--sort", "symbol"],
    )?;
    fs::write(out.join("perf-inclusive.txt"), inclusive)?;
    println!("\nFunctions (more in {}):", out.display());
    for line in flat
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .take(45)
    {
        println!("  {}", line.replace('|', "  ").trim_end());
    }
    Ok(())
}

fn report(data: &Path, how: &[&str]) -> Result<String> {
    let mut command = Command::new("perf");
    command
        .args(["report", "--stdio", "--percent-limit", PERF_PERCENT_MIN])
        .args(how);
    command.arg("--input").arg(data).stderr(Stdio::null());
    let output = command.output().context("running perf report")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
