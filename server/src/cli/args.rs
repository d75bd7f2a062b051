//! What may be written on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::client::Bootstrap;
use crate::config::Endpoint;

/// A log that speaks Kafka's protocol and keeps its data in object storage.
#[derive(Debug, Parser)]
#[command(name = "alluvium", version, propagate_version = true)]
#[command(
    after_help = "Start a broker on localhost:9092 with its data in ./alluvium-data:\n  alluvium serve\nThen, in another terminal:\n  echo hello | alluvium produce greetings\n  alluvium consume greetings --from-beginning --count 1"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a broker, or a process that only compacts for those of its cluster.
    ///
    /// With --roles compactor, the etcd of the brokers and their bucket, a process publishes and compacts topics and does
    /// nothing else. Run as many as are needed, each with a --broker-id of its own, and the brokers with --roles broker.
    Serve(Box<ServeArgs>),
    /// Print all settings with their documentation and defaults, as a configuration file.
    Config(ConfigArgs),
    /// List, create, describe, change and delete topics.
    Topic(TopicArgs),
    /// Write records, one for each line of standard input.
    Produce(ProduceArgs),
    /// Read records and print one on each line.
    Consume(ConsumeArgs),
    /// List, describe and delete consumer groups.
    Group(GroupArgs),
    /// List brokers and processes that only compact, and have what brokers lead moved to others.
    Broker(BrokerCommandArgs),
    /// Show how much of each topic is published as table files, and publish a topic now.
    ///
    /// A record is on the disk of its broker first, then, after seconds, in a segment in object storage, and in the end in
    /// a table file: Parquet, which query engines read as it is. Publishing is that last step. Producers and consumers do
    /// not notice it: they find each record wherever it is.
    ///
    /// Processes with the role compactor, brokers or not, publish by themselves: a topic of which much waits in segments soon, one of which
    /// little waits after a while. So nobody has to run anything here; but whoever wants to query what was written a
    /// moment ago can have it published now.
    #[command(
        after_help = "See how far all topics are, and have all that is in the topic orders now in table files:\n  alluvium compaction status\n  alluvium compaction run --topic orders --wait"
    )]
    Compaction(CompactionArgs),
    /// Show what each topic takes and asks of the object store, and estimate what that costs.
    ///
    /// A row for each topic: its bytes on disks, in segments and in table files; the PUTs and GETs of a month, with their share
    /// of all; and what storage and requests cost for a month by the price table in the configuration (price.* in alluvium
    /// config), whose defaults are the list prices of Amazon S3 Standard. Notes below say what was measured over which time,
    /// what is estimated, and what is missing.
    ///
    /// Bytes are asked of leaders. Requests are read from the metrics of brokers, which have to be reachable from here.
    #[command(
        after_help = "What everything costs, and what the topic orders does:\n  alluvium cost\n  alluvium cost --topic orders\nWhere the metrics of brokers are not at the address in their setting http:\n  alluvium cost --metrics kafka-1:9644,kafka-2:9644"
    )]
    Cost(CostArgs),
    /// Check that every object the metadata names exists and is whole. The broker must be stopped when its
    /// metadata is embedded.
    ///
    /// With --repair, what nobody needs is removed, by the rules by which brokers remove it themselves: what is left of
    /// deleted topics, commit logs that no partition names, objects that nothing names and uploads that nobody completes, of
    /// sessions that are over. The last two are looked at twice, log.segment.delete.delay.ms apart, and the command waits for
    /// that long. What holds records is never touched: of each thing that is wrong it is told what a person can do.
    Verify(Box<VerifyArgs>),
    /// Rebuild the metadata of a cluster whose etcd, or embedded metadata, is lost, from its bucket alone. The metadata
    /// store must be empty, and no broker may run. Broker --broker-id leads all partitions at first.
    Restore(Box<RestoreArgs>),
}

/// Arguments of `alluvium verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Where, as for `alluvium serve`.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Remove what nobody needs, and say of everything else why it is left alone.
    #[arg(long)]
    pub repair: bool,
    /// Print what would be repaired, and change nothing.
    #[arg(long, requires = "repair")]
    pub dry_run: bool,
}

/// Arguments of `alluvium restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Where from and where to, as for `alluvium serve`.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Print what would be restored, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster, when the bucket has snapshots of several.
    #[arg(long, value_name = "UUID")]
    pub cluster_id: Option<uuid::Uuid>,
}

/// Settings given as flags. Each is also a key of the configuration file and an environment variable; see
/// `alluvium config`.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "ALLUVIUM_CONFIG")]
    pub config: Option<PathBuf>,
    /// Folder for the write-ahead log, the cache, the embedded metadata and, by default, the data [default: alluvium-data].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Address of the Kafka listener [default: 127.0.0.1:9092].
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Address that clients are told to connect to [default: the bound address].
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Address of the HTTP listener: /metrics, /healthz, /readyz [default: 127.0.0.1:9644].
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Option<String>,
    /// Where segments live: a folder, file:///folder, s3://bucket/prefix, gs://..., az://... [default: objects in the data folder].
    #[arg(long, value_name = "URL")]
    pub object_store: Option<String>,
    /// Where offsets and leadership live: embedded, or etcd://HOST:PORT,...[/PREFIX] [default: embedded].
    #[arg(long, value_name = "URL")]
    pub metadata: Option<String>,
    /// Name of the cluster [default: alluvium].
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Number of this process, unique in its cluster [default: 1].
    #[arg(long, value_name = "N")]
    pub broker_id: Option<String>,
    /// Rack or availability zone of this process.
    #[arg(long, value_name = "NAME")]
    pub rack: Option<String>,
    /// What this process does: broker, compactor, query [default: all]. Without broker it needs etcd and a bucket.
    #[arg(long, value_name = "LIST")]
    pub roles: Option<String>,
    /// Any setting of `alluvium config`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl ServeArgs {
    /// The flags as settings, in the order they are applied.
    pub fn settings(&self) -> anyhow::Result<Vec<(String, String)>> {
        let named = [
            ("data.dir", &self.data_dir),
            ("listen", &self.listen),
            ("advertised.listener", &self.advertise),
            ("http", &self.http),
            ("object.store", &self.object_store),
            ("metadata", &self.metadata),
            ("cluster", &self.cluster),
            ("broker.id", &self.broker_id),
            ("rack", &self.rack),
            ("roles", &self.roles),
        ];
        let mut settings: Vec<_> = named
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)))
            .collect();
        for pair in &self.set {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| anyhow::anyhow!("--set takes KEY=VALUE, not {pair:?}"))?;
            settings.push((key.trim().to_owned(), value.to_owned()));
        }
        Ok(settings)
    }
}

/// Arguments of `alluvium config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Print the settings of topics instead.
    #[arg(long)]
    pub topic: bool,
}

/// How to reach a broker.
#[derive(Debug, Clone, Args)]
pub struct BrokerArgs {
    /// Some brokers of the cluster, separated by commas; one that answers is enough.
    #[arg(
        long,
        value_name = "HOST:PORT,...",
        default_value = "localhost:9092",
        env = "ALLUVIUM_BOOTSTRAP",
        global = true
    )]
    pub bootstrap: Bootstrap,
}

/// Arguments of `alluvium topic`.
#[derive(Debug, Args)]
pub struct TopicArgs {
    /// Where.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// What to do.
    #[command(subcommand)]
    pub action: TopicAction,
}

/// What can be done with topics.
#[derive(Debug, Subcommand)]
pub enum TopicAction {
    /// List all topics.
    List,
    /// Create a topic.
    Create {
        /// Its name.
        name: String,
        /// Its partitions [default: num.partitions of the broker].
        #[arg(long, short)]
        partitions: Option<i32>,
        /// A setting of the topic, such as retention.ms=86400000 or alluvium.durability=object; may be repeated.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// Show partitions, offsets and settings of a topic.
    Describe {
        /// Its name.
        name: String,
    },
    /// Change settings or add partitions.
    Alter {
        /// Its name.
        name: String,
        /// Total number of partitions afterwards.
        #[arg(long, short)]
        partitions: Option<i32>,
        /// A setting to change; may be repeated.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// A setting to put back to its default; may be repeated.
        #[arg(long = "unset", value_name = "KEY")]
        unset: Vec<String>,
    },
    /// Delete a topic and all its records.
    Delete {
        /// Its name.
        name: String,
    },
}

/// Arguments of `alluvium produce`.
#[derive(Debug, Args)]
pub struct ProduceArgs {
    /// Where.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// The topic.
    pub topic: String,
    /// Partition to write to [default: by key, or in turn].
    #[arg(long, short)]
    pub partition: Option<i32>,
    /// Text between key and value on a line [default: the whole line is the value].
    #[arg(long, short = 'K', value_name = "TEXT")]
    pub key_separator: Option<String>,
    /// Codec of the batches: none, gzip, snappy, lz4, zstd.
    #[arg(long, default_value = "none")]
    pub compression: String,
}

/// Arguments of `alluvium consume`.
#[derive(Debug, Args)]
pub struct ConsumeArgs {
    /// Where.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// The topic.
    pub topic: String,
    /// Read one partition only [default: all].
    #[arg(long, short)]
    pub partition: Option<i32>,
    /// Start at the first record still kept [default: at the end].
    #[arg(long, conflicts_with = "offset")]
    pub from_beginning: bool,
    /// Start at this offset of every partition.
    #[arg(long, short)]
    pub offset: Option<i64>,
    /// Stop after this many records.
    #[arg(long, short = 'n')]
    pub count: Option<u64>,
    /// Stop at the end instead of waiting for more.
    #[arg(long, short)]
    pub exit_at_end: bool,
    /// Print partition, offset, timestamp, key and headers too, as one JSON object on each line.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `alluvium broker`.
#[derive(Debug, Args)]
pub struct BrokerCommandArgs {
    /// Where.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// What to do.
    #[command(subcommand)]
    pub action: BrokerAction,
}

/// What can be done with brokers.
#[derive(Debug, Subcommand)]
pub enum BrokerAction {
    /// List the brokers that are there.
    List,
    /// Have everything that a broker leads moved to others, and nothing given to it, until it is undrained.
    Drain {
        /// Its number.
        id: i32,
        /// Wait until it leads nothing.
        #[arg(long)]
        wait: bool,
    },
    /// Let a broker lead again.
    Undrain {
        /// Its number.
        id: i32,
    },
}

/// Arguments of `alluvium compaction`.
#[derive(Debug, Args)]
pub struct CompactionArgs {
    /// Where.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// What to do.
    #[command(subcommand)]
    pub action: CompactionAction,
}

/// What can be done about compaction.
#[derive(Debug, Subcommand)]
pub enum CompactionAction {
    /// Show where the records of each topic are.
    ///
    /// A row for each topic: bytes in table files, bytes in segments, bytes that only the disks of brokers have yet, and
    /// how many records are not published, that is, in no table file.
    #[command(
        after_help = "Where the records of the topic orders are:\n  alluvium compaction status --topic orders"
    )]
    Status {
        /// One topic [default: all].
        #[arg(long, value_name = "NAME")]
        topic: Option<String>,
    },
    /// Publish a topic now.
    ///
    /// Asks for all that the topic has in segments to become table files, instead of when its time has come. The
    /// request is kept until a broker with the role compactor has fulfilled it, also when this command has ended.
    #[command(
        after_help = "Have what was written to the topic orders until now in table files:\n  alluvium compaction run --topic orders --wait"
    )]
    Run {
        /// The topic.
        #[arg(long, value_name = "NAME")]
        topic: String,
        /// Wait until every record that is there now is published, and tell how much is left. What is written
        /// meanwhile is not waited for.
        #[arg(long)]
        wait: bool,
        /// How long to wait.
        #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "wait")]
        timeout: u64,
    },
}

/// Arguments of `alluvium cost`.
#[derive(Debug, Args)]
pub struct CostArgs {
    /// Where.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// One topic [default: all].
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,
    /// Where the metrics of brokers are [default: as each broker's setting http says].
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub metrics: Vec<Endpoint>,
    /// Print one JSON object instead.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `alluvium group`.
#[derive(Debug, Args)]
pub struct GroupArgs {
    /// Where.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// What to do.
    #[command(subcommand)]
    pub action: GroupAction,
}

/// What can be done with consumer groups.
#[derive(Debug, Subcommand)]
pub enum GroupAction {
    /// List all groups.
    List,
    /// Show members, committed offsets and lag of a group.
    Describe {
        /// Its id.
        group: String,
    },
    /// Delete a group without members, and its committed offsets.
    Delete {
        /// Its id.
        group: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_cluster_may_be_named_before_and_after_what_is_to_be_done() {
        for line in [
            "alluvium compaction --bootstrap a:1 status",
            "alluvium compaction status --bootstrap a:1",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).expect(line);
            let Command::Compaction(args) = cli.command else {
                panic!("{line}");
            };
            assert_eq!(args.broker.bootstrap, "a:1".parse().expect("one"), "{line}");
        }
    }

    #[test]
    fn only_who_waits_has_patience() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).map(|cli| cli.command);
        let with = "alluvium compaction run --topic t --wait --timeout 5";
        let Ok(Command::Compaction(args)) = parse(with) else {
            panic!("{with}");
        };
        assert!(matches!(
            args.action,
            CompactionAction::Run {
                wait: true,
                timeout: 5,
                ..
            }
        ));
        assert!(parse("alluvium compaction run --topic t").is_ok());
        assert!(parse("alluvium compaction run --topic t --timeout 5").is_err());
        assert!(parse("alluvium compaction run").is_err());
    }
}
