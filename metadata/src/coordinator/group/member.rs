//! One member of a group.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::ids::{InstanceId, MemberId, WaiterId};
use super::record::MemberRecord;
use super::request::{JoinRequest, JoinedMember, Protocol};

/// A member and the requests of it that wait for an answer.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub id: MemberId,
    pub instance_id: Option<InstanceId>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    /// In the member's order of preference; no name stands twice.
    pub protocols: Vec<Protocol>,
    pub assignment: Bytes,
    /// Has joined but not yet been told so: its client cannot send heartbeats.
    pub is_new: bool,
    /// Changed only by the group, which counts the waiting members.
    pub awaiting_join: Option<WaiterId>,
    pub awaiting_sync: Option<WaiterId>,
}

impl Member {
    pub fn joining(id: MemberId, request: &JoinRequest) -> Self {
        Self {
            id,
            instance_id: request.instance_id.clone(),
            client_id: request.client_id.clone(),
            client_host: request.client_host.clone(),
            session_timeout: request.session_timeout,
            rebalance_timeout: request.rebalance_timeout,
            protocols: distinct(&request.protocols),
            assignment: Bytes::new(),
            is_new: true,
            awaiting_join: None,
            awaiting_sync: None,
        }
    }

    /// A stored member supports, until it joins again, the one protocol that was stored of it.
    pub fn loaded(record: MemberRecord, protocol: Option<&str>) -> Self {
        let protocols = protocol.map(|name| Protocol {
            name: name.to_owned(),
            metadata: record.subscription,
        });
        Self {
            id: record.member_id,
            instance_id: record.instance_id,
            client_id: record.client_id,
            client_host: record.client_host,
            session_timeout: record.session_timeout,
            rebalance_timeout: record.rebalance_timeout,
            protocols: protocols.into_iter().collect(),
            assignment: record.assignment,
            is_new: false,
            awaiting_join: None,
            awaiting_sync: None,
        }
    }

    pub fn record(&self, protocol: Option<&str>, assignment: Bytes) -> MemberRecord {
        MemberRecord {
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            session_timeout: self.session_timeout,
            rebalance_timeout: self.rebalance_timeout,
            subscription: self.metadata(protocol),
            assignment,
        }
    }

    /// As the leader is told of it.
    pub fn joined(&self, protocol: Option<&str>) -> JoinedMember {
        JoinedMember {
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            metadata: self.metadata(protocol),
        }
    }

    /// The metadata for `protocol`; empty when the member does not support it.
    pub fn metadata(&self, protocol: Option<&str>) -> Bytes {
        self.protocols
            .iter()
            .find(|own| Some(own.name.as_str()) == protocol)
            .map(|own| own.metadata.clone())
            .unwrap_or_default()
    }

    /// Whether a JoinGroup with `protocols` would change nothing.
    pub fn matches(&self, protocols: &[Protocol]) -> bool {
        self.protocols == distinct(protocols)
    }

    /// The candidate it likes best.
    pub fn vote<'a>(&'a self, candidates: &BTreeSet<&str>) -> Option<&'a str> {
        self.protocols
            .iter()
            .map(|own| own.name.as_str())
            .find(|name| candidates.contains(name))
    }

    /// Whether silence until now is no fault of its: an answer to it is pending on our side.
    pub fn may_be_silent(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }
}

/// Protocols without those whose name came before, which Kafka's request type drops too.
pub(super) fn distinct(protocols: &[Protocol]) -> Vec<Protocol> {
    let mut seen = BTreeSet::new();
    protocols
        .iter()
        .filter(|protocol| seen.insert(protocol.name.as_str()))
        .cloned()
        .collect()
}
