//! A broker as the bucket and the metadata see it: it writes segments and commits them.

use std::sync::Arc;

use alluvium_common::topic::TopicPartition;
use alluvium_metadata::commit_log::CommitLog;
use alluvium_metadata::fold::LogId;
use alluvium_metadata::model::CommitRecord;
use alluvium_metadata::session::Session;
use alluvium_segment::object_key::{ObjectKey, SegmentName};
use alluvium_segment::record_batch::StoredBatch;
use alluvium_segment::segment_object::{EncodeOptions, SegmentEntry, SegmentHeader, encode};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use uuid::Uuid;

use super::batches::BatchSpec;

pub struct Broker {
    pub session: Arc<Session>,
    pub commits: CommitLog,
    /// Of the next segment.
    pub next_seq: u64,
    /// Taken and not committed.
    pub open: Vec<(TopicPartition, BatchSpec, StoredBatch)>,
}

impl Broker {
    pub fn log(&self) -> LogId {
        LogId {
            broker_id: self.session.broker_id(),
            broker_epoch: self.session.broker_epoch(),
        }
    }

    /// Puts what was taken as one segment of small blocks, and commits it.
    pub async fn seal(
        &mut self,
        bucket: &dyn ObjectStore,
        id: Uuid,
        created_ms: i64,
    ) -> Option<CommitRecord> {
        if self.open.is_empty() {
            return None;
        }
        let LogId {
            broker_id,
            broker_epoch,
        } = self.log();
        let entries = self.open.iter().map(|(tp, _, batch)| SegmentEntry {
            tp: *tp,
            batch: batch.clone(),
        });
        let header = SegmentHeader {
            broker_id,
            broker_epoch,
            created_ms,
        };
        let options = EncodeOptions {
            block_bytes_target: 1_000,
            ..EncodeOptions::default()
        };
        let segment = encode(&header, entries.collect(), &options).expect("in order");
        let record = CommitRecord {
            object_key: ObjectKey::segment(&SegmentName {
                broker_id,
                broker_epoch,
                id,
            }),
            size_bytes: segment.size_bytes,
            footer_length: segment.footer_length,
            footer_crc: segment.footer_crc,
        };
        let payload: PutPayload = segment.chunks.into_iter().collect();
        let path = Path::from(record.object_key.as_str());
        bucket.put(&path, payload).await.expect("put");
        let records = std::slice::from_ref(&record);
        let committed = self.commits.commit(self.next_seq, records).await;
        committed.expect("committed");
        self.next_seq += 1;
        Some(record)
    }
}
