//! Figures against Apache Kafka, taken in one run on one machine with one client. See README.md.

mod client;
mod clock;
mod disk;
mod driver;
mod memory;
mod metrics;
mod payload;
mod plan;
mod procfs;
mod profile;
mod report;
mod scenario;
mod single;
mod stats;
mod suite;
mod system;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};

use memory::Occupied;
use plan::Scale;
use report::Report;
use suite::Suite;
use system::{SystemKind, Systems};

#[derive(Debug, Parser)]
#[command(about = "Measures Alluvium beside Apache Kafka")]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start Apache Kafka and Alluvium in turn, run every load, print a table.
    Compare(Compare),
    /// Run one load against a broker that runs already.
    Run(single::RunArgs),
    /// Start Alluvium, run one load and show where its CPU time goes.
    Profile(profile::ProfileArgs),
}

#[derive(Debug, Clone, Args)]
struct Start {
    /// The broker's binary. Without it, the one beside this program, built first if it is missing.
    #[arg(long)]
    alluvium: Option<PathBuf>,
    /// One more argument for `alluvium serve`, repeatable (`--alluvium-arg=--object-store --alluvium-arg=s3://...`).
    #[arg(long, allow_hyphen_values = true)]
    alluvium_arg: Vec<String>,
    /// JVM heap of Apache Kafka.
    #[arg(long, default_value = "1G")]
    heap: String,
    /// Folder for data and logs of the run; its contents are removed. Should be on the disk that is to be measured.
    #[arg(long)]
    work: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Compare {
    #[command(flatten)]
    start: Start,
    /// Short runs: about two minutes for a system instead of five or more.
    #[arg(long)]
    quick: bool,
    /// Leave the other system out.
    #[arg(long)]
    only: Option<Only>,
    /// Where to write `bench.txt`, `bench.md` and `bench.json`.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    Kafka,
    Alluvium,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Action::Compare(args) => compare(&args),
        Action::Run(args) => single::run(&args),
        Action::Profile(args) => profile::run(&args),
    }
}

fn compare(args: &Compare) -> Result<()> {
    let work = args.start.work_folder()?;
    let kinds: &[SystemKind] = match args.only {
        None => &[SystemKind::Kafka, SystemKind::Alluvium],
        Some(Only::Kafka) => &[SystemKind::Kafka],
        Some(Only::Alluvium) => &[SystemKind::Alluvium],
    };
    let systems = args.start.systems(kinds.contains(&SystemKind::Alluvium))?;
    let scale = if args.quick {
        Scale::quick()
    } else {
        Scale::full()
    };
    let mut report = Report::default();
    report.context = context(&work)?;
    eprintln!("occupying free memory; on a machine that has used little of it this takes a minute");
    let _occupied = Occupied::free_memory(&work)?;
    for &kind in kinds {
        let result = Suite {
            systems: &systems,
            kind,
            scale,
            work: work.clone(),
            report: &mut report,
        }
        .run();
        // What was measured before a broker fell over is still worth its table.
        if let Err(error) = result {
            eprintln!("{kind:?}: {error:#}");
            let column = if kind == SystemKind::Kafka {
                report::Column::Kafka
            } else {
                report::Column::Local
            };
            report.failed(column, "everything after that", &error);
        }
        write(&report, &args.out)?;
    }
    report
        .context
        .push(format!("load average at the end: {}", load_average()?));
    write(&report, &args.out)?;
    println!("{}", report.text());
    println!(
        "Also in {}: bench.txt, bench.md, bench.json.",
        args.out.display()
    );
    ensure!(report.complete(), "not every scenario brought figures");
    Ok(())
}

fn write(report: &Report, out: &Path) -> Result<()> {
    fs::create_dir_all(out)?;
    fs::write(out.join("bench.txt"), report.text())?;
    fs::write(out.join("bench.md"), report.markdown())?;
    fs::write(
        out.join("bench.json"),
        serde_json::to_string_pretty(&report.json())?,
    )?;
    Ok(())
}

/// What a reader must know of machine and client.
fn context(work: &Path) -> Result<Vec<String>> {
    let cores = std::thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    Ok(vec![
        format!(
            "{cores} cores, Linux {}, librdkafka {librdkafka}, data on {}",
            kernel.trim(),
            work.display()
        ),
        disk::describe(work)?,
        format!("load average at the start: {}", load_average()?),
    ])
}

fn load_average() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text
        .split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" "))
}

impl Start {
    /// The folder for the run's data, empty.
    fn work_folder(&self) -> Result<PathBuf> {
        let folder = match &self.work {
            Some(folder) => folder.clone(),
            None => std::env::temp_dir().join("alluvium-bench"),
        };
        if folder.exists() {
            // Only a folder this program made, or an empty one: a mistyped path must not cost anybody's data.
            let ours = folder.join(MARK).exists() || fs::read_dir(&folder)?.next().is_none();
            ensure!(
                ours,
                "{} is not empty and not a work folder of this program",
                folder.display()
            );
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(MARK), "may be removed\n")?;
        Ok(folder)
    }

    fn systems(&self, needs_alluvium: bool) -> Result<Systems> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .context("the repository is two folders up")?
            .to_owned();
        let alluvium = match &self.alluvium {
            Some(binary) => binary.clone(),
            None if needs_alluvium => build_alluvium(&repository)?,
            None => PathBuf::new(),
        };
        Ok(Systems {
            repository,
            alluvium,
            alluvium_args: self.alluvium_arg.clone(),
            heap: self.heap.clone(),
        })
    }
}

/// Marks a work folder.
const MARK: &str = "alluvium-bench-work";

/// Builds the broker as this program was built (release or not), into the same folder. Quick if it is up to date.
fn build_alluvium(repository: &Path) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().context("a program lies in a folder")?;
    let mut command = Command::new("cargo");
    command
        .args(["build", "--package", "alluvium", "--bin", "alluvium"])
        .current_dir(repository);
    command
        .arg("--target-dir")
        .arg(folder.parent().context("target folders have a parent")?);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    ensure!(
        command.status().context("running cargo")?.success(),
        "building the broker failed"
    );
    Ok(folder.join("alluvium"))
}
