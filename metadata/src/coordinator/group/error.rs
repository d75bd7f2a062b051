//! What a group request can be answered with when it fails.

/// Kafka's conditions, under Kafka's names; the server maps them to error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum GroupError {
    /// The group id is empty where a name is needed.
    #[error("the group id is invalid")]
    InvalidGroupId,
    /// No such group. OffsetCommit before version 9 reports it as an illegal generation.
    #[error("the group does not exist")]
    GroupIdNotFound,
    /// The group has members, so it (or offsets it may be using) cannot be deleted.
    #[error("the group is not empty")]
    NonEmptyGroup,
    /// The group's members are subscribed to the topic whose offsets should be deleted.
    #[error("the group is actively subscribed to the topic")]
    GroupSubscribedToTopic,
    /// The coordinator does not know this member (any more): join again without a member id.
    #[error("the coordinator is not aware of this member")]
    UnknownMemberId,
    /// The generation of the request is not the group's.
    #[error("the generation is not the current one")]
    IllegalGeneration,
    /// The group is rebalancing: join again.
    #[error("the group is rebalancing, so a rejoin is needed")]
    RebalanceInProgress,
    /// Protocol type or protocols do not fit those of the other members.
    #[error("the member's protocols do not fit the group's")]
    InconsistentGroupProtocol,
    /// Outside of `group.min.session.timeout.ms` to `group.max.session.timeout.ms`.
    #[error("the session timeout is outside of the allowed range")]
    InvalidSessionTimeout,
    /// Join again with the member id of this answer (KIP-394).
    #[error("join again with the given member id")]
    MemberIdRequired,
    /// Another client took this static member's instance id over (KIP-345).
    #[error("the group instance id belongs to another member id by now")]
    FencedInstanceId,
    /// `group.max.size` members are in the group already.
    #[error("the group has reached its maximum size")]
    GroupMaxSizeReached,
    /// The commit's metadata is longer than `offset.metadata.max.bytes`.
    #[error("the offset's metadata is too large")]
    OffsetMetadataTooLarge,
    /// Passing trouble, outcome of a write possibly unknown: find the coordinator and retry.
    #[error("the coordinator is not available")]
    CoordinatorNotAvailable,
    /// This broker coordinates the group and is still reading it from the store: ask it again.
    #[error("the coordinator is loading the group")]
    CoordinatorLoadInProgress,
    /// This broker does not coordinate the group (any more): find the one that does.
    #[error("this is not the group's coordinator")]
    NotCoordinator,
    /// What would have to be stored is larger than the store takes.
    #[error("the group's state is too large to be stored")]
    StateTooLarge,
}
