//! Finding the logs of a fetch: those that this broker leads, and those that it may serve for another leader (KIP-392).
//!
//! A broker serves what it does not lead only to clients that name their rack. Such a log is read as any other, with one
//! difference: whoever has reached its end, as far as this broker knows, is answered only after the leader has been
//! asked where the end is, so that a fetch never misses what was acknowledged before it began (I12). Kafka's followers
//! may lag there.

use std::sync::Arc;

use alluvium_cache::log::PartitionLog;
use alluvium_common::epoch::BrokerId;
use alluvium_common::offset::LogOffsets;
use alluvium_common::seeded_bug;
use alluvium_common::topic::TopicPartition;
use futures::future::{BoxFuture, join_all};

use super::{FetchError, FetchPartition, FetchRequest, Fetcher, TopicResolver};
use crate::error::ReadError;

/// The other brokers, as far as fetches need them.
pub trait Replicas: Send + Sync {
    /// The broker in the client's rack that should be asked instead of this one, which leads the partition.
    fn preferred(&self, tp: TopicPartition, client_rack: &str) -> Option<BrokerId>;

    /// The log of a partition that another broker leads, if a client of that rack may read it here. Waits until the
    /// leader has told of it.
    fn open<'a>(
        &'a self,
        tp: TopicPartition,
        client_rack: &'a str,
    ) -> BoxFuture<'a, Result<Arc<PartitionLog>, ReadError>>;

    /// Asks the leaders of `logs`, which came from [`Self::open`], for their offsets, and waits until each log has come
    /// as far as its leader's high watermark was. Answers in the order of `logs`.
    fn catch_up(
        &self,
        logs: Vec<Arc<PartitionLog>>,
    ) -> BoxFuture<'_, Vec<Result<LogOffsets, ReadError>>>;
}

/// A log, and who should be asked for it.
pub(super) struct Found {
    pub(super) log: Arc<PartitionLog>,
    /// Another broker, which is nearer to the client.
    pub(super) preferred: Option<BrokerId>,
}

/// The logs of all partitions, in order.
pub(super) async fn find(
    fetcher: &Fetcher,
    request: &FetchRequest,
    partitions: &[FetchPartition],
    topics: &dyn TopicResolver,
) -> Vec<Result<Found, FetchError>> {
    let led = partitions.iter();
    let mut found: Vec<_> = led
        .map(|partition| find_led(fetcher, request, partition, topics))
        .collect();
    if let (Some(replicas), Some(rack)) = (&fetcher.replicas, &request.rack) {
        let followed = open(&**replicas, rack, &mut found).await;
        catch_up(&**replicas, request, partitions, &followed, &mut found).await;
    }
    let unknown = |missing| match missing {
        Missing::Topic => FetchError::UnknownTopic,
        Missing::NotLed(_) => ReadError::UnknownPartition.into(),
        Missing::Read(error) => error.into(),
    };
    found.into_iter().map(|one| one.map_err(unknown)).collect()
}

/// Why there is no log.
enum Missing {
    Topic,
    NotLed(TopicPartition),
    Read(ReadError),
}

fn find_led(
    fetcher: &Fetcher,
    request: &FetchRequest,
    partition: &FetchPartition,
    topics: &dyn TopicResolver,
) -> Result<Found, Missing> {
    let topic_id = topics.resolve(&partition.topic);
    let topic_id = topic_id.ok_or(Missing::Topic)?;
    let tp = TopicPartition::new(topic_id, partition.partition);
    let Ok(log) = fetcher.reader.log(&tp) else {
        return Err(Missing::NotLed(tp));
    };
    let preferred = match (&fetcher.replicas, &request.rack) {
        (Some(replicas), Some(rack)) => replicas.preferred(tp, rack),
        _ => None,
    };
    Ok(Found { log, preferred })
}

/// Opens what is not led here. Returns the places.
async fn open(
    replicas: &dyn Replicas,
    rack: &str,
    found: &mut [Result<Found, Missing>],
) -> Vec<usize> {
    let places = found.iter().enumerate();
    let wanted: Vec<_> = places
        .filter_map(|(place, found)| match found {
            Err(Missing::NotLed(tp)) => Some((place, *tp)),
            _ => None,
        })
        .collect();
    let opened = join_all(wanted.iter().map(|(_, tp)| replicas.open(*tp, rack))).await;
    let mut followed = Vec::new();
    for ((place, _), opened) in wanted.into_iter().zip(opened) {
        found[place] = match opened {
            Ok(log) => {
                followed.push(place);
                Ok(Found {
                    log,
                    preferred: None,
                })
            }
            Err(error) => Err(Missing::Read(error)),
        };
    }
    followed
}

/// See the module's documentation.
async fn catch_up(
    replicas: &dyn Replicas,
    request: &FetchRequest,
    partitions: &[FetchPartition],
    followed: &[usize],
    found: &mut [Result<Found, Missing>],
) {
    let mut at_end = Vec::new();
    for place in followed {
        if let Ok(one) = &found[*place] {
            let limit = request.isolation.limit(&one.log.tail.offsets());
            if partitions[*place].fetch_offset >= limit.get() {
                at_end.push((*place, Arc::clone(&one.log)));
            }
        }
    }
    if at_end.is_empty() || seeded_bug::is("follower-tells-end") {
        return;
    }
    let logs = at_end.iter().map(|(_, log)| Arc::clone(log)).collect();
    let answers = replicas.catch_up(logs).await;
    for ((place, log), leader) in at_end.into_iter().zip(answers) {
        let checked = leader.and_then(|leader| {
            check_offset(partitions[place].fetch_offset, &leader, &log.tail.offsets())
        });
        if let Err(error) = checked {
            found[place] = Err(Missing::Read(error));
        }
    }
}

/// An offset is out of range only when the leader says so.
fn check_offset(from: i64, leader: &LogOffsets, here: &LogOffsets) -> Result<(), ReadError> {
    if from > leader.log_end.get() {
        return Err(ReadError::OffsetOutOfRange { offsets: *leader });
    }
    if from > here.log_end.get() {
        return Err(ReadError::OffsetNotAvailable);
    }
    Ok(())
}
