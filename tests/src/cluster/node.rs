//! One broker of a cluster, or a process that compacts only, and its links.

use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use alluvium::config::Endpoint;

use super::Setup;
use crate::broker::{Broker, free_port};
use crate::disk::SmallDisk;
use crate::etcd::EtcdCluster;
use crate::proxy::{self, Proxy};
use crate::s3::S3Server;

/// MiB of a small data folder: room for some files of the write-ahead log and the cache.
const SMALL_DISK_MIB: u32 = 96;

/// Racks among which brokers are spread.
const RACKS: usize = 3;

/// Longer than `shutdown.timeout.ms`.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// A link of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// From clients to it.
    Clients,
    /// From other brokers to it.
    Peers,
    /// From it to every member of etcd.
    Etcd,
    /// From it to the bucket.
    Bucket,
}

/// What a process of a cluster does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A broker that compacts too.
    Both,
    /// A broker that does not.
    Broker,
    /// No broker.
    Compactor,
}

impl Kind {
    fn roles(self) -> &'static str {
        match self {
            Self::Both => "broker,compactor,query",
            Self::Broker => "broker",
            Self::Compactor => "compactor",
        }
    }
}

/// Added to the numbers of processes that compact only, which brokers must not have.
const COMPACTOR_IDS: usize = 100;

/// What its process should be doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Up,
    Down,
    Frozen,
}

/// A process and the proxies around it.
#[derive(Debug)]
pub struct Node {
    number: usize,
    kind: Kind,
    broker: Broker,
    wanted: Wanted,
    ended_by_itself: usize,
    clients: Proxy,
    peers: Option<Proxy>,
    etcd: Vec<Proxy>,
    bucket: Proxy,
    disk: Option<SmallDisk>,
}

impl Node {
    pub(super) async fn start(
        number: usize,
        kind: Kind,
        folder: &Path,
        setup: &Setup,
        etcd: &EtcdCluster,
        s3: &S3Server,
        prefix: &str,
    ) -> Self {
        let disk = match setup.small_disks {
            true => SmallDisk::mount(folder, SMALL_DISK_MIB),
            false => None,
        };
        let mut members = Vec::new();
        for endpoint in etcd.endpoints() {
            members.push(Proxy::start(&endpoint).await);
        }
        let bucket = Proxy::start(s3.endpoint().trim_start_matches("http://")).await;
        let endpoints: Vec<_> = members.iter().map(Proxy::endpoint).collect();
        let mut broker = setup
            .options
            .clone()
            .folder(&folder.join("data"))
            .s3(s3, prefix)
            .environment("AWS_ENDPOINT_URL", format!("http://{}", bucket.endpoint()))
            .set("metadata", format!("etcd://{}", endpoints.join(",")))
            .set("broker.id", id(number, kind))
            .set("roles", kind.roles())
            .set("rack", rack(number))
            .prepare();
        let clients = Proxy::start(&broker.endpoint().to_string()).await;
        broker.set("advertised.listener", clients.endpoint());
        let peers = match setup.rpc && kind != Kind::Compactor {
            true => Some(rpc(&mut broker).await),
            false => None,
        };
        // Faults are the test; a panic is found all the same.
        broker.expect_log("");
        if setup.with_bugs {
            broker.accept_any_log();
        }
        broker.spawn();
        Self {
            number,
            kind,
            broker,
            wanted: Wanted::Up,
            ended_by_itself: 0,
            clients,
            peers,
            etcd: members,
            bucket,
            disk,
        }
    }

    /// Its number.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Its number in the cluster: `broker.id`.
    pub fn id(&self) -> usize {
        id(self.number, self.kind)
    }

    /// What it is called in this test.
    pub fn name(&self) -> String {
        match self.kind {
            Kind::Compactor => format!("compactor {}", self.number),
            Kind::Both | Kind::Broker => format!("broker {}", self.number),
        }
    }

    /// Its process.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    pub(super) fn broker_mut(&mut self) -> &mut Broker {
        &mut self.broker
    }

    /// Where clients connect.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            host: self.clients.address().ip().to_string(),
            port: self.clients.address().port(),
        }
    }

    /// Sets one of its links.
    pub fn set_link(&self, link: Link, to: proxy::Link) {
        match link {
            Link::Clients => self.clients.set(to),
            Link::Peers => self.peers.iter().for_each(|proxy| proxy.set(to)),
            Link::Etcd => self.etcd.iter().for_each(|proxy| proxy.set(to)),
            Link::Bucket => self.bucket.set(to),
        }
    }

    /// SIGKILL; it stays dead until [`Node::revive`].
    pub fn kill(&mut self) {
        self.thaw();
        self.wanted = Wanted::Down;
        self.broker.kill();
    }

    /// SIGTERM, and how it ended; `None` if it did not run or did not end. It stays down until [`Node::revive`].
    pub async fn terminate(&mut self) -> Option<ExitStatus> {
        self.thaw();
        self.wanted = Wanted::Down;
        match self.broker.is_running() {
            true => self.broker.terminate_within(STOP_PATIENCE).await,
            false => None,
        }
    }

    /// SIGTERM without waiting.
    pub fn ask_to_stop(&mut self) {
        self.wanted = Wanted::Down;
        if self.broker.is_running() {
            self.broker.signal_terminate();
        }
    }

    /// Starts the process; one that has been asked to stop and is still at it is killed first.
    pub fn revive(&mut self) {
        if self.wanted == Wanted::Down {
            self.broker.kill();
            self.broker.spawn();
        }
        self.wanted = Wanted::Up;
    }

    /// SIGSTOP: the process hangs, its connections stay open.
    pub fn freeze(&mut self) {
        if self.wanted == Wanted::Up && self.broker.is_running() {
            self.broker.freeze();
            self.wanted = Wanted::Frozen;
        }
    }

    /// SIGCONT.
    pub fn thaw(&mut self) {
        if self.wanted == Wanted::Frozen {
            self.broker.thaw();
            self.wanted = Wanted::Up;
        }
    }

    /// Fills its disk, if it has a small one of its own. Whether it has.
    pub fn fill_disk(&self) -> bool {
        let disk = self.disk.as_ref();
        disk.map(|disk| disk.fill(0)).is_some()
    }

    /// Makes room again.
    pub fn free_disk(&self) {
        if let Some(disk) = &self.disk {
            disk.free();
        }
    }

    pub(super) fn heal(&mut self) {
        for link in [Link::Clients, Link::Peers, Link::Etcd, Link::Bucket] {
            self.set_link(link, proxy::Link::PASS);
        }
        self.free_disk();
        self.thaw();
        self.revive();
    }

    pub(super) fn supervise(&mut self) {
        if self.wanted == Wanted::Up && !self.broker.is_running() {
            self.ended_by_itself += 1;
            self.broker.kill();
            self.broker.spawn();
        }
    }

    pub(super) fn ended_by_itself(&self) -> usize {
        self.ended_by_itself
    }
}

fn id(number: usize, kind: Kind) -> usize {
    match kind {
        Kind::Compactor => COMPACTOR_IDS + number,
        Kind::Both | Kind::Broker => number,
    }
}

/// The rack of the broker of that number.
pub fn rack(number: usize) -> String {
    format!("rack-{}", number % RACKS)
}

/// Has the broker listen for other brokers, who reach it through a proxy.
async fn rpc(broker: &mut Broker) -> Proxy {
    let listen = format!("127.0.0.1:{}", free_port());
    let proxy = Proxy::start(&listen).await;
    broker.set("rpc.listen", listen);
    broker.set("rpc.advertised.listener", proxy.endpoint());
    proxy
}
