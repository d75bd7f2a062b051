//! The one way in which a topic's manifest moves on: the next one is put, and made to count by one compare-and-set, which
//! also compares session and claim. Of two that work on one topic the later one fails, and its files are garbage.

use std::collections::HashSet;
use std::sync::Arc;

use alluvium_common::topic::TopicId;
use alluvium_metadata::compaction::{Advance, Advanced, PublicationWriter};
use alluvium_metadata::model::PublishedRecord;
use alluvium_metadata::store::{Compare, Revision};
use alluvium_segment::manifest::{Manifest, ManifestContent, TableEntry};
use alluvium_segment::object_key::{ManifestName, ObjectKey, SegmentName};

use crate::publish::{PublishError, PublishSeams};
use crate::put::put;

/// A topic whose manifest is to be followed by another.
pub struct TopicManifest<'a> {
    /// What to work with.
    pub with: &'a PublishSeams,
    /// Reads and writes how far topics are published.
    pub writer: &'a PublicationWriter,
    /// Which topic.
    pub topic_id: TopicId,
    /// The manifest that counts, as far as is known.
    pub before: Option<Arc<Manifest>>,
    /// Its name.
    pub replaced: Option<ObjectKey>,
    /// What must hold for the next one to count.
    pub guard: Vec<Compare>,
}

/// The manifest that counted when work began: what the next one compares.
#[derive(Debug, Clone, Copy)]
pub struct Followed(Option<Revision>);

impl TopicManifest<'_> {
    /// F6: makes sure that the manifest that is known is the one that counts, before long work is done in vain.
    pub async fn begin(&self) -> Result<Followed, PublishError> {
        let stands = self.writer.read(self.topic_id).await?;
        let version = stands.as_ref().map_or(0, |stands| stands.record.version);
        match version == self.before.as_ref().map_or(0, |before| before.version()) {
            true => Ok(Followed(stands.map(|stands| stands.mod_revision))),
            false => Err(PublishError::Superseded),
        }
    }

    /// What the manifest that counts says.
    pub fn content(&self) -> ManifestContent {
        match &self.before {
            Some(before) => before.to_content(),
            None => ManifestContent::empty(self.topic_id),
        }
    }

    /// Makes `content` count, of which version and date are set here, and ends `request`. What counted before is garbage
    /// then.
    pub async fn advance(
        &self,
        followed: Followed,
        content: ManifestContent,
        request: Option<Revision>,
    ) -> Result<Arc<Manifest>, PublishError> {
        let content = ManifestContent {
            version: self.before.as_ref().map_or(0, |before| before.version()) + 1,
            created_ms: self.with.clock.now_ms(),
            ..content
        };
        // Before it counts: nobody could go on from one that contradicts itself.
        let manifest = Manifest::new(content.clone())?;
        let record = self.put(&content).await?;
        let advance = Advance {
            topic_id: self.topic_id,
            read_at: followed.0,
            record,
            request,
        };
        match self.writer.advance(&self.guard, &advance).await? {
            Advanced::Done(_) => {
                self.with.metrics.manifests.inc();
                self.bury_what_is_gone(&manifest);
                Ok(Arc::new(manifest))
            }
            Advanced::Changed | Advanced::Refused => Err(PublishError::Superseded),
        }
    }

    /// What counted before names what nothing names any more, and is itself named by nothing.
    fn bury_what_is_gone(&self, manifest: &Manifest) {
        let Some(before) = &self.before else { return };
        let named = |tables: &[Arc<TableEntry>]| -> HashSet<ObjectKey> {
            tables.iter().map(|one| one.object_key.clone()).collect()
        };
        let now = named(manifest.tables());
        let gone = named(before.tables()).into_iter();
        self.with.graves.bury(gone.filter(|key| !now.contains(key)));
        self.with.graves.bury(self.replaced.clone());
    }

    async fn put(&self, content: &ManifestContent) -> Result<PublishedRecord, PublishError> {
        let object = content.encode()?;
        let object_key = ObjectKey::manifest(&ManifestName {
            topic_id: self.topic_id,
            version: content.version,
            written: SegmentName {
                broker_id: self.with.session.broker_id(),
                broker_epoch: self.with.session.broker_epoch(),
                id: self.with.random.uuid(),
            },
        });
        let record = PublishedRecord {
            version: content.version,
            object_key,
            size_bytes: object.size_bytes,
            index_length: object.index_length,
            index_crc: object.index_crc,
        };
        put(&*self.with.objects, &record.object_key, object).await?;
        Ok(record)
    }
}
