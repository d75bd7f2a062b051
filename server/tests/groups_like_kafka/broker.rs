//! A broker as a process of its own, over a temporary folder.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

pub struct Broker {
    process: Child,
    pub address: String,
    _folder: tempfile::TempDir,
}

impl Broker {
    /// Starts on a free port, which it tells in its log.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_alluvium"))
            .arg("serve")
            .args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(["--set", "group.initial.rebalance.delay.ms=0"])
            .args(["--set", "num.partitions=3"])
            .arg("--data-dir")
            .arg(folder.path())
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = process.stdout.take().unwrap();
        let stderr = process.stderr.take().unwrap();
        let address = ready_address(stdout, stderr);
        Self {
            process,
            address,
            _folder: folder,
        }
    }
}

/// Reads both streams to their end, so that the process never waits for a reader.
fn ready_address(
    stdout: impl std::io::Read + Send + 'static,
    stderr: impl std::io::Read + Send + 'static,
) -> String {
    let (found, address) = std::sync::mpsc::channel();
    let follow = |stream: Box<dyn std::io::Read + Send>| {
        let found = found.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let endpoint = line
                    .split_whitespace()
                    .find_map(|w| w.strip_prefix("endpoint="));
                if let Some(endpoint) = endpoint {
                    let _ = found.send(endpoint.to_owned());
                }
            }
        })
    };
    follow(Box::new(stdout));
    follow(Box::new(stderr));
    let limit = std::time::Duration::from_secs(60);
    address.recv_timeout(limit).expect("the broker gets ready")
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
