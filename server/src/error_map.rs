//! The one way from errors of the domain to Kafka's error codes.

use alluvium_cache::segment_cache::CacheError;
use alluvium_cache::tail::CloseReason;
use alluvium_common::error::{ErrorKind, Outcome};
use alluvium_ingest::error::AppendError;
use alluvium_ingest::producer_state::SequenceError;
use alluvium_metadata::compaction::RequestError;
use alluvium_metadata::coordinator::GroupError;
use alluvium_metadata::store::StoreError;
use alluvium_metadata::topics::TopicError;
use alluvium_protocol::ErrorCode;
use alluvium_query::ReadError;
use alluvium_query::fetch::session::SessionError;

use crate::placement_service::PlacementError;

/// An append. Where the batch may yet become visible, the code is one that clients take as unknown.
pub fn append(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::NotLeader(_) => ErrorCode::NotLeaderOrFollower,
        AppendError::Deleted(_) => ErrorCode::UnknownTopicOrPartition,
        AppendError::Corrupt(_) => ErrorCode::CorruptMessage,
        AppendError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        AppendError::UnsupportedCodec(_) => ErrorCode::UnsupportedCompressionType,
        // Kafka's word for old formats too, from Produce version 3 on.
        AppendError::InvalidRecord { .. } | AppendError::UnsupportedMagic(_) => {
            ErrorCode::InvalidRecord
        }
        AppendError::InvalidTimestamp { .. } => ErrorCode::InvalidTimestamp,
        AppendError::Sequence(SequenceError::OutOfOrder { .. }) => {
            ErrorCode::OutOfOrderSequenceNumber
        }
        AppendError::Sequence(SequenceError::InvalidEpoch { .. }) => {
            ErrorCode::InvalidProducerEpoch
        }
        AppendError::InvalidTransactionState => ErrorCode::InvalidTxnState,
        AppendError::Storage {
            outcome: Outcome::NotDone,
            ..
        } => ErrorCode::KafkaStorageError,
        AppendError::Storage {
            outcome: Outcome::Unknown,
            ..
        } => ErrorCode::RequestTimedOut,
    }
}

/// A read of a partition that the metadata knows.
pub fn read(error: &ReadError) -> ErrorCode {
    match error {
        // Who cannot prove that it leads does not say that it does (F3); clients ask again, here or elsewhere.
        ReadError::UnknownPartition
        | ReadError::EndUnknown
        | ReadError::Closed(CloseReason::NotLeader) => ErrorCode::NotLeaderOrFollower,
        ReadError::Closed(CloseReason::Deleted) => ErrorCode::UnknownTopicOrPartition,
        ReadError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::OffsetNotAvailable => ErrorCode::OffsetNotAvailable,
        ReadError::FencedLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
        ReadError::UnknownLeaderEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
        // Clients show this one to their users instead of asking again for ever.
        ReadError::Segment(CacheError::Corrupt { .. }) | ReadError::Batch(_) => {
            ErrorCode::CorruptMessage
        }
        ReadError::Segment(_) | ReadError::WriteAheadLog(_) => ErrorCode::KafkaStorageError,
        ReadError::Internal(_) => ErrorCode::UnknownServerError,
    }
}

/// A fetch session.
pub fn fetch_session(error: SessionError) -> ErrorCode {
    match error {
        SessionError::IdNotFound => ErrorCode::FetchSessionIdNotFound,
        SessionError::InvalidEpoch => ErrorCode::InvalidFetchSessionEpoch,
        SessionError::TopicId => ErrorCode::FetchSessionTopicIdError,
    }
}

/// A change of a topic.
pub fn topic(error: &TopicError) -> ErrorCode {
    match error {
        TopicError::Exists(_) => ErrorCode::TopicAlreadyExists,
        TopicError::Collides(..) => ErrorCode::InvalidTopicException,
        TopicError::Unknown | TopicError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        TopicError::InvalidPartitions(_) => ErrorCode::InvalidPartitions,
        TopicError::InvalidConfig(_) => ErrorCode::InvalidConfig,
        TopicError::Fenced => ErrorCode::NotController,
        TopicError::Unreadable(_) => ErrorCode::UnknownServerError,
        TopicError::Store(error) => store(error),
    }
}

/// A wish about placement.
pub fn placement(error: &PlacementError) -> ErrorCode {
    match error {
        PlacementError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        PlacementError::UnknownBroker(_) | PlacementError::Drained(_) => {
            ErrorCode::InvalidReplicaAssignment
        }
        PlacementError::NoLeader => ErrorCode::LeaderNotAvailable,
        PlacementError::NotMoving => ErrorCode::NoReassignmentInProgress,
        PlacementError::Contended => ErrorCode::RequestTimedOut,
        PlacementError::Fenced => ErrorCode::NotController,
        PlacementError::Unreadable(_) => ErrorCode::UnknownServerError,
        PlacementError::Store(error) => store(error),
    }
}

/// A wish that a topic be published, asked of the leader of one of its partitions.
pub fn publication(error: &RequestError) -> ErrorCode {
    match error {
        // Whose session is over leads nothing; clients ask again, elsewhere.
        RequestError::Fenced => ErrorCode::ReplicaNotAvailable,
        RequestError::Store(error) => store(error),
    }
}

/// A call to the metadata store.
pub fn store(error: &StoreError) -> ErrorCode {
    match error.kind() {
        ErrorKind::Retry | ErrorKind::Refresh => ErrorCode::RequestTimedOut,
        ErrorKind::GiveUp | ErrorKind::Fenced | ErrorKind::BadData => ErrorCode::UnknownServerError,
    }
}

/// A group request.
pub fn group(error: GroupError) -> ErrorCode {
    match error {
        GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
        GroupError::GroupIdNotFound => ErrorCode::GroupIdNotFound,
        GroupError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
        GroupError::GroupSubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
        GroupError::UnknownMemberId => ErrorCode::UnknownMemberId,
        GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
        GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupError::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
        GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
        GroupError::FencedInstanceId => ErrorCode::FencedInstanceId,
        GroupError::GroupMaxSizeReached => ErrorCode::GroupMaxSizeReached,
        GroupError::OffsetMetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
        GroupError::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
        GroupError::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
        GroupError::NotCoordinator => ErrorCode::NotCoordinator,
        // As Kafka answers where a group's record is larger than its log takes.
        GroupError::StateTooLarge => ErrorCode::UnknownServerError,
    }
}

/// The same for what may have succeeded.
pub fn group_result<T>(result: Result<T, GroupError>) -> ErrorCode {
    result.err().map_or(ErrorCode::None, group)
}
