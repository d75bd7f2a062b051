//! Child processes: started, read, ended.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Log, PATIENCE};

/// Names the binary when it does not lie beside the tests.
const BINARY_VARIABLE: &str = "ALLUVIUM_TEST_BINARY";
/// Passed on from the environment of the tests; nothing else is, so that no setting of whoever runs them matters.
const PASSED_ON: [&str; 4] = ["PATH", "HOME", "TMPDIR", "RUST_BACKTRACE"];

/// A running process whose output goes into a [`Log`].
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    reader: Option<JoinHandle<()>>,
    /// True when the process has closed its output, which it does by ending.
    closed: watch::Receiver<bool>,
}

impl Process {
    pub(super) fn spawn(
        binary: Option<&Path>,
        arguments: &[String],
        environment: &BTreeMap<String, String>,
        log: &Arc<Log>,
    ) -> Self {
        let mut command = command(binary);
        command.args(arguments).envs(environment);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be started");
        let output = child.stderr.take().expect("its output is piped");
        let (sender, closed) = watch::channel(false);
        let log = Arc::clone(log);
        // A thread, not a task: a test that blocks its runtime must not block the broker's log.
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                log.push(String::from_utf8_lossy(&line).into_owned());
            }
            sender.send_replace(true);
        });
        Self {
            child,
            reader: Some(reader),
            closed,
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(super) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        // The process may have ended by itself a moment ago.
        let _gone = kill_process(id.expect("a process id"), signal);
    }

    /// Waits until the process has ended and all its output is in the log.
    pub(super) async fn ended(&mut self) -> ExitStatus {
        // An error means that the reader is gone, so the output is closed.
        drop(self.closed.wait_for(|closed| *closed).await);
        self.join_reader();
        self.child.wait().expect("our own child")
    }

    /// SIGKILL; returns when the process is gone and its output is in the log.
    pub(super) fn kill(self) {
        drop(self);
    }

    pub(super) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let status = fs::read_to_string(path).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("VmRSS in KiB") * 1024
    }

    fn join_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            // It only reads and pushes lines; a panic there would have been printed.
            let _ended = reader.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the process has ended and was waited for already.
        let _killed = self.child.kill();
        let _waited = self.child.wait();
        self.join_reader();
    }
}

/// Runs a command to its end, with `input` on its standard input.
pub(super) async fn run(arguments: &[&str], variables: &[(&str, String)], input: &str) -> Output {
    let mut command = tokio::process::Command::from(command(None));
    command
        .args(arguments)
        .envs(variables.iter().cloned())
        .kill_on_drop(true);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary can be started");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    let writing = tokio::spawn(async move {
        // A command that ends early need not read everything.
        let _unread = stdin.write_all(input.as_bytes()).await;
    });
    let output = timeout(PATIENCE, child.wait_with_output()).await;
    writing.abort();
    match output {
        Ok(output) => output.expect("its output can be read"),
        Err(_) => panic!("alluvium {arguments:?} still runs after {PATIENCE:?}"),
    }
}

/// The binary, without arguments yet.
pub(super) fn command_line() -> tokio::process::Command {
    command(None).into()
}

fn command(named: Option<&Path>) -> Command {
    let mut command = Command::new(named.map_or_else(binary, Path::to_owned));
    command.env_clear();
    for name in PASSED_ON {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // Escape codes would stand between the words that tests look for.
    command.env("NO_COLOR", "1");
    command
}

/// `target/<profile>/alluvium`, found from `target/<profile>/deps/<this test>`.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os(BINARY_VARIABLE) {
        return path.into();
    }
    let test = std::env::current_exe().expect("the running test");
    let profile = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("target/<profile>/deps");
    let binary = profile.join("alluvium");
    assert!(
        binary.is_file(),
        "{} is not built; run `cargo build -p alluvium` first, or name another one in {BINARY_VARIABLE}",
        binary.display()
    );
    binary
}
