//! The one way in which a topic's manifest moves on: the next one is put, and made to count by one compare-and-set, which
//! also compares session and claim. Of two that work on one topic the later one fails, and its files are garbage.
//!
//! Older table files go to leaves on the way ([`crate::leaves`]).

use std::collections::HashSet;
use std::sync::Arc;

use alluvium_common::topic::TopicId;
use alluvium_metadata::compaction::{Advance, Advanced, PublicationWriter};
use alluvium_metadata::model::PublishedRecord;
use alluvium_metadata::store::{Compare, Revision};
use alluvium_segment::manifest::{Leaf, LeafEntry, Manifest, ManifestContent, TableEntry};
use alluvium_segment::object_key::{ManifestName, ObjectKey, SegmentName, TableName};
use alluvium_segment::parted::EncodedObject;
use tracing::error;

use crate::leaves::{LeafLimits, OutOfOrder, leaving};
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
    /// When table files go to leaves; `None`: never.
    pub leaves: Option<LeafLimits>,
    /// Size at which a table file ends.
    pub table_bytes: u64,
}

/// What is to count next.
pub struct Next {
    /// What it says; version and date are set when it is put.
    pub content: ManifestContent,
    /// Table files that leaves listed which it does not name any more, and that are not wanted any more.
    pub gone: Vec<ObjectKey>,
    /// The request that is done with this.
    pub request: Option<Revision>,
}

impl From<ManifestContent> for Next {
    fn from(content: ManifestContent) -> Self {
        Self {
            content,
            gone: Vec::new(),
            request: None,
        }
    }
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

    /// Makes `next` count. What counted before is garbage then.
    pub async fn advance(
        &self,
        followed: Followed,
        next: impl Into<Next>,
    ) -> Result<Arc<Manifest>, PublishError> {
        let Next {
            content,
            gone,
            request,
        } = next.into();
        let mut content = ManifestContent {
            version: self.before.as_ref().map_or(0, |before| before.version()) + 1,
            created_ms: self.with.clock.now_ms(),
            ..content
        };
        let moved = self.move_to_leaves(&mut content).await?;
        // Before it counts: nobody could go on from one that contradicts itself.
        let manifest = Manifest::new(content.clone())?;
        let record = self.put_manifest(&content).await?;
        let advance = Advance {
            topic_id: self.topic_id,
            read_at: followed.0,
            record,
            request,
        };
        match self.writer.advance(&self.guard, &advance).await? {
            Advanced::Done(_) => {
                self.with.metrics.manifests.inc();
                self.bury_what_is_gone(&manifest, &moved, gone);
                Ok(Arc::new(manifest))
            }
            Advanced::Changed | Advanced::Refused => Err(PublishError::Superseded),
        }
    }

    /// Puts the first table files into leaves, if there are enough. Gives those files.
    async fn move_to_leaves(
        &self,
        content: &mut ManifestContent,
    ) -> Result<Vec<Arc<TableEntry>>, PublishError> {
        let counts = match &self.leaves {
            Some(limits) => leaving(content, limits, self.table_bytes),
            None => Ok(Vec::new()),
        };
        let counts = counts.unwrap_or_else(|OutOfOrder| {
            let (topic_id, files) = (self.topic_id, content.tables.len());
            error!(
                %topic_id, files,
                "table files are not in the order of their offsets, so the manifest lists them all and grows; nothing is lost, please report it"
            );
            Vec::new()
        });
        let mut moved = Vec::new();
        for count in counts {
            let tables: Vec<_> = content.tables.drain(..count).map(Arc::new).collect();
            moved.extend_from_slice(&tables);
            content.leaves.push(self.put_leaf(tables).await?);
        }
        Ok(moved)
    }

    /// Puts a leaf that lists `tables`. It is garbage until a manifest that names it counts.
    pub async fn put_leaf(&self, tables: Vec<Arc<TableEntry>>) -> Result<LeafEntry, PublishError> {
        let leaf = Leaf::new(self.topic_id, tables)?;
        let object = leaf.encode()?;
        let object_key = ObjectKey::leaf(&TableName {
            topic_id: self.topic_id,
            written: self.written(),
        });
        let entry = LeafEntry::new(object_key.clone(), &object, &leaf);
        self.put(&object_key, object).await?;
        self.with.metrics.leaves.inc();
        Ok(entry)
    }

    /// What counted before names what nothing names any more, and is itself named by nothing. `moved` are in new leaves,
    /// `gone` were in leaves that are not named any more.
    fn bury_what_is_gone(
        &self,
        manifest: &Manifest,
        moved: &[Arc<TableEntry>],
        gone: Vec<ObjectKey>,
    ) {
        let Some(before) = &self.before else { return };
        let now: HashSet<_> = names_in(manifest).collect();
        let moved: HashSet<_> = moved.iter().map(|table| &table.object_key).collect();
        let gone = gone.iter().chain(names_in(before));
        let gone = gone.filter(|key| !now.contains(key) && !moved.contains(key));
        self.with.graves.bury(gone.cloned());
        self.with.graves.bury(self.replaced.clone());
    }

    async fn put_manifest(
        &self,
        content: &ManifestContent,
    ) -> Result<PublishedRecord, PublishError> {
        let object = content.encode()?;
        let record = PublishedRecord {
            version: content.version,
            object_key: ObjectKey::manifest(&ManifestName {
                topic_id: self.topic_id,
                version: content.version,
                written: self.written(),
            }),
            size_bytes: object.size_bytes,
            index_length: object.index_length,
            index_crc: object.index_crc,
        };
        self.put(&record.object_key, object).await?;
        Ok(record)
    }

    async fn put(&self, object_key: &ObjectKey, object: EncodedObject) -> Result<(), PublishError> {
        self.with.metrics.manifest_bytes.inc_by(object.size_bytes);
        Ok(put(&*self.with.objects, object_key, object).await?)
    }

    fn written(&self) -> SegmentName {
        SegmentName {
            broker_id: self.with.session.broker_id(),
            broker_epoch: self.with.session.broker_epoch(),
            id: self.with.random.uuid(),
        }
    }
}

/// The objects that a manifest names itself.
fn names_in(manifest: &Manifest) -> impl Iterator<Item = &ObjectKey> {
    let tables = manifest.tables().iter().map(|table| &table.object_key);
    let leaves = manifest.leaves().iter().map(|leaf| &leaf.object_key);
    tables.chain(leaves)
}
