//! The topics of a picture.

use std::collections::BTreeMap;
use std::sync::Arc;

use alluvium_common::topic::{TopicId, TopicName};

use crate::model::TopicRecord;

/// All topics at one revision. Cheap to share, never changed.
#[derive(Debug, Default, Clone)]
pub struct Topics {
    by_name: BTreeMap<TopicName, Arc<TopicRecord>>,
    by_id: BTreeMap<TopicId, Arc<TopicRecord>>,
}

impl Topics {
    /// The topic of that name.
    pub fn named(&self, name: &str) -> Option<&Arc<TopicRecord>> {
        self.by_name.get(name)
    }

    /// The topic of that id.
    pub fn with_id(&self, topic_id: TopicId) -> Option<&Arc<TopicRecord>> {
        self.by_id.get(&topic_id)
    }

    /// All, ordered by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<TopicRecord>> {
        self.by_name.values()
    }

    /// A topic whose name differs from `name` only in dots against underscores.
    pub fn colliding(&self, name: &TopicName) -> Option<&TopicName> {
        let key = name.collision_key();
        if key == name.as_str() && !name.as_str().contains('_') {
            return None;
        }
        self.by_name
            .keys()
            .find(|other| *other != name && other.collision_key() == key)
    }

    pub(super) fn put(&mut self, record: TopicRecord) {
        self.remove(&record.name);
        let record = Arc::new(record);
        self.by_id.insert(record.topic_id, Arc::clone(&record));
        self.by_name.insert(record.name.clone(), record);
    }

    pub(super) fn remove(&mut self, name: &TopicName) {
        if let Some(old) = self.by_name.remove(name) {
            self.by_id.remove(&old.topic_id);
        }
    }
}
