//! One process of etcd.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// One of etcd's programs: as `tests/etcd/install.sh` has unpacked it, else as it is installed.
pub(super) fn program(name: &str) -> PathBuf {
    let cache = std::env::var_os("ALLUVIUM_TEST_CACHE").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/alluvium"));
    let unpacked = cache
        .or(home)
        .map(|cache| cache.join("etcd/usr/bin").join(name));
    unpacked
        .filter(|path| path.is_file())
        .unwrap_or_else(|| name.into())
}

/// Where a member listens, both on loopback.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub client_port: u16,
    pub peer_port: u16,
}

impl Addresses {
    pub(super) fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }
}

#[derive(Debug)]
pub(super) struct Member {
    addresses: Addresses,
    data: PathBuf,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl Member {
    pub(super) fn new(
        addresses: Addresses,
        data: PathBuf,
        mut arguments: Vec<String>,
        tls: bool,
    ) -> Self {
        let scheme = if tls { "https" } else { "http" };
        let client_url = format!("{scheme}://127.0.0.1:{}", addresses.client_port);
        let peer_url = addresses.peer_url();
        arguments.extend([
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={client_url}"),
            format!("--advertise-client-urls={client_url}"),
            format!("--listen-peer-urls={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
        ]);
        Self {
            addresses,
            data,
            arguments,
            process: None,
        }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.addresses.client_port)
    }

    fn log_path(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// What it has written since it was started last.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub(super) fn start(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let log = File::create(self.log_path()).expect("a file for its log");
        // So that it ends with the test even when that is killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program("etcd"))
            .args(&self.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.process = Some(child.expect("setpriv runs; it belongs to every Debian"));
    }

    pub(super) fn is_running(&mut self) -> bool {
        let process = self.process.as_mut();
        process.is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Both fail only when it has ended and was waited for already.
            let _killed = process.kill();
            let _waited = process.wait();
        }
    }

    pub(super) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(super) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        // One that was killed has nothing to hear.
        if let Some(process) = &self.process {
            let id = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
            kill_process(id.expect("a process id"), signal).expect("our own child");
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}
