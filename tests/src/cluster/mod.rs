//! Several brokers on one etcd and one bucket, every link of which can fail.
//!
//! ```text
//! clients -> proxy -> broker i -> proxies -> etcd members
//!                              -> proxy   -> S3 server
//! other brokers -> proxy -> broker i (RPC, where it is on)
//!            compactor i -> proxies -> the same etcd members and S3 server
//! ```
//!
//! Each broker has its own number, data folder and rack; so has each process that compacts only, if there are any. [`Fault`]s are data; [`Cluster::begin`] and [`Cluster::end`] make
//! them happen. A process that ends by itself is started again, as a service manager would do, and counted.

mod claims;
mod fault;
mod node;
mod stored;

use std::time::Duration;

use alluvium::config::Endpoint;
use tempfile::TempDir;

pub use self::fault::{BucketTrouble, Cut, Fault, Subject};
use self::node::Kind;
pub use self::node::{Link, Node, rack};
use crate::broker::{BrokerOptions, until};
use crate::etcd::{ClusterOptions as EtcdOptions, EtcdCluster};
use crate::s3::{S3Options, S3Server};

/// Session of a broker in etcd: the shortest that is allowed.
pub const SESSION: Duration = Duration::from_secs(3);
/// Folder in the bucket.
const PREFIX: &str = "cluster";
/// Name of the brokers' cluster: the default.
const CLUSTER: &str = "alluvium";

/// How a cluster starts.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Brokers, numbered from 1.
    pub brokers: usize,
    /// Processes that compact only, numbered from 1 for themselves. With any, brokers do not compact.
    pub compactors: usize,
    /// Members of the etcd: 1 or 3.
    pub etcd_members: usize,
    /// Settings of every broker.
    pub options: BrokerOptions,
    /// Brokers talk to each other (settings `rpc.listen` and `rpc.advertised.listener`).
    pub rpc: bool,
    /// Data folders are on small disks of their own, where that is allowed.
    pub small_disks: bool,
    /// The brokers are buggy on purpose: even their panics are part of the test.
    pub with_bugs: bool,
    /// Records are to be published within seconds: see [`Self::publishing`].
    pub publishing: bool,
    /// Of the bucket's randomness.
    pub seed: u64,
}

impl Setup {
    /// So many brokers with settings that make tests quick, and an etcd of one member.
    pub fn new(brokers: usize) -> Self {
        let session_ms = SESSION.as_millis();
        let options = BrokerOptions::new()
            .quick_puts()
            .set("broker.session.timeout.ms", session_ms)
            .set("segment.upload.ms", 300)
            .set("wal.file.bytes", 4 << 20)
            .set("group.min.session.timeout.ms", 1_000)
            .set("group.initial.rebalance.delay.ms", 50);
        Self {
            brokers,
            compactors: 0,
            etcd_members: 1,
            options,
            rpc: true,
            small_disks: false,
            with_bugs: false,
            publishing: false,
            seed: 1,
        }
    }

    /// A setting of every broker.
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.options = self.options.set(key, value);
        self
    }

    /// So many processes that compact, apart from the brokers.
    pub fn compactors(mut self, compactors: usize) -> Self {
        self.compactors = compactors;
        self
    }

    /// Records are published, their commits dropped and their segments deleted within seconds.
    pub fn publishing(mut self) -> Self {
        self.publishing = true;
        self.set("publish.interval.ms", 700)
            .set("log.segment.delete.delay.ms", 1_500)
            .set("reclaim.sweep.interval.ms", 3_000)
    }

    /// Starts everything and waits until all brokers are ready.
    pub async fn start(self) -> Cluster {
        let etcd = match self.etcd_members {
            1 => EtcdOptions::single(),
            _ => EtcdOptions::three(),
        };
        let s3 = S3Options {
            seed: self.seed,
            ..S3Options::default()
        };
        let mut cluster = Cluster {
            etcd: etcd.start().await,
            s3: S3Server::start(s3).await.expect("a server"),
            nodes: Vec::new(),
            workers: Vec::new(),
            stopped_member: None,
            folder: tempfile::tempdir().expect("temporary folder"),
            setup: self,
        };
        for _ in 0..cluster.setup.brokers {
            cluster.add().await;
        }
        for number in 1..=cluster.setup.compactors {
            let worker = cluster.start_node(number, Kind::Compactor).await;
            cluster.workers.push(worker);
        }
        cluster.until_ready().await;
        cluster
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    // Brokers first: they end before what they stand on.
    nodes: Vec<Node>,
    workers: Vec<Node>,
    etcd: EtcdCluster,
    s3: S3Server,
    /// The member of etcd that is dead or frozen now.
    stopped_member: Option<usize>,
    setup: Setup,
    folder: TempDir,
}

impl Cluster {
    /// Starts another broker with the next number, without waiting for it.
    pub async fn add(&mut self) {
        let kind = match self.setup.compactors {
            0 => Kind::Both,
            _ => Kind::Broker,
        };
        let node = self.start_node(self.nodes.len() + 1, kind).await;
        self.nodes.push(node);
    }

    async fn start_node(&self, number: usize, kind: Kind) -> Node {
        let name = match kind {
            Kind::Compactor => format!("compactor-{number}"),
            Kind::Broker | Kind::Both => format!("broker-{number}"),
        };
        let folder = self.folder.path().join(name);
        Node::start(
            number,
            kind,
            &folder,
            &self.setup,
            &self.etcd,
            &self.s3,
            PREFIX,
        )
        .await
    }

    /// The brokers, by number from 1, those that are dead included.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// To change one by hand; `number` counts from 1.
    pub fn node(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number - 1]
    }

    /// The processes that compact only, by number from 1, those that are dead included.
    pub fn workers(&self) -> &[Node] {
        &self.workers
    }

    /// To change one by hand; `number` counts from 1.
    pub fn worker(&mut self, number: usize) -> &mut Node {
        &mut self.workers[number - 1]
    }

    fn all(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().chain(&self.workers)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.nodes.iter_mut().chain(&mut self.workers)
    }

    /// The etcd.
    pub fn etcd(&self) -> &EtcdCluster {
        &self.etcd
    }

    /// The bucket.
    pub fn s3(&self) -> &S3Server {
        &self.s3
    }

    /// Where clients connect: each broker through its proxy.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.nodes.iter().map(Node::endpoint).collect()
    }

    /// Starts processes again that have ended by themselves. To be called now and then.
    pub fn supervise(&mut self) {
        self.all_mut().for_each(Node::supervise);
    }

    /// Processes that ended by themselves so far.
    pub fn ended_by_themselves(&self) -> usize {
        self.all().map(Node::ended_by_itself).sum()
    }

    /// Everything that is known to be wrong is made right: links, processes, etcd, bucket, disks. Does not wait.
    pub async fn heal(&mut self) {
        self.s3.faults().heal();
        self.heal_etcd().await;
        self.all_mut().for_each(Node::heal);
    }

    /// Waits until every process is ready, starting again those that end.
    pub async fn until_ready(&mut self) {
        until("all are ready", async || {
            self.supervise();
            for node in self.all() {
                let answer = node.broker().http_get("/readyz").await;
                if !answer.is_ok_and(|answer| answer.status == 200) {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Stops all processes. What of that did not go well.
    pub async fn terminate(&mut self) -> Vec<String> {
        let mut bad = Vec::new();
        for node in self.all_mut() {
            let name = node.name();
            match node.terminate().await {
                Some(status) if status.success() => {}
                Some(status) => bad.push(format!("{name} stopped with {status}")),
                None => bad.push(format!("{name} was not running, or did not stop")),
            }
        }
        bad
    }

    /// `alluvium verify` on etcd and bucket, with all brokers stopped: what it found, or nothing.
    pub async fn verify(&mut self) -> Result<(), String> {
        let output = self.nodes[0].broker_mut().verify().await;
        if output.status.success() {
            return Ok(());
        }
        let (out, err) = crate::broker::texts(&output);
        Err(format!("{out}{err}"))
    }
}
