//! Every setting of the server, its default and what it trades.

use super::Roles;
use super::value::{ByteSize, Endpoint, MetadataLocation, Millis, Price, Secret, SettingValue};

/// One setting as the reference page and DescribeConfigs show it.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Dotted key.
    pub key: &'static str,
    /// What it does, its unit and its trade-off.
    pub documentation: String,
    /// What kind of value it takes.
    pub kind: &'static str,
    /// The default as text.
    pub default: String,
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $key:literal $field:ident: $type:ty = $default:expr;)+) => {
        /// The configuration of one process. Values only; components are built from it elsewhere.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl Config {
            /// Sets `key` from text. `None` if there is no such key.
            pub fn set(&mut self, key: &str, text: &str) -> Option<Result<(), String>> {
                match key {
                    $($key => Some(SettingValue::parse(text).map(|value| self.$field = value)),)+
                    _ => None,
                }
            }

            /// The value of `key` as text. `None` if there is no such key.
            pub fn get(&self, key: &str) -> Option<String> {
                match key {
                    $($key => Some(SettingValue::print(&self.$field)),)+
                    _ => None,
                }
            }
        }

        /// All settings, in the order of the reference page.
        pub fn definitions() -> Vec<Definition> {
            let defaults = Config::default();
            vec![$(Definition {
                key: $key,
                documentation: [$($doc.trim()),+].join(" "),
                kind: <$type as SettingValue>::KIND,
                default: SettingValue::print(&defaults.$field),
            },)+]
        }
    };
}

settings! {
    /// Folder for everything that stays on this machine: the write-ahead log, the cache, the embedded
    /// metadata store and, with the default object store, the data itself.
    "data.dir" data_dir: String = "alluvium-data".to_owned();
    /// Address the Kafka listener binds.
    "listen" listen: Endpoint = endpoint("127.0.0.1", 9092);
    /// Address that clients are told to connect to. Default: the bound address; set it when clients
    /// reach this process by another name.
    "advertised.listener" advertised_listener: Option<Endpoint> = None;
    /// Address on which other brokers of the cluster call this one: for what they would else read from object storage or
    /// wait longer for. Default: none with the embedded metadata store; with etcd the host of listen and any free port,
    /// which the others find in etcd. It should be reachable for brokers only.
    "rpc.listen" rpc_listen: Option<Endpoint> = None;
    /// Address that other brokers are told to call. Default: the bound address.
    "rpc.advertised.listener" rpc_advertised_listener: Option<Endpoint> = None;
    /// File with this broker's certificate for calls between brokers, in PEM. With it, rpc.tls.key and rpc.tls.ca, which go
    /// together, both sides of every call show a certificate and check that of the other, and its name against the
    /// address that was called. Without: plain text.
    "rpc.tls.cert" rpc_tls_cert: Option<String> = None;
    /// File with the private key of rpc.tls.cert, in PEM.
    "rpc.tls.key" rpc_tls_key: Option<String> = None;
    /// File with the certificate authority of all brokers' certificates, in PEM.
    "rpc.tls.ca" rpc_tls_ca: Option<String> = None;
    /// Address of the HTTP listener for /metrics, /healthz and /readyz. Empty: no HTTP listener.
    "http" http: Option<Endpoint> = Some(endpoint("127.0.0.1", 9644));
    /// Where segments live: a folder, file:///folder, s3://bucket/prefix, gs://bucket/prefix,
    /// az://container/prefix, or memory: for tests. Credentials come from the environment, as the cloud's own
    /// tools have them. Default: the folder objects in data.dir.
    "object.store" object_store: Option<String> = None;
    /// Where offsets and leadership live: embedded (in data.dir), or etcd, of whose URL
    /// etcd://USER:PASSWORD@HOST:PORT,HOST:PORT/PREFIX?tls=true&ca=FILE&cert=FILE&key=FILE only one HOST:PORT is needed. The
    /// files are PEM and imply TLS; without ca the system's certificates count. An etcd should be 3.4.34, 3.5.16 or
    /// newer. Its history is compacted by the controller.
    "metadata" metadata: MetadataLocation = MetadataLocation::Embedded;
    /// User of an etcd with authentication, when the URL in metadata names none.
    "etcd.user" etcd_user: Option<String> = None;
    /// Its password. Better given as the environment variable ALLUVIUM_ETCD_PASSWORD than in a file or a URL.
    "etcd.password" etcd_password: Option<Secret> = None;
    /// History of the metadata store that is kept, at least. Watches that were cut off for longer read everything anew;
    /// more history makes an etcd larger. Clusters that share an etcd should have the same.
    "history.retention.ms" history_retention_ms: Millis = Millis(300_000);
    /// Time between two snapshots of the metadata in the bucket, from which alluvium restore rebuilds a lost etcd. What
    /// was committed to topics after the newest one is found in the bucket all the same; committed offsets and settings
    /// are as of the snapshot. 0: none.
    "snapshot.interval.ms" snapshot_interval_ms: Millis = Millis(600_000);
    /// Snapshots of the metadata that are kept.
    "snapshot.count" snapshot_count: u32 = 24;
    /// Name of the cluster. Keeps clusters apart that share an etcd.
    "cluster" cluster: String = "alluvium".to_owned();
    /// Number of this broker, unique in its cluster. A process without the role of a broker has one too.
    "broker.id" broker_id: i32 = 1;
    /// Rack or availability zone of this process.
    "rack" rack: Option<String> = None;
    /// What this process does: broker, compactor, query. Brokers with the role of a compactor publish and compact topics
    /// beside what they serve. In a cluster the two may run apart: brokers with broker alone, and processes with compactor
    /// alone, which need the brokers' etcd and bucket, have no Kafka listener and no write-ahead log, and may come and go at
    /// any time. All that have the role divide the topics among themselves. Without anybody who has it records stay in
    /// segments, and nothing is lost.
    "roles" roles: Roles = Roles::all();

    /// Partitions of a topic that is created without saying how many.
    "num.partitions" num_partitions: i32 = 1;
    /// Replication factor reported for topics created without one. Nominal: object storage replicates.
    "default.replication.factor" default_replication_factor: i16 = 1;
    /// Create a topic when a client asks for the metadata of one that does not exist.
    "auto.create.topics.enable" auto_create_topics_enable: bool = true;

    /// Largest request accepted; larger ones close the connection before memory is taken.
    "socket.request.max.bytes" socket_request_max_bytes: ByteSize = ByteSize(100 << 20);
    /// Connections accepted at the same time.
    "max.connections" max_connections: u32 = 20_000;
    /// A connection without a request for this long is closed.
    "connections.max.idle.ms" connections_max_idle_ms: Millis = Millis(600_000);
    /// A request whose bytes stop arriving for this long closes its connection, so that half-sent requests
    /// cannot hold the request memory.
    "socket.stall.timeout.ms" socket_stall_timeout_ms: Millis = Millis(30_000);
    /// Memory for requests on their way to object storage. When it is used up, reading from sockets waits:
    /// producers slow down, memory does not grow.
    "request.memory.bytes" request_memory_bytes: ByteSize = ByteSize(384 << 20);

    /// Memory for the most recent batches of all partitions, from which consumers near the end are served.
    "tail.memory.bytes" tail_memory_bytes: ByteSize = ByteSize(128 << 20);
    /// Memory for blocks read from object storage.
    "cache.memory.bytes" cache_memory_bytes: ByteSize = ByteSize(64 << 20);
    /// Disk for blocks read from object storage, in data.dir. 0: no disk cache, the right choice when the object
    /// store is a local folder.
    "cache.disk.bytes" cache_disk_bytes: ByteSize = ByteSize(0);
    /// Ask the other brokers of this rack before object storage: each object is then fetched by one broker in a rack, so that
    /// the number of GETs does not grow with the number of brokers.
    "cache.from.rack" cache_from_rack: bool = true;
    /// Memory that reads near the end of the log may hold at a time.
    "fetch.tail.memory.bytes" fetch_tail_memory_bytes: ByteSize = ByteSize(128 << 20);
    /// Memory that reads of older data may hold at a time. Separate, so that a consumer reading from the
    /// beginning does not slow the others.
    "fetch.backfill.memory.bytes" fetch_backfill_memory_bytes: ByteSize = ByteSize(128 << 20);
    /// Serve consumers that name their rack (client.rack) from a broker in it: a leader elsewhere sends them there
    /// (KIP-392), and that broker reads object storage itself. Saves traffic between zones; costs consumers at the end of the
    /// log a question to the leader with each fetch.
    "fetch.from.rack" fetch_from_rack: bool = true;
    /// Most bytes one fetch request may return.
    "fetch.max.bytes" fetch_max_bytes: ByteSize = ByteSize(57_671_680);
    /// Fetch sessions (KIP-227) kept.
    "max.incremental.fetch.session.cache.slots" fetch_session_slots: u32 = 1_000;

    /// Size of one write-ahead log file.
    "wal.file.bytes" wal_file_bytes: ByteSize = ByteSize(64 << 20);
    /// Disk for the write-ahead log. Bounds how much may be acknowledged while object storage is away; when it is
    /// used up, producers wait.
    "wal.bytes.max" wal_bytes_max: ByteSize = ByteSize(4 << 30);
    /// A segment is uploaded when it has this many bytes.
    "segment.upload.bytes" segment_upload_bytes: ByteSize = ByteSize(64 << 20);
    /// The same while a producer of durability object waits for it.
    "segment.upload.waiting.bytes" segment_upload_waiting_bytes: ByteSize = ByteSize(8 << 20);
    /// A segment is uploaded when its oldest batch is this old.
    "segment.upload.ms" segment_upload_ms: Millis = Millis(10_000);
    /// The same while a producer of durability object waits for it. Less means lower latency and more PUTs.
    "segment.upload.waiting.ms" segment_upload_waiting_ms: Millis = Millis(250);
    /// PUTs a second that may be spent on answering waiting producers at once; what is not used is saved up for
    /// bursts. 4 a second cost about 52 dollars a month on S3.
    "put.budget.per.second" put_budget_per_second: u32 = 4;
    /// Uploads running at the same time.
    "upload.parallelism" upload_parallelism: u32 = 4;

    /// Longest time that committed records wait before they are published as Parquet table files. Less means fresher tables
    /// for analytics, and more and smaller files.
    "publish.interval.ms" publish_interval_ms: Millis = Millis(600_000);
    /// A topic is published sooner when so many bytes of its segments wait.
    "publish.bytes" publish_bytes: ByteSize = ByteSize(256 << 20);
    /// Size at which a table file ends and the next begins. Larger files mean fewer requests for those who read all of
    /// a topic.
    "publish.table.bytes" publish_table_bytes: ByteSize = ByteSize(256 << 20);
    /// How many of a topic's older table files are listed together, apart from its manifest, which is written anew whenever
    /// something is published, and then names them as one. With fewer it names more of such lists, with more it lists more
    /// files itself. The default keeps it small up to some hundred thousand files.
    "publish.leaf.tables" publish_leaf_tables: u32 = 512;
    /// Level of Zstandard that table files are compressed with, 1 to 22. They are written once and kept for ever: the CPU that
    /// a higher level takes once is soon less than what the bytes cost that it saves. Beyond the default that takes far longer.
    "publish.zstd.level" publish_zstd_level: u32 = 5;
    /// The level instead while twice publish.bytes of a topic or more wait, so that a compactor that is behind catches up; and
    /// for compacted topics, whose table files are written anew again and again.
    "publish.behind.zstd.level" publish_behind_zstd_level: u32 = 1;

    /// Bytes a second that this process reads from and writes to object storage to publish, clean and join, both counted
    /// together, as in Kafka's log.cleaner.io.max.bytes.per.second. Less leaves more of the network and of the bucket to
    /// producers and consumers, and what is asked for with alluvium compaction run --wait comes later. Less than about twice
    /// what producers write, compressed, divided by the number of compactors, and records wait in segments in ever greater
    /// number. At least 1 MiB. 0: no limit, the default: how much is enough depends on the load, and while uploads of the same
    /// process fail or wait for each other it compacts with no more than 4 MiB a second anyway.
    "compactor.io.max.bytes.per.second" compactor_io_max_bytes_per_second: ByteSize = ByteSize(0);

    /// How long objects stay that nothing names any more, as Kafka has it for files: longer than any reader may have one
    /// in hand, and longer than snapshot.interval.ms, so that a restore never needs what is gone.
    "log.segment.delete.delay.ms" segment_delete_delay_ms: Millis = Millis(1_200_000);
    /// How often the bucket is looked through for objects that ended processes and failed uploads left. Each time costs
    /// a listing: a request for every thousand objects, and one for every publish.leaf.tables of table files.
    "reclaim.sweep.interval.ms" sweep_interval_ms: Millis = Millis(3_600_000);

    /// What alluvium cost calls the money of the price table below. The table's defaults are the list prices of Amazon S3
    /// Standard in us-east-1 as of 2025, without its discounts for large amounts and without taxes; they act on
    /// nothing but what that command prints.
    "price.currency" price_currency: String = "USD".to_owned();
    /// Price of keeping a GiB in the object store for a month.
    "price.storage.gib.month" price_storage_gib_month: Price = Price(0.023);
    /// Price of a thousand requests that write, copy or list. Every part of an upload in parts is one.
    "price.put.per.thousand" price_put_per_thousand: Price = Price(0.005);
    /// Price of a thousand requests that read.
    "price.get.per.thousand" price_get_per_thousand: Price = Price(0.0004);

    /// How long a new group waits for more members before its first rebalance.
    "group.initial.rebalance.delay.ms" group_initial_rebalance_delay_ms: Millis = Millis(3_000);
    /// Smallest session time-out a group member may ask for.
    "group.min.session.timeout.ms" group_min_session_timeout_ms: Millis = Millis(6_000);
    /// Largest session time-out a group member may ask for.
    "group.max.session.timeout.ms" group_max_session_timeout_ms: Millis = Millis(1_800_000);
    /// Members one group may have.
    "group.max.size" group_max_size: u32 = 10_000;
    /// Committed offsets of a group are kept this long after its last member left.
    "offsets.retention.minutes" offsets_retention_minutes: u32 = 10_080;
    /// Longest metadata text that may be committed with an offset.
    "offset.metadata.max.bytes" offset_metadata_max_bytes: u32 = 4_096;
    /// State of an idempotent producer is forgotten after this time without a batch.
    "producer.id.expiration.ms" producer_id_expiration_ms: Millis = Millis(86_400_000);

    /// Time after which other brokers may take over from this one when it falls silent, with metadata in etcd. When etcd
    /// cannot be reached, this broker stops acknowledging after two thirds of it, and goes on if etcd is back before
    /// the session ends; else it starts anew in a new session. Less means a quicker take-over; more survives longer elections of etcd's. At least
    /// 3 seconds; etcd rounds up to whole ones.
    "broker.session.timeout.ms" broker_session_timeout_ms: Millis = Millis(9_000);
    /// Time for a graceful stop: upload what is open, answer what is waiting. Then the process ends anyway; what is
    /// in the write-ahead log is uploaded at the next start.
    "shutdown.timeout.ms" shutdown_timeout_ms: Millis = Millis(20_000);
    /// Which log lines are written: a level (error, warn, info, debug, trace) or directives by module.
    "log.filter" log_filter: String = "info".to_owned();
    /// Form of the log lines: text or json.
    "log.format" log_format: String = "text".to_owned();
}

fn endpoint(host: &str, port: u16) -> Endpoint {
    Endpoint {
        host: host.to_owned(),
        port,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_reads_back() {
        let mut config = Config::default();
        for definition in definitions() {
            config
                .set(definition.key, &definition.default)
                .expect("known key")
                .expect("its own default");
            assert!(!definition.documentation.is_empty(), "{}", definition.key);
        }
        assert_eq!(config, Config::default());
    }
}
