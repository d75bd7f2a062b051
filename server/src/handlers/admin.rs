//! What the administrative handlers have in common.

use std::sync::Arc;

use alluvium_cache::log::Logs;
use alluvium_common::topic::TopicName;
use alluvium_metadata::model::TopicRecord;
use alluvium_metadata::topics::TopicError;
use alluvium_metadata::view::ClusterView;
use alluvium_protocol::{ErrorCode, StrBytes};

use crate::broker::{Broker, Identity};
use crate::config::Loaded;
use crate::error_map;
use crate::placement_service::{PlacementError, PlacementService};
use crate::publication_service::PublicationService;
use crate::tiers::Tiers;
use crate::topic_service::TopicService;

/// What an administrative handler needs of a broker.
#[derive(Clone, Copy)]
pub struct Admin<'a> {
    /// Changes topics.
    pub topics: &'a TopicService,
    /// Changes placement.
    pub placement: &'a PlacementService,
    /// Asks for topics to be published.
    pub publications: &'a PublicationService,
    /// The cluster as known now.
    pub view: &'a ClusterView,
    /// The logs of the partitions served here.
    pub logs: &'a Logs,
    /// Settings.
    pub loaded: &'a Loaded,
    /// Who this is.
    pub identity: &'a Identity,
    /// What the places of its records are called.
    pub tiers: &'a Tiers,
}

impl<'a> From<&'a Broker> for Admin<'a> {
    fn from(broker: &'a Broker) -> Self {
        Self {
            topics: &broker.topics,
            placement: &broker.placement,
            publications: &broker.publications,
            view: &broker.view,
            logs: &broker.logs,
            loaded: &broker.loaded,
            identity: &broker.identity,
            tiers: &broker.tiers,
        }
    }
}

/// Why a part of a request is refused, as the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl From<TopicError> for Refusal {
    fn from(error: TopicError) -> Self {
        Self::new(error_map::topic(&error), error.to_string())
    }
}

impl From<PlacementError> for Refusal {
    fn from(error: PlacementError) -> Self {
        Self::new(error_map::placement(&error), error.to_string())
    }
}

/// Code and message of a result, for responses that carry both.
pub fn outcome<T>(result: &Result<T, Refusal>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(_) => (ErrorCode::None.code(), None),
        Err(refusal) => (refusal.code.code(), Some(refusal.message.clone().into())),
    }
}

/// A valid topic name, which clients may change.
pub fn topic_name(name: &str) -> Result<TopicName, Refusal> {
    let name = TopicName::new(name)
        .map_err(|error| Refusal::new(ErrorCode::InvalidTopicException, error.to_string()))?;
    if name.is_internal() {
        let message = format!("topic '{name}' is internal");
        return Err(Refusal::new(ErrorCode::InvalidTopicException, message));
    }
    Ok(name)
}

/// A topic of this name, whatever it is. A store that does not answer is no proof that there is none.
pub async fn topic_named(admin: &Admin<'_>, name: &str) -> Result<Arc<TopicRecord>, Refusal> {
    // What cannot be a name is the name of no topic.
    let name = TopicName::new(name).map_err(|_| TopicError::Unknown)?;
    Ok(admin.topics.find(&name).await?)
}

/// What occurs more than once in a request that must name everything once.
pub fn repeated<K: Ord + Clone>(names: impl Iterator<Item = K>) -> std::collections::BTreeSet<K> {
    let mut seen = std::collections::BTreeSet::new();
    names.filter(|name| !seen.insert(name.clone())).collect()
}
