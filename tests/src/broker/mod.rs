//! The real `alluvium` binary as a process of its own, so that it can be killed, stopped and watched from outside.
//!
//! ```text
//! BrokerOptions::start -> process + data folder + log -> kill | terminate -> restart on the same folder and ports
//! ```
//!
//! A broker that logs a warning, an error or a panic which the test did not announce with
//! [`Broker::expect_log`] fails the test when it is dropped. No process outlives its [`Broker`].

mod http;
mod log;
mod metrics;
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::sync::Arc;
use std::time::Duration;

use alluvium::config::Endpoint;
use alluvium_common::rand::{Random, SystemRandom};
use parking_lot::Mutex;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

pub use self::http::HttpAnswer;
pub use self::log::Log;
pub use self::metrics::Metrics;
use self::process::Process;

/// How long anything may take before a test gives up. Generous: the machine may be busy, and a passing test never
/// waits for it.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Pause between two looks at a condition of another process that cannot be waited for.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Below the range that systems give to outgoing connections, so that nobody else takes the port of a broker
/// while it is dead.
const PORTS: std::ops::Range<u16> = 10_000..30_000;
/// Starts tried on other ports when somebody else was quicker.
const STARTS_MAX: usize = 5;
/// What a broker says whose port is taken.
const PORT_TAKEN: &str = "cannot listen on";

/// How a broker starts.
#[derive(Debug, Clone, Default)]
pub struct BrokerOptions {
    settings: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    flags: Vec<String>,
    folder: Option<PathBuf>,
    binary: Option<PathBuf>,
}

impl BrokerOptions {
    /// The defaults, in a temporary folder and on free ports.
    pub fn new() -> Self {
        Self::default()
    }

    /// A setting of `alluvium config`.
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.insert(key.to_owned(), value.to_string());
        self
    }

    /// An environment variable of the process.
    pub fn environment(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Flags as they are written on the command line.
    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags
            .extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// A data folder of the test's own, instead of a temporary one.
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Another binary than the other tests use.
    pub fn binary(mut self, binary: &Path) -> Self {
        self.binary = Some(binary.to_owned());
        self
    }

    /// Segments in a bucket of `server`, under `prefix`.
    pub fn s3(self, server: &crate::s3::S3Server, prefix: &str) -> Self {
        let with_url = self.set("object.store", server.url(prefix));
        server
            .variables()
            .into_iter()
            .fold(with_url, |options, (name, value)| {
                options.environment(name, value)
            })
    }

    /// Durability `object` for every topic, with so many PUTs allowed that tests need not wait for the budget.
    pub fn durability_object(self) -> Self {
        self.set("alluvium.durability", "object").quick_puts()
    }

    /// Uploads at once whenever somebody waits.
    pub fn quick_puts(self) -> Self {
        self.set("put.budget.per.second", 1_000)
            .set("segment.upload.waiting.ms", 20)
    }

    /// Starts the broker and waits until it is ready. Panics with its log when it is not.
    pub async fn start(self) -> Broker {
        for _ in 1..STARTS_MAX {
            let mut broker = self.clone().prepare();
            match broker.try_start().await {
                Ok(_) => return broker,
                Err(output) if output.contains(PORT_TAKEN) => broker.log.expect(PORT_TAKEN),
                Err(output) => {
                    broker.log.accept_all();
                    panic!("the broker did not start:\n{output}");
                }
            }
        }
        panic!("no free port in {STARTS_MAX} attempts");
    }

    /// Ports and folder chosen, nothing started yet.
    pub fn prepare(self) -> Broker {
        let temporary = match &self.folder {
            Some(_) => None,
            None => Some(tempfile::tempdir().expect("temporary folder")),
        };
        let folder = match (&self.folder, &temporary) {
            (Some(folder), _) => folder.clone(),
            (None, Some(temporary)) => temporary.path().join("data"),
            (None, None) => unreachable!("one of the two was just made"),
        };
        Broker {
            port: free_port(),
            http_port: free_port(),
            folder,
            options: self,
            process: None,
            log: Arc::default(),
            _temporary: temporary,
        }
    }
}

/// One broker: a data folder and the process that runs on it, if one does.
#[derive(Debug)]
pub struct Broker {
    options: BrokerOptions,
    folder: PathBuf,
    port: u16,
    http_port: u16,
    process: Option<Process>,
    log: Arc<Log>,
    _temporary: Option<TempDir>,
}

impl Broker {
    /// Where clients connect.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            host: Ipv4Addr::LOCALHOST.to_string(),
            port: self.port,
        }
    }

    /// The same for sockets.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All that its processes have written so far.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Warnings and errors that contain `text` are part of the test.
    pub fn expect_log(&self, text: &str) {
        self.log.expect(text);
    }

    /// Changes a setting for the next start.
    pub fn set(&mut self, key: &str, value: impl ToString) {
        self.options
            .settings
            .insert(key.to_owned(), value.to_string());
    }

    /// Id of the running process.
    pub fn process_id(&self) -> u32 {
        self.running().id()
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Ends the process as a power cut would: SIGKILL, nothing is told or flushed.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGTERM, and how the process ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("a running broker");
        process.signal(Signal::TERM);
        match timeout(PATIENCE, process.ended()).await {
            Ok(status) => status,
            Err(_) => panic!(
                "the broker still runs {PATIENCE:?} after SIGTERM:\n{}",
                self.log.text()
            ),
        }
    }

    /// SIGTERM, and how the process ended; one that does not end within `patience` is killed.
    pub async fn terminate_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let mut process = self.process.take().expect("a running broker");
        process.signal(Signal::TERM);
        timeout(patience, process.ended()).await.ok()
    }

    /// Nothing that the broker writes fails the test, not even a panic: its bugs are what is tested.
    pub fn accept_any_log(&self) {
        self.log.accept_all();
    }

    /// SIGTERM, without waiting for anything.
    pub fn signal_terminate(&self) {
        self.running().signal(Signal::TERM);
    }

    /// SIGSTOP: it hangs, and its connections stay open.
    pub fn freeze(&self) {
        self.running().signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.running().signal(Signal::CONT);
    }

    /// Waits for the process to end by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("a running broker");
        match timeout(PATIENCE, process.ended()).await {
            Ok(status) => status,
            Err(_) => panic!(
                "the broker still runs after {PATIENCE:?}:\n{}",
                self.log.text()
            ),
        }
    }

    /// Starts again on the same folder and ports, and waits until it is ready. The time that took.
    pub async fn restart(&mut self) -> Duration {
        assert!(!self.is_running(), "the broker still runs");
        match self.try_start().await {
            Ok(took) => took,
            Err(output) => {
                self.log.accept_all();
                panic!("the broker did not start again:\n{output}");
            }
        }
    }

    /// Starts the process without waiting for anything.
    pub fn spawn(&mut self) {
        let arguments = self.arguments("serve");
        let process = Process::spawn(
            self.options.binary.as_deref(),
            &arguments,
            &self.options.environment,
            &self.log,
        );
        self.process = Some(process);
    }

    /// Waits until the broker serves clients; the output of the process when it ends instead.
    pub async fn ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !self.is_running() {
                let mut process = self.process.take().expect("was started");
                let status = process.ended().await;
                return Err(format!("{}({status})", self.log.text()));
            }
            if let Ok(answer) = self.http_get("/readyz").await
                && answer.status == 200
            {
                return Ok(());
            }
            sleep(LOOK_AGAIN).await;
        }
        Err(format!(
            "not ready after {PATIENCE:?}:\n{}",
            self.log.text()
        ))
    }

    /// Starts a process that must refuse to serve, and returns what it says.
    pub async fn start_refused(&mut self) -> String {
        let before = self.log.len();
        match self.try_start().await {
            Ok(_) => panic!("the broker started although it must not"),
            Err(_) => {
                let said = self.log.since(before);
                assert!(said.contains("error:"), "no clear error:\n{said}");
                assert!(
                    !said.contains("panicked at"),
                    "a panic is no clear error:\n{said}"
                );
                said
            }
        }
    }

    async fn try_start(&mut self) -> Result<Duration, String> {
        let began = Instant::now();
        self.spawn();
        self.ready().await?;
        Ok(began.elapsed())
    }

    /// A GET request to the HTTP listener.
    pub async fn http_get(&self, path: &str) -> std::io::Result<HttpAnswer> {
        http::get((Ipv4Addr::LOCALHOST, self.http_port).into(), path).await
    }

    /// What /metrics says now.
    pub async fn metrics(&self) -> Metrics {
        let answer = self.http_get("/metrics").await.expect("metrics");
        assert_eq!(answer.status, 200, "{}", answer.body);
        Metrics::parse(&answer.body)
    }

    /// Memory of the process that is in RAM, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.running().resident_bytes()
    }

    /// Runs another command of the binary against this broker, with `input` on its standard input.
    pub async fn command(&self, arguments: &[&str], input: &str) -> Output {
        let bootstrap = self.endpoint().to_string();
        process::run(arguments, &[("ALLUVIUM_BOOTSTRAP", bootstrap)], input).await
    }

    /// The same, which must succeed; returns its standard output.
    pub async fn command_ok(&self, arguments: &[&str], input: &str) -> String {
        let output = self.command(arguments, input).await;
        let (out, err) = texts(&output);
        assert!(
            output.status.success(),
            "alluvium {arguments:?} failed:\n{out}{err}"
        );
        out
    }

    /// The command line of another command against this broker, for one that takes longer than any test waits.
    pub fn command_line(&self, arguments: &[&str]) -> tokio::process::Command {
        let mut command = process::command_line();
        let bootstrap = self.endpoint().to_string();
        command.args(arguments).args(["--bootstrap", &bootstrap]);
        command
    }

    /// Audits the stored data; the broker must not be running.
    pub async fn verify(&mut self) -> Output {
        self.offline("verify", &[]).await
    }

    /// Runs a command on the stored data with this broker's settings; the broker must not be running.
    pub async fn offline(&mut self, command: &str, more: &[&str]) -> Output {
        assert!(!self.is_running(), "the broker still runs");
        let arguments = self.arguments(command);
        let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        arguments.extend(more);
        let variables: Vec<_> = self
            .options
            .environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        process::run(&arguments, &variables, "").await
    }

    /// The same, which must find everything in order.
    pub async fn verify_ok(&mut self) {
        let output = self.verify().await;
        let (out, err) = texts(&output);
        assert!(output.status.success(), "the audit found:\n{out}{err}");
    }

    /// The command line of `command` on this broker's folder and ports.
    fn arguments(&self, command: &str) -> Vec<String> {
        let mut arguments = vec![
            command.to_owned(),
            "--data-dir".to_owned(),
            self.folder.display().to_string(),
            "--listen".to_owned(),
            format!("127.0.0.1:{}", self.port),
            "--http".to_owned(),
            format!("127.0.0.1:{}", self.http_port),
        ];
        for (key, value) in &self.options.settings {
            arguments.push("--set".to_owned());
            arguments.push(format!("{key}={value}"));
        }
        arguments.extend(self.options.flags.iter().cloned());
        arguments
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("a running broker")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        let unexpected = self.log.unexpected();
        if std::thread::panicking() {
            eprintln!("last lines of the broker:\n{}", self.log.last(60));
        } else if !unexpected.is_empty() {
            panic!(
                "the broker logged what no test expected:\n{}",
                unexpected.join("\n")
            );
        }
    }
}

/// Waits until `holds`, looking again and again: for conditions of another process.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(
            Instant::now() < deadline,
            "still not after {PATIENCE:?}: {what}"
        );
        sleep(LOOK_AGAIN).await;
    }
}

/// Standard output and standard error as text.
pub fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Runs `alluvium` with `arguments` and no broker in mind.
pub async fn alluvium(arguments: &[&str]) -> Output {
    process::run(arguments, &[], "").await
}

/// Ports that were given away. A broker that is dead for a while must find its own free when it starts again, so none is given
/// twice.
static GIVEN_PORTS: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port that nobody listens on at the moment, and that nobody else in this process was given.
pub fn free_port() -> u16 {
    let width = u64::from(PORTS.end - PORTS.start);
    let mut given = GIVEN_PORTS.lock();
    if given.len() > PORTS.len() / 2 {
        // Those who had the first of them have long ended.
        given.clear();
    }
    loop {
        let port = PORTS.start + u16::try_from(SystemRandom.below(width)).expect("below the width");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && given.insert(port) {
            return port;
        }
    }
}
