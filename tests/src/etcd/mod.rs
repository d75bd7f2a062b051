//! A real etcd: one member or three, as processes on loopback, in a temporary folder.
//!
//! `tests/etcd/install.sh`, which `tests/run` runs, brings Debian's. Members can be killed, stopped like a process that hangs,
//! and started again. A [`crate::proxy::Proxy`] stands between a client and a member where a network has to fail.

mod member;
mod tls;

use std::path::PathBuf;
use std::process::Stdio;

use alluvium_metadata::store::EtcdOptions;
use alluvium_metadata::store::EtcdStore;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use self::member::{Addresses, Member};
use self::tls::Certificates;
use crate::broker::{LOOK_AGAIN, PATIENCE, free_port};

/// Starts tried on other ports when somebody else was quicker.
const STARTS_MAX: usize = 5;

/// Set by `tests/run --quick`, where etcd may not be installed.
const QUICK_VARIABLE: &str = "ALLUVIUM_TEST_QUICK";

/// Whether tests with etcd are left out; says so.
pub fn skipped() -> bool {
    let skipped = std::env::var_os(QUICK_VARIABLE).is_some();
    if skipped {
        eprintln!("skipped: needs etcd, which a quick run does not install");
    }
    skipped
}

/// How an etcd starts.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    members: usize,
    tls: bool,
    flags: Vec<String>,
}

impl ClusterOptions {
    /// One member.
    pub fn single() -> Self {
        // A member that is alone needs to wait for nobody; it starts sooner and gives shorter leases.
        Self {
            members: 1,
            tls: false,
            flags: ["--heartbeat-interval=20", "--election-timeout=200"]
                .map(str::to_owned)
                .into(),
        }
    }

    /// Three members, with etcd's own time limits.
    pub fn three() -> Self {
        Self {
            members: 3,
            flags: Vec::new(),
            ..Self::single()
        }
    }

    /// Clients need TLS and a certificate of their own.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// A flag of etcd's.
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Starts all members and waits until each answers.
    pub async fn start(self) -> EtcdCluster {
        for _ in 0..STARTS_MAX {
            let mut cluster = self.prepare();
            if cluster.try_start().await {
                return cluster;
            }
        }
        panic!("etcd did not start in {STARTS_MAX} attempts; tests/etcd/install.sh brings it");
    }

    fn prepare(&self) -> EtcdCluster {
        let folder = tempfile::tempdir().expect("temporary folder");
        let certificates = self.tls.then(|| Certificates::make(folder.path()));
        let addresses: Vec<_> = (0..self.members)
            .map(|_| Addresses {
                client_port: free_port(),
                peer_port: free_port(),
            })
            .collect();
        let peers: Vec<_> = addresses
            .iter()
            .enumerate()
            .map(|(index, member)| format!("m{index}={}", member.peer_url()))
            .collect();
        let members = addresses
            .iter()
            .enumerate()
            .map(|(index, addresses)| {
                let mut arguments = vec![
                    format!("--name=m{index}"),
                    format!("--initial-cluster={}", peers.join(",")),
                    "--logger=zap".to_owned(),
                    "--log-level=warn".to_owned(),
                ];
                arguments.extend(self.flags.iter().cloned());
                arguments.extend(certificates.iter().flat_map(Certificates::server_flags));
                let data = folder.path().join(format!("m{index}"));
                Member::new(*addresses, data, arguments, certificates.is_some())
            })
            .collect();
        EtcdCluster {
            members,
            certificates,
            folder,
        }
    }
}

/// A running etcd. Dropping it ends its processes and removes its data.
#[derive(Debug)]
pub struct EtcdCluster {
    members: Vec<Member>,
    certificates: Option<Certificates>,
    folder: TempDir,
}

impl EtcdCluster {
    async fn try_start(&mut self) -> bool {
        for member in &mut self.members {
            member.start();
        }
        for index in 0..self.members.len() {
            if !self.until_answers(index).await {
                return false;
            }
        }
        true
    }

    /// False if the process ends instead, as it does when its port is taken.
    async fn until_answers(&mut self, index: usize) -> bool {
        let options = EtcdOptions {
            endpoints: vec![self.members[index].endpoint()],
            ..self.options()
        };
        let deadline = Instant::now() + PATIENCE;
        while self.members[index].is_running() {
            match EtcdStore::open(&options).await {
                Ok(_) => return true,
                Err(error) => assert!(
                    Instant::now() < deadline,
                    "etcd does not answer: {error}\n{}",
                    self.members[index].log()
                ),
            }
            sleep(LOOK_AGAIN).await;
        }
        false
    }

    /// Members, those that are dead included.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Never: it has one member at least.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// `host:port` of each member.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Member::endpoint).collect()
    }

    /// To open a store with, over all members.
    pub fn options(&self) -> EtcdOptions {
        EtcdOptions {
            tls: self.certificates.as_ref().map(Certificates::client),
            ..EtcdOptions::new(self.endpoints())
        }
    }

    /// A store over all members.
    pub async fn store(&self) -> EtcdStore {
        self.store_with(&self.options()).await
    }

    /// A store that must open.
    pub async fn store_with(&self, options: &EtcdOptions) -> EtcdStore {
        EtcdStore::open(options).await.expect("etcd answers")
    }

    /// What `alluvium serve --metadata` takes.
    pub fn url(&self) -> String {
        format!("etcd://{}", self.endpoints().join(","))
    }

    /// Where files of the test may lie: it goes with the etcd.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Kills a member as a power cut would.
    pub fn kill(&mut self, index: usize) {
        self.members[index].kill();
    }

    /// Starts a killed member again on its data and waits until it answers.
    pub async fn restart(&mut self, index: usize) {
        self.members[index].start();
        assert!(
            self.until_answers(index).await,
            "{}",
            self.members[index].log()
        );
    }

    /// Starts a killed member without waiting for it: alone it may have no leader.
    pub fn spawn(&mut self, index: usize) {
        self.members[index].start();
    }

    /// Stops the process, which then hangs: connections stay open and nothing answers.
    pub fn freeze(&self, index: usize) {
        self.members[index].freeze();
    }

    /// Lets it run on.
    pub fn thaw(&self, index: usize) {
        self.members[index].thaw();
    }

    /// The member that leads now.
    pub async fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            for (index, endpoint) in self.endpoints().iter().enumerate() {
                let arguments = ["endpoint", "status", "--write-out=json"];
                let output = self.ctl(endpoint, &arguments).await;
                if !output.status.success() {
                    continue;
                }
                let status: serde_json::Value =
                    serde_json::from_slice(&output.stdout).expect("JSON");
                let status = &status[0]["Status"];
                if status["leader"] == status["header"]["member_id"] {
                    return index;
                }
            }
            sleep(LOOK_AGAIN).await;
        }
        panic!("no leader after {PATIENCE:?}");
    }

    /// Runs etcd's own client, which must succeed.
    pub async fn ctl_ok(&self, arguments: &[&str]) -> String {
        let output = self.ctl(&self.endpoints().join(","), arguments).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}{errors}");
        text
    }

    async fn ctl(&self, endpoints: &str, arguments: &[&str]) -> std::process::Output {
        Command::new(member::program("etcdctl"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={endpoints}"))
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .expect("etcdctl runs; tests/etcd/install.sh brings it")
    }
}
