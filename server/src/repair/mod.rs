//! Repairs what can be repaired without anything to lose: what nobody needs, by the rules by which brokers remove it
//! themselves.
//!
//! | What | Why nothing can be lost |
//! |---|---|
//! | what is left of topics that do not exist | read at one revision without a session ([`alluvium_metadata::leftovers`]) |
//! | commit logs that no partition names | once a session is over, who names its log can only become fewer ([`alluvium_metadata::fold`]) |
//! | objects that nothing names | the sweep's own looks, a grace apart ([`alluvium_compactor::reclaim::sweep`]) |
//! | uploads that nobody completes | the same ([`alluvium_compactor::reclaim::uploads`]) |
//!
//! In this order, as what one removes is what the next finds unneeded. Whoever cannot read all that its decision rests on
//! removes nothing, and says so. What holds records, or names what does, is never touched: that is for a person, whom
//! [`crate::audit`] tells what is wrong.

mod told;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::object_store::{ObjectStore, UnfinishedUploads};
use alluvium_compactor::manifests::Manifests;
use alluvium_compactor::reclaim::{Graves, GravesMetrics, Sweeper, UploadSweeper};
use alluvium_metadata::fold::{drop_unneeded, overview, unneeded_logs};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::leftovers::{find_leftovers, remove_leftover};
use alluvium_metadata::store::MetadataStore;
use tokio::time::Instant;

pub use told::Told;
use told::{count, objects};

/// Where to repair, and how.
pub struct RepairSeams {
    /// Metadata.
    pub metadata: Arc<dyn MetadataStore>,
    /// Its keys.
    pub keys: Keys,
    /// The bucket, which is known to be the one that the metadata are of.
    pub objects: Arc<dyn ObjectStore>,
    /// What uploads in parts have left in it, where that can be told.
    pub uploads: Option<Arc<dyn UnfinishedUploads>>,
    /// How long what nothing names is left alone.
    pub grace: Duration,
    /// Change nothing, and tell what would be.
    pub dry_run: bool,
}

/// One repair. Its steps come in the order of its functions.
pub struct Repair {
    with: RepairSeams,
    graves: Arc<Graves>,
    sweeper: Sweeper,
    uploads: Option<UploadSweeper>,
    /// When the bucket had been looked through, and how much was seen that may have to go.
    first_look: Option<(Instant, usize)>,
}

impl Repair {
    /// Has done nothing yet.
    pub fn new(with: RepairSeams) -> Self {
        let graves = Graves::new(
            Arc::clone(&with.objects),
            with.grace,
            GravesMetrics::default(),
        );
        let metadata = || (Arc::clone(&with.metadata), with.keys.clone());
        Self {
            sweeper: Sweeper::new(
                metadata(),
                Arc::clone(&with.objects),
                Manifests::new(Arc::clone(&with.objects)),
                Arc::clone(&graves),
            ),
            uploads: with
                .uploads
                .clone()
                .map(|uploads| UploadSweeper::new(metadata(), uploads, Arc::clone(&graves))),
            graves,
            with,
            first_look: None,
        }
    }

    /// Removes metadata that nobody needs.
    pub async fn metadata(&self) -> Told {
        let mut told = Told::new(self.with.dry_run);
        self.leftovers(&mut told).await;
        self.logs(&mut told).await;
        told
    }

    /// Looks through the bucket for the first time.
    pub async fn look(&mut self) -> Told {
        let mut told = Told::new(self.with.dry_run);
        let mut suspects = 0;
        match self.sweeper.look().await {
            Ok(seen) => suspects += seen.suspects + seen.orphans.len(),
            Err(error) => told.left(format!(
                "objects that nothing names are not looked for, as not everything can be read that may name one: {error}"
            )),
        }
        let objects_seen = suspects;
        if let Some(uploads) = &mut self.uploads {
            match uploads.look().await {
                Ok(seen) => suspects += seen.suspects + seen.stale.len(),
                Err(error) => told.left(format!(
                    "uploads in parts cannot be listed, which may need the permission s3:ListBucketMultipartUploads: \
                     {error}"
                )),
            }
        }
        if suspects > 0 {
            told.found(format!(
                "{} and {} of sessions that are over, which nothing names: deleted if that is still so {:?} later \
                 (log.segment.delete.delay.ms)",
                objects(objects_seen),
                count(suspects - objects_seen, "upload in parts", "uploads in parts"),
                self.with.grace
            ));
        }
        // Each was first seen before now.
        self.first_look = Some((Instant::now(), suspects));
        told
    }

    /// How long to wait until [`Self::sweep`]; `None` if there is nothing to wait for.
    pub fn pause(&self) -> Option<Duration> {
        let (seen, suspects) = self.first_look?;
        let is_needed = suspects > 0 && !self.with.dry_run;
        is_needed.then(|| self.with.grace.saturating_sub(seen.elapsed()))
    }

    /// Looks again, and deletes what nothing has named for a whole grace.
    pub async fn sweep(&mut self) -> Told {
        let mut told = Told::new(self.with.dry_run);
        match self.sweeper.look().await {
            Ok(seen) if seen.orphans.is_empty() => {}
            Ok(seen) => {
                let found = seen.orphans.len();
                let gone = self.graves.delete(seen.orphans).await;
                if gone > 0 {
                    told.done(format!("{} that nothing named", objects(gone)), "deleted");
                }
                if gone < found {
                    let what = objects(found - gone);
                    told.left(format!(
                        "{what} could not be deleted; repair again, or leave it to the brokers"
                    ));
                }
            }
            Err(error) => told.left(format!(
                "no object is deleted, as not everything can be read: {error}"
            )),
        }
        let Some(uploads) = &mut self.uploads else {
            return told;
        };
        let stale = match uploads.look().await {
            Ok(seen) => seen.stale,
            Err(error) => {
                told.left(format!("no upload is aborted: {error}"));
                return told;
            }
        };
        let mut aborted = 0;
        for upload in &stale {
            match uploads.abort(upload).await {
                Ok(()) => aborted += 1,
                Err(error) => told.left(format!(
                    "the upload of {} could not be aborted: {error}",
                    upload.location
                )),
            }
        }
        if aborted > 0 {
            told.done(
                count(
                    aborted,
                    "upload in parts that nobody completes",
                    "uploads in parts that nobody completes",
                ),
                "aborted",
            );
        }
        told
    }

    async fn leftovers(&self, told: &mut Told) {
        let found = match find_leftovers(&*self.with.metadata, &self.with.keys).await {
            Ok(found) => found,
            Err(error) => {
                told.left(format!(
                    "what is left of deleted topics is not looked for: {error}"
                ));
                return;
            }
        };
        for leftover in &found.topics {
            let keys = count(leftover.key_count(), "key", "keys");
            let what = format!(
                "{keys} of topic {}, which does not exist",
                leftover.topic_id
            );
            if found.sessions > 0 {
                told.left(format!(
                    "{what}: a broker's session is open, so it may be about to be created; the controller removes it after ten minutes"
                ));
                continue;
            }
            if self.with.dry_run {
                told.done(what, "removed");
                continue;
            }
            match remove_leftover(&*self.with.metadata, leftover).await {
                Ok(true) => told.done(what, "removed"),
                Ok(false) => told.left(format!("{what}: somebody else changes it")),
                Err(error) => told.left(format!("{what}: {error}")),
            }
        }
    }

    async fn logs(&self, told: &mut Told) {
        let seen = match overview(&*self.with.metadata, &self.with.keys).await {
            Ok(seen) => seen,
            Err(error) => {
                told.left(format!(
                    "commit logs that no partition names are not looked for: {error}"
                ));
                return;
            }
        };
        for log in unneeded_logs(&seen) {
            let what = format!(
                "commit log of broker {}, epoch {}, which no partition names",
                log.broker_id, log.broker_epoch
            );
            if self.with.dry_run {
                told.done(what, "dropped");
                continue;
            }
            match drop_unneeded(&*self.with.metadata, &self.with.keys, &[log], &[]).await {
                Ok(dropped) if dropped.logs == 1 => told.done(what, "dropped"),
                Ok(_) => told.left(format!("{what}: its session is not over")),
                Err(error) => told.left(format!("{what}: {error}")),
            }
        }
    }
}
