//! One broker process: started, watched, stopped, and never left behind.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::clock::{Deadline, now_ns, since};

/// Longest time a broker may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(45);

/// A broker that runs.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    /// `HOST:PORT` for clients.
    pub bootstrap: String,
    /// Where its metrics page is, if it has one.
    pub metrics: Option<SocketAddr>,
    /// When it was started, on the clock of `clock`.
    pub started_ns: u64,
    log: PathBuf,
}

impl Broker {
    /// Runs `command` with its output appended to `log`.
    pub fn spawn(
        command: &mut Command,
        listen: SocketAddr,
        metrics: Option<SocketAddr>,
        log: &Path,
    ) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let started_ns = now_ns();
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {:?}", command.get_program()))?;
        Ok(Self {
            child,
            bootstrap: listen.to_string(),
            metrics,
            started_ns,
            log: log.to_owned(),
        })
    }

    /// The process id; `kafka.sh` replaces itself by the JVM, so it is the broker's in both cases.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error with the end of its output, if the broker has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the broker ended ({status}):\n{}", self.last_lines()),
        }
    }

    /// SIGTERM, then waits. Returns how long it took.
    pub fn stop(mut self) -> Result<Duration> {
        let started = now_ns();
        self.signal(Signal::TERM);
        let status = self.wait(STOP_TIMEOUT)?;
        // A JVM that ends by SIGTERM says 143, though it shut down in order.
        if !status.success() && status.code() != Some(143) {
            bail!("the broker ended with {status}:\n{}", self.last_lines());
        }
        Ok(since(started))
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // The process may have ended already, which `wait` finds out.
            let _ = kill_process(pid, signal);
        }
    }

    fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Deadline::after(timeout);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if deadline.passed() {
                bail!(
                    "the broker did not end within {timeout:?} of SIGTERM:\n{}",
                    self.last_lines()
                );
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn last_lines(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().rev().take(15).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // On the way out of a failed run: nothing of ours may stay behind.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
