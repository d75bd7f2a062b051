//! `alluvium compaction`.

mod waiting;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

use super::args::{CompactionAction, CompactionArgs};
use super::output::{self, bytes, counted, grouped};
use crate::client::{Cluster, LATEST, PartitionTiers, Tiers, TopicTiers};
use waiting::{Next, Reached, Waiting};

/// Pause between two looks at a topic that is being published.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// Runs one action.
pub async fn run(args: CompactionArgs) -> anyhow::Result<()> {
    let mut cluster = Cluster::open(&args.broker.bootstrap, "alluvium-compaction").await?;
    match args.action {
        CompactionAction::Status { topic } => status(&mut cluster, topic.as_deref()).await,
        CompactionAction::Run {
            topic,
            wait,
            timeout,
        } => {
            let patience = wait.then_some(Duration::from_secs(timeout));
            publish(&mut cluster, &topic, patience).await
        }
    }
}

async fn status(cluster: &mut Cluster, topic: Option<&str>) -> anyhow::Result<()> {
    let named = topic.map(|topic| [topic]);
    let tiers = cluster
        .tiers(named.as_ref().map(|named| &named[..]))
        .await?;
    output::table(&mut io::stdout().lock(), HEADER, &rows(&tiers))?;
    for (name, topic) in &tiers.topics {
        if !topic.leaderless.is_empty() {
            let partitions = counted(topic.leaderless.len() as u64, "partition");
            eprintln!("not counted, as nobody leads them now: {partitions} of {name}");
        }
    }
    Ok(())
}

const HEADER: [&str; 6] = [
    "TOPIC",
    "PARTITIONS",
    "IN TABLES",
    "IN SEGMENTS",
    "ON DISK",
    "UNPUBLISHED",
];

/// A row for each topic, by name.
fn rows(tiers: &Tiers) -> Vec<[String; 6]> {
    let row = |(name, topic): (&String, &TopicTiers)| {
        let size = |of: fn(&PartitionTiers) -> u64| bytes(topic.partitions.values().map(of).sum());
        [
            name.clone(),
            (topic.partitions.len() + topic.leaderless.len()).to_string(),
            size(|tiers| tiers.table_bytes),
            size(|tiers| tiers.segment_bytes),
            size(|tiers| tiers.disk_bytes),
            grouped(unpublished(topic)),
        ]
    };
    tiers.topics.iter().map(row).collect()
}

/// Records that are not in table files.
fn unpublished(topic: &TopicTiers) -> u64 {
    let lags = topic.partitions.values().map(|tiers| tiers.unpublished);
    lags.map(|lag| u64::try_from(lag).unwrap_or_default()).sum()
}

/// Asks for the topic to be published, and with patience waits for it.
async fn publish(
    cluster: &mut Cluster,
    name: &str,
    patience: Option<Duration>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let tiers = cluster.tiers(Some(&[name])).await?;
    let topic = tiers.topics.get(name).cloned().unwrap_or_default();
    let left = unpublished(&topic);
    if left == 0 && topic.leaderless.is_empty() {
        println!("all records of {name} are in table files already");
        return Ok(());
    }
    println!(
        "{} of {name} not in table files yet",
        counted(left, "record")
    );
    if patience.is_none() && topic.partitions.values().any(|tiers| tiers.unuploaded > 0) {
        println!(
            "some of them are not uploaded yet and may have to wait for the next time; with --wait they are published \
             too"
        );
    }
    let goal = match patience {
        None => BTreeMap::new(),
        // Before the request, so that all of it is there to be published.
        Some(_) => ends(cluster, name).await?,
    };
    for asked in cluster.publish(name).await? {
        let (broker, tables) = (asked.broker, asked.tables);
        let partitions = counted(asked.partitions.len() as u64, "partition");
        println!("asked broker {broker} to publish its {partitions} of {name} to {tables}");
    }
    match patience {
        None => {
            println!("alluvium compaction status --topic {name} tells how far that is");
            Ok(())
        }
        Some(timeout) => {
            let waiting = Waiting::new(goal, timeout);
            wait(cluster, name, waiting, began).await?;
            println!("{name} is published");
            Ok(())
        }
    }
}

/// The end of each partition.
async fn ends(cluster: &mut Cluster, name: &str) -> anyhow::Result<BTreeMap<i32, i64>> {
    let topic = cluster.topic(name, false).await?;
    let partitions = topic.partitions.iter().map(|p| p.partition_index);
    Ok(cluster.offsets(name, partitions, LATEST).await?)
}

/// Tells how much is left each time that changes.
async fn wait(
    cluster: &mut Cluster,
    name: &str,
    mut waiting: Waiting,
    began: Instant,
) -> anyhow::Result<()> {
    loop {
        let reached = reached(cluster, name).await?;
        let look = waiting.look(began.elapsed(), &reached);
        if let Some(news) = look.news {
            eprintln!("{news}");
        }
        match look.next {
            Next::Done => return Ok(()),
            Next::Wait => {}
            Next::AskAgain => {
                cluster.publish(name).await?;
            }
            Next::GiveUp(standing) => bail!("{}", gave_up(name, &standing, began.elapsed())),
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// How far each partition has come at least.
async fn reached(cluster: &mut Cluster, name: &str) -> anyhow::Result<BTreeMap<i32, Reached>> {
    // The ends first: lags that are told later can only make it seem less than it is.
    let ends = ends(cluster, name).await?;
    let tiers = cluster.tiers(Some(&[name])).await?;
    let told = tiers.topics.get(name).into_iter();
    let told = told.flat_map(|topic| &topic.partitions);
    let reached = told.filter_map(|(index, tiers)| {
        let end = ends.get(index)?;
        let reached = Reached {
            uploaded: end - tiers.unuploaded,
            published: end - tiers.unpublished,
        };
        Some((*index, reached))
    });
    Ok(reached.collect())
}

/// What to do about a topic that is not published in time.
fn gave_up(name: &str, standing: &waiting::Standing, after: Duration) -> String {
    let advice = match standing.unuploaded {
        0 => {
            "Does a broker with the role compactor run (roles in alluvium config), and does the log of one say why it \
             cannot publish?"
        }
        _ => {
            "Only what is in object storage can be published: do the logs of the brokers say why it cannot be reached?"
        }
    };
    format!(
        "{name} is not published after {} seconds: {standing}.\n{advice}\nIf it is only slow, wait for longer with \
         --timeout. Nothing is lost: the request stands, what is not in table files is read from where it is, and \
         alluvium compaction status --topic {name} tells how far it is.",
        after.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::waiting::Standing;
    use super::*;

    fn topic(partitions: &[PartitionTiers], leaderless: &[i32]) -> TopicTiers {
        TopicTiers {
            partitions: (0..).zip(partitions.iter().copied()).collect(),
            leaders: BTreeMap::from([(1, BTreeSet::from_iter(0..partitions.len() as i32))]),
            leaderless: leaderless.to_vec(),
        }
    }

    #[test]
    fn a_topic_is_the_sum_of_its_partitions() {
        let one = PartitionTiers {
            disk_bytes: 100,
            segment_bytes: 1 << 20,
            table_bytes: 3 << 30,
            unuploaded: 5,
            unpublished: 1_234_567,
        };
        let topics = [
            ("orders", topic(&[one, one], &[2])),
            ("empty", topic(&[PartitionTiers::default()], &[])),
        ];
        let tiers = Tiers {
            topics: topics
                .into_iter()
                .map(|(name, topic)| (name.to_owned(), topic))
                .collect(),
            ..Tiers::default()
        };
        assert_eq!(
            rows(&tiers),
            [
                ["empty", "1", "0 B", "0 B", "0 B", "0"],
                ["orders", "3", "6.0 GiB", "2.0 MiB", "200 B", "2,469,134"],
            ]
        );
    }

    #[test]
    fn who_waited_in_vain_is_told_what_to_look_at() {
        let mut standing = Standing {
            partitions: 12,
            published: 3,
            left: 1_234_567,
            unuploaded: 0,
        };
        let after = Duration::from_secs(600);
        let told = gave_up("orders", &standing, after);
        for words in [
            "orders is not published after 600 seconds",
            "3 of 12 partitions published, 1,234,567 records left",
            "role compactor",
            "--timeout",
            "compaction status --topic orders",
        ] {
            assert!(told.contains(words), "{words}: {told}");
        }
        standing.unuploaded = 7;
        let told = gave_up("orders", &standing, after);
        assert!(told.contains("7 of them not uploaded yet"), "{told}");
        assert!(!told.contains("role compactor"), "{told}");
    }
}
