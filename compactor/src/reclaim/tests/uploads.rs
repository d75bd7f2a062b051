//! Uploads in parts that nobody completes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use alluvium_common::object_store::{
    UnfinishedUpload, UnfinishedUploads, UploadMarker, UploadPage,
};
use async_trait::async_trait;
use parking_lot::Mutex;

use super::*;

/// Uploads that a store keeps, told two at a time.
#[derive(Debug, Default)]
struct KeptUploads {
    kept: Mutex<BTreeSet<UnfinishedUpload>>,
    /// Whether pages but the first cannot be read.
    failing: AtomicBool,
}

impl KeptUploads {
    fn begin(&self, key: &str, id: &str) -> UnfinishedUpload {
        let upload = UnfinishedUpload {
            location: Path::from(key),
            id: id.to_owned(),
        };
        self.kept.lock().insert(upload.clone());
        upload
    }

    fn all(&self) -> Vec<UnfinishedUpload> {
        self.kept.lock().iter().cloned().collect()
    }
}

#[async_trait]
impl UnfinishedUploads for KeptUploads {
    async fn list(
        &self,
        prefix: &Path,
        after: Option<UploadMarker>,
    ) -> object_store::Result<UploadPage> {
        let after = after.map(|after| (after.key, after.id));
        let all = self.all().into_iter();
        let below = all.filter(|upload| upload.location.prefix_matches(prefix));
        let mut rest = below.filter(|upload| {
            let place = (upload.location.to_string(), Some(upload.id.clone()));
            after.as_ref().is_none_or(|after| place > *after)
        });
        let uploads: Vec<_> = rest.by_ref().take(2).collect();
        if after.is_some() && self.failing.load(Ordering::Relaxed) {
            return Err(object_store::Error::NotSupported {
                source: "a page that cannot be read".into(),
            });
        }
        let last = uploads.last().filter(|_| rest.next().is_some());
        let next = last.map(|upload| UploadMarker {
            key: upload.location.to_string(),
            id: Some(upload.id.clone()),
        });
        Ok(UploadPage { uploads, next })
    }

    async fn abort(&self, upload: &UnfinishedUpload) -> object_store::Result<()> {
        self.kept.lock().remove(upload);
        Ok(())
    }
}

impl World {
    fn upload_sweeper(&self, uploads: &Arc<KeptUploads>) -> UploadSweeper {
        let uploads = Arc::clone(uploads) as Arc<dyn UnfinishedUploads>;
        let metadata = (Arc::clone(&self.store), self.keys.clone());
        UploadSweeper::new(metadata, uploads, Arc::clone(&self.graves))
    }

    /// The name of a new table file, of the session that is over or of `session`.
    fn table(&self, session: Option<BrokerEpoch>) -> ObjectKey {
        let mut written = self.written();
        if let Some(broker_epoch) = session {
            written.broker_id = BrokerId(2);
            written.broker_epoch = broker_epoch;
        }
        ObjectKey::table(&TableName {
            topic_id: topic_id(1),
            written,
        })
    }
}

/// F2: who lives may complete what it began, however long ago, and of a topic that is deleted, too.
#[tokio::test(start_paused = true)]
async fn uploads_of_ended_sessions_are_aborted_after_the_grace_and_no_others() {
    let world = World::new(&[]).await;
    let session = open_session(&world, 2).await;
    let uploads = Arc::new(KeptUploads::default());
    let living = uploads.begin(world.table(Some(session)).as_str(), "1");
    let later = BrokerEpoch(session.0 + 100);
    uploads.begin(world.table(Some(later)).as_str(), "2");
    let twice = world.table(None);
    uploads.begin(twice.as_str(), "3");
    uploads.begin(twice.as_str(), "4");
    let foreign = uploads.begin("tables/somebody/elses.parquet", "5");
    let elsewhere = uploads.begin("elsewhere/x", "6");
    let mut sweeper = world.upload_sweeper(&uploads);
    assert_eq!(sweeper.look().await.expect("read").suspects, 3);
    tokio::time::advance(GRACE / 2).await;
    let newer = uploads.begin(world.table(None).as_str(), "7");
    assert_eq!(sweeper.sweep().await.expect("read"), 0);
    tokio::time::advance(GRACE / 2).await;
    assert_eq!(sweeper.sweep().await.expect("read"), 3);
    let mut kept = vec![living.clone(), foreign.clone(), elsewhere.clone(), newer];
    kept.sort();
    assert_eq!(uploads.all(), kept);
    tokio::time::advance(GRACE).await;
    assert_eq!(sweeper.sweep().await.expect("read"), 1);
    assert_eq!(uploads.all().len(), 3);
    // Its session ends: only from then on it waits.
    let ended = world.store.delete(world.keys.broker(BrokerId(2))).await;
    ended.expect("deleted");
    assert_eq!(sweeper.sweep().await.expect("read"), 0);
    assert!(uploads.all().contains(&living));
    tokio::time::advance(GRACE).await;
    assert_eq!(sweeper.sweep().await.expect("read"), 1);
    assert_eq!(uploads.all(), [elsewhere, foreign]);
}

#[tokio::test(start_paused = true)]
async fn uploads_that_cannot_all_be_listed_stay() {
    let world = World::new(&[]).await;
    let uploads = Arc::new(KeptUploads::default());
    for id in ["1", "2", "3"] {
        uploads.begin(world.table(None).as_str(), id);
    }
    let mut sweeper = world.upload_sweeper(&uploads);
    assert_eq!(sweeper.sweep().await.expect("read"), 0);
    tokio::time::advance(GRACE).await;
    uploads.failing.store(true, Ordering::Relaxed);
    assert!(sweeper.sweep().await.is_err());
    assert_eq!(uploads.all().len(), 3);
    uploads.failing.store(false, Ordering::Relaxed);
    assert_eq!(sweeper.sweep().await.expect("read"), 3);
}
