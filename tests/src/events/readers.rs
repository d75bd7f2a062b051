//! Python programs that read published Parquet files with engines that are not ours.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::tally::Tally;

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Apache Arrow's C++ reader.
    PyArrow,
    /// DuckDB's own.
    DuckDb,
}

impl Reader {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::PyArrow, Self::DuckDb];

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::PyArrow => "pyarrow",
            Self::DuckDb => "DuckDB",
        }
    }

    fn script(self) -> &'static str {
        match self {
            Self::PyArrow => "read_with_pyarrow.py",
            Self::DuckDb => "read_with_duckdb.py",
        }
    }
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A Python that has what the scripts in `tests/history` need.
#[derive(Debug, Clone)]
pub struct Python {
    program: PathBuf,
}

impl Python {
    /// Installs it, if it is not there already.
    ///
    /// # Errors
    /// The script that does so fails; it says why on standard error.
    pub async fn install() -> anyhow::Result<Self> {
        let output = Command::new(script("install.sh"))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .await
            .context("tests/history/install.sh cannot be started")?;
        let status = output.status;
        ensure!(status.success(), "tests/history/install.sh: {status}");
        let program = String::from_utf8(output.stdout)?.trim_end().into();
        Ok(Self { program })
    }

    /// Runs one of the scripts to its end, and returns what it prints.
    ///
    /// # Errors
    /// It fails; the error is what it says.
    pub async fn run(
        &self,
        name: &str,
        arguments: &[&OsStr],
        input: &str,
    ) -> anyhow::Result<String> {
        let mut child = Command::new(&self.program)
            .arg(script(name))
            .args(arguments)
            // Nothing is left beside the scripts.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", self.program.display()))?;
        let mut stdin = child.stdin.take().context("it is piped")?;
        let writing = async {
            // A script that fails need not read everything; dropping the pipe is its end of input.
            let _unread = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
        };
        let ((), output) = tokio::join!(writing, child.wait_with_output());
        let output = output?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{name}: {}\n{errors}",
            output.status
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Counts the records of Parquet files.
    ///
    /// # Errors
    /// The script fails, or does not print a tally.
    pub async fn tally(&self, reader: Reader, files: &[PathBuf]) -> anyhow::Result<Tally> {
        let list: String = files
            .iter()
            .map(|file| format!("{}\n", file.display()))
            .collect();
        let printed = self.run(reader.script(), &[], &list).await?;
        serde_json::from_str(&printed).with_context(|| format!("{reader} printed {printed:?}"))
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("history")
        .join(name)
}
