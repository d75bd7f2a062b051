//! Topic names, topic ids and partitions.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use crate::limits::TOPIC_NAME_BYTES_MAX;

/// A valid topic name: 1 to 249 of `[a-zA-Z0-9._-]`, not `.` and not `..`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Why a string is no topic name. The message is fit to be sent to a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopicName {
    /// The empty string.
    #[error("topic name is empty")]
    Empty,
    /// `.` or `..`.
    #[error("topic name may not be '.' or '..'")]
    Dots,
    /// Longer than Kafka allows.
    #[error("topic name is {0} bytes long, at most {TOPIC_NAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// A character outside of the allowed set.
    #[error("topic name contains {0:?}; allowed are ASCII letters, digits, '.', '_' and '-'")]
    Character(char),
}

impl TopicName {
    /// Checks `name` by Kafka's rules (`org.apache.kafka.common.internals.Topic`).
    pub fn new(name: &str) -> Result<Self, InvalidTopicName> {
        if name.is_empty() {
            return Err(InvalidTopicName::Empty);
        }
        if name == "." || name == ".." {
            return Err(InvalidTopicName::Dots);
        }
        if let Some(bad) = name
            .chars()
            .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
        {
            return Err(InvalidTopicName::Character(bad));
        }
        if name.len() > TOPIC_NAME_BYTES_MAX {
            return Err(InvalidTopicName::TooLong(name.len()));
        }
        Ok(Self(name.into()))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Kafka refuses two topics whose names differ only in `.` against `_`, since its metrics would
    /// collide. Equal keys mean such a collision.
    pub fn collision_key(&self) -> String {
        self.0.replace('.', "_")
    }

    /// Kafka's own topics (`__consumer_offsets`, `__transaction_state`) which clients may not
    /// create or write here, because their content lives in the metadata store.
    pub fn is_internal(&self) -> bool {
        matches!(&*self.0, "__consumer_offsets" | "__transaction_state")
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Id of a topic, unique for ever: a topic deleted and created again under one name has another
/// (I23).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub Uuid);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Index of a partition within its topic, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PartitionIndex(pub i32);

impl fmt::Display for PartitionIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One partition of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition within it.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// Joins the two.
    pub const fn new(topic_id: TopicId, partition: PartitionIndex) -> Self {
        Self {
            topic_id,
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic_id, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        for good in ["a", "A.b_c-9", &"x".repeat(249)] {
            assert_eq!(TopicName::new(good).expect(good).as_str(), good);
        }
        assert_eq!(TopicName::new(""), Err(InvalidTopicName::Empty));
        assert_eq!(TopicName::new(".."), Err(InvalidTopicName::Dots));
        assert_eq!(TopicName::new("a/b"), Err(InvalidTopicName::Character('/')));
        assert_eq!(
            TopicName::new("größe"),
            Err(InvalidTopicName::Character('ö'))
        );
        assert_eq!(
            TopicName::new(&"x".repeat(250)),
            Err(InvalidTopicName::TooLong(250))
        );
    }

    #[test]
    fn dots_and_underscores_collide() {
        let key = |name| TopicName::new(name).expect(name).collision_key();
        assert_eq!(key("a.b"), key("a_b"));
        assert_ne!(key("a-b"), key("a_b"));
    }
}
