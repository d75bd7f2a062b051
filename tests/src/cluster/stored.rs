//! All commit logs and the footers of their objects, read past the brokers.

use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{CommitRecord, PartitionRecord};
use alluvium_metadata::store::{KeyValue, MetadataStoreExt};
use alluvium_metadata::value;
use alluvium_segment::footer::Footer;

use super::{Cluster, PREFIX};
use crate::history::Partition;
use crate::history::stored::{Span, Stored, StoredCommit, StoredPartition};
use crate::s3::S3Server;

/// Name of the brokers' cluster: the default.
const CLUSTER: &str = "alluvium";

impl Cluster {
    /// What etcd and the bucket hold now.
    pub async fn stored(&self) -> Stored {
        let (store, keys) = (self.etcd.store().await, Keys::new(CLUSTER));
        let (_, commits) = store.list(keys.all_commits()).await.expect("etcd answers");
        let (_, partitions) = store.list(keys.partitions()).await.expect("etcd answers");
        Stored {
            commits: commits
                .iter()
                .map(|kv| commit(&keys, kv, &self.s3))
                .collect(),
            partitions: partitions.iter().map(|kv| partition(&keys, kv)).collect(),
        }
    }
}

fn commit(keys: &Keys, kv: &KeyValue, s3: &S3Server) -> StoredCommit {
    let (broker, epoch, seq) = keys.parse_commit(&kv.key).expect("a commit's key");
    let record: CommitRecord = value::decode(&kv.value).expect("a commit");
    let footer = footer(&record, s3);
    let spans = footer.iter().flat_map(|footer| &footer.partitions);
    StoredCommit {
        broker: broker.0,
        broker_epoch: epoch.0,
        seq,
        writes: kv.version,
        object: record.object_key.to_string(),
        is_whole: footer.is_some(),
        spans: spans
            .map(|span| Span {
                partition: Partition {
                    topic: span.tp.topic_id.0,
                    index: span.tp.partition.0,
                },
                from: span.base_offset.get(),
                to: span.next_offset.get(),
            })
            .collect(),
    }
}

/// The footer, if it is the one that was committed.
fn footer(record: &CommitRecord, s3: &S3Server) -> Option<Footer> {
    let object = s3.object(&format!("{PREFIX}/{}", record.object_key))?;
    let start = object.len().checked_sub(record.footer_length as usize)?;
    let is_whole = object.len() as u64 == record.size_bytes;
    Footer::decode(&object[start..]).ok().filter(|_| is_whole)
}

fn partition(keys: &Keys, kv: &KeyValue) -> StoredPartition {
    let tp = keys.parse_partition(&kv.key).expect("a partition's key");
    let record: PartitionRecord = value::decode(&kv.value).expect("a partition");
    let tail = record.tail.iter();
    StoredPartition {
        partition: Partition {
            topic: tp.topic_id.0,
            index: tp.partition.0,
        },
        log_start: record.log_start.get(),
        tail: tail
            .map(|entry| {
                let (broker, epoch) = (entry.broker_id.0, entry.broker_epoch.0);
                (broker, epoch, entry.first_seq, entry.last_seq)
            })
            .collect(),
    }
}
