//! The table. Numbers, names and retriability are those of Kafka's `Errors` and its exceptions.

macro_rules! error_codes {
    ($($variant:ident $code:literal $name:literal $retriable:literal $message:literal)*) => {
        /// An error code of Kafka's protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $(
                #[doc = concat!("`", $name, "` (", stringify!($code), "): ", $message, ".")]
                $variant,
            )*
            /// A number that this crate does not know, as a newer broker may send it. Never retriable.
            Unrecognized(i16),
        }

        impl ErrorCode {
            /// All codes that have a name, by ascending number.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant),*];

            /// Kafka's name of the error.
            pub fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $name,)*
                    ErrorCode::Unrecognized(_) => "UNRECOGNIZED",
                }
            }

            /// Whether Kafka's clients repeat the request by themselves.
            pub fn is_retriable(self) -> bool {
                match self {
                    $(ErrorCode::$variant => $retriable,)*
                    ErrorCode::Unrecognized(_) => false,
                }
            }

            /// What to tell a person when there is nothing more specific to say.
            pub fn message(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $message,)*
                    ErrorCode::Unrecognized(_) => "an error code that this version does not know",
                }
            }
        }

        impl From<i16> for ErrorCode {
            fn from(code: i16) -> Self {
                match code {
                    $($code => ErrorCode::$variant,)*
                    other => ErrorCode::Unrecognized(other),
                }
            }
        }

        impl From<ErrorCode> for i16 {
            fn from(error: ErrorCode) -> i16 {
                match error {
                    $(ErrorCode::$variant => $code,)*
                    ErrorCode::Unrecognized(other) => other,
                }
            }
        }
    };
}

error_codes! {
    UnknownServerError -1 "UNKNOWN_SERVER_ERROR" false "the broker failed in a way it did not expect; its log says more"
    None 0 "NONE" false "no error"
    OffsetOutOfRange 1 "OFFSET_OUT_OF_RANGE" false "the partition has no such offset, or no longer has it"
    CorruptMessage 2 "CORRUPT_MESSAGE" true "the record batch is damaged or its checksum does not match"
    UnknownTopicOrPartition 3 "UNKNOWN_TOPIC_OR_PARTITION" true "there is no such topic or partition"
    InvalidFetchSize 4 "INVALID_FETCH_SIZE" false "the fetch size is not valid"
    LeaderNotAvailable 5 "LEADER_NOT_AVAILABLE" true "the partition has no leader at the moment"
    NotLeaderOrFollower 6 "NOT_LEADER_OR_FOLLOWER" true "this broker does not lead the partition"
    RequestTimedOut 7 "REQUEST_TIMED_OUT" true "the request was not completed in time"
    BrokerNotAvailable 8 "BROKER_NOT_AVAILABLE" false "the broker is not available"
    ReplicaNotAvailable 9 "REPLICA_NOT_AVAILABLE" true "the partition cannot be read here at the moment"
    MessageTooLarge 10 "MESSAGE_TOO_LARGE" false "the record batch is larger than max.message.bytes"
    StaleControllerEpoch 11 "STALE_CONTROLLER_EPOCH" false "another controller has taken over"
    OffsetMetadataTooLarge 12 "OFFSET_METADATA_TOO_LARGE" false "the metadata of the committed offset is too long"
    NetworkException 13 "NETWORK_EXCEPTION" true "the connection ended before the response"
    CoordinatorLoadInProgress 14 "COORDINATOR_LOAD_IN_PROGRESS" true "the coordinator is still loading its state"
    CoordinatorNotAvailable 15 "COORDINATOR_NOT_AVAILABLE" true "there is no coordinator at the moment"
    NotCoordinator 16 "NOT_COORDINATOR" true "this broker is not the coordinator"
    InvalidTopicException 17 "INVALID_TOPIC_EXCEPTION" false "the topic name is not valid"
    RecordListTooLarge 18 "RECORD_LIST_TOO_LARGE" false "the record batch is larger than a segment may be"
    NotEnoughReplicas 19 "NOT_ENOUGH_REPLICAS" true "fewer replicas are in sync than the topic requires"
    NotEnoughReplicasAfterAppend 20 "NOT_ENOUGH_REPLICAS_AFTER_APPEND" true "the records were written to fewer replicas than required"
    InvalidRequiredAcks 21 "INVALID_REQUIRED_ACKS" false "acks must be 0, 1 or -1 (all)"
    IllegalGeneration 22 "ILLEGAL_GENERATION" false "the group is in another generation"
    InconsistentGroupProtocol 23 "INCONSISTENT_GROUP_PROTOCOL" false "the member shares no protocol with the rest of the group"
    InvalidGroupId 24 "INVALID_GROUP_ID" false "the group id is not valid"
    UnknownMemberId 25 "UNKNOWN_MEMBER_ID" false "the group has no such member"
    InvalidSessionTimeout 26 "INVALID_SESSION_TIMEOUT" false "the session timeout is outside of group.min.session.timeout.ms and group.max.session.timeout.ms"
    RebalanceInProgress 27 "REBALANCE_IN_PROGRESS" false "the group is rebalancing; the member has to join again"
    InvalidCommitOffsetSize 28 "INVALID_COMMIT_OFFSET_SIZE" false "the offset commit is too large"
    TopicAuthorizationFailed 29 "TOPIC_AUTHORIZATION_FAILED" false "not authorized for the topic"
    GroupAuthorizationFailed 30 "GROUP_AUTHORIZATION_FAILED" false "not authorized for the group"
    ClusterAuthorizationFailed 31 "CLUSTER_AUTHORIZATION_FAILED" false "not authorized for the cluster"
    InvalidTimestamp 32 "INVALID_TIMESTAMP" false "a record's timestamp is further from the broker's time than the topic allows"
    UnsupportedSaslMechanism 33 "UNSUPPORTED_SASL_MECHANISM" false "the broker does not offer this SASL mechanism"
    IllegalSaslState 34 "ILLEGAL_SASL_STATE" false "the request does not fit the state of authentication"
    UnsupportedVersion 35 "UNSUPPORTED_VERSION" false "the broker does not support this version of the request"
    TopicAlreadyExists 36 "TOPIC_ALREADY_EXISTS" false "a topic of this name exists"
    InvalidPartitions 37 "INVALID_PARTITIONS" false "the number of partitions is not valid"
    InvalidReplicationFactor 38 "INVALID_REPLICATION_FACTOR" false "the replication factor is not valid"
    InvalidReplicaAssignment 39 "INVALID_REPLICA_ASSIGNMENT" false "the replica assignment is not valid"
    InvalidConfig 40 "INVALID_CONFIG" false "a setting is unknown or its value is not valid"
    NotController 41 "NOT_CONTROLLER" true "this broker is not the controller"
    InvalidRequest 42 "INVALID_REQUEST" false "the request contradicts itself or the protocol"
    UnsupportedForMessageFormat 43 "UNSUPPORTED_FOR_MESSAGE_FORMAT" false "records in this format do not support the request"
    PolicyViolation 44 "POLICY_VIOLATION" false "the broker's policy forbids the request"
    OutOfOrderSequenceNumber 45 "OUT_OF_ORDER_SEQUENCE_NUMBER" false "the producer's sequence has a gap"
    DuplicateSequenceNumber 46 "DUPLICATE_SEQUENCE_NUMBER" false "the producer's sequence was seen before"
    InvalidProducerEpoch 47 "INVALID_PRODUCER_EPOCH" false "the producer's epoch is outdated"
    InvalidTxnState 48 "INVALID_TXN_STATE" false "the transaction's state does not allow the operation"
    InvalidProducerIdMapping 49 "INVALID_PRODUCER_ID_MAPPING" false "the producer id does not belong to the transactional id"
    InvalidTransactionTimeout 50 "INVALID_TRANSACTION_TIMEOUT" false "the transaction timeout is larger than transaction.max.timeout.ms"
    ConcurrentTransactions 51 "CONCURRENT_TRANSACTIONS" true "another operation on the transaction is still going on"
    TransactionCoordinatorFenced 52 "TRANSACTION_COORDINATOR_FENCED" false "another transaction coordinator has taken over"
    TransactionalIdAuthorizationFailed 53 "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" false "not authorized for the transactional id"
    SecurityDisabled 54 "SECURITY_DISABLED" false "security is not enabled"
    OperationNotAttempted 55 "OPERATION_NOT_ATTEMPTED" false "not attempted, because another part of the request failed"
    KafkaStorageError 56 "KAFKA_STORAGE_ERROR" true "the storage cannot be read or written"
    LogDirNotFound 57 "LOG_DIR_NOT_FOUND" false "the broker has no such log directory"
    SaslAuthenticationFailed 58 "SASL_AUTHENTICATION_FAILED" false "authentication failed"
    UnknownProducerId 59 "UNKNOWN_PRODUCER_ID" false "the broker knows nothing of the producer id"
    ReassignmentInProgress 60 "REASSIGNMENT_IN_PROGRESS" false "the partition is being reassigned"
    DelegationTokenAuthDisabled 61 "DELEGATION_TOKEN_AUTH_DISABLED" false "delegation tokens are not enabled"
    DelegationTokenNotFound 62 "DELEGATION_TOKEN_NOT_FOUND" false "there is no such delegation token"
    DelegationTokenOwnerMismatch 63 "DELEGATION_TOKEN_OWNER_MISMATCH" false "the delegation token belongs to someone else"
    DelegationTokenRequestNotAllowed 64 "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED" false "delegation tokens cannot be managed over this connection"
    DelegationTokenAuthorizationFailed 65 "DELEGATION_TOKEN_AUTHORIZATION_FAILED" false "not authorized for the delegation token"
    DelegationTokenExpired 66 "DELEGATION_TOKEN_EXPIRED" false "the delegation token has expired"
    InvalidPrincipalType 67 "INVALID_PRINCIPAL_TYPE" false "the principal type is not supported"
    NonEmptyGroup 68 "NON_EMPTY_GROUP" false "the group has members"
    GroupIdNotFound 69 "GROUP_ID_NOT_FOUND" false "there is no such group"
    FetchSessionIdNotFound 70 "FETCH_SESSION_ID_NOT_FOUND" true "the broker does not have this fetch session"
    InvalidFetchSessionEpoch 71 "INVALID_FETCH_SESSION_EPOCH" true "the fetch session is in another epoch"
    ListenerNotFound 72 "LISTENER_NOT_FOUND" true "the leader has no listener like the one that was asked"
    TopicDeletionDisabled 73 "TOPIC_DELETION_DISABLED" false "topics cannot be deleted here"
    FencedLeaderEpoch 74 "FENCED_LEADER_EPOCH" true "the leader epoch is older than the broker's"
    UnknownLeaderEpoch 75 "UNKNOWN_LEADER_EPOCH" true "the leader epoch is newer than the broker's"
    UnsupportedCompressionType 76 "UNSUPPORTED_COMPRESSION_TYPE" false "the client's request version does not know the records' compression"
    StaleBrokerEpoch 77 "STALE_BROKER_EPOCH" false "the broker epoch is outdated"
    OffsetNotAvailable 78 "OFFSET_NOT_AVAILABLE" true "a new leader does not know the offset yet"
    MemberIdRequired 79 "MEMBER_ID_REQUIRED" false "the member has to join again with the member id it was given"
    PreferredLeaderNotAvailable 80 "PREFERRED_LEADER_NOT_AVAILABLE" true "the preferred leader is not available"
    GroupMaxSizeReached 81 "GROUP_MAX_SIZE_REACHED" false "the group has as many members as it may have"
    FencedInstanceId 82 "FENCED_INSTANCE_ID" false "another member has taken over the group instance id"
    EligibleLeadersNotAvailable 83 "ELIGIBLE_LEADERS_NOT_AVAILABLE" true "no broker may lead the partition at the moment"
    ElectionNotNeeded 84 "ELECTION_NOT_NEEDED" true "the partition has the right leader already"
    NoReassignmentInProgress 85 "NO_REASSIGNMENT_IN_PROGRESS" false "the partition is not being reassigned"
    GroupSubscribedToTopic 86 "GROUP_SUBSCRIBED_TO_TOPIC" false "the group is subscribed to the topic"
    InvalidRecord 87 "INVALID_RECORD" false "a record is not valid for its topic"
    UnstableOffsetCommit 88 "UNSTABLE_OFFSET_COMMIT" true "an open transaction holds offsets of the group"
    ThrottlingQuotaExceeded 89 "THROTTLING_QUOTA_EXCEEDED" true "the quota is used up"
    ProducerFenced 90 "PRODUCER_FENCED" false "a newer producer has taken over the transactional id"
    ResourceNotFound 91 "RESOURCE_NOT_FOUND" false "there is no such resource"
    DuplicateResource 92 "DUPLICATE_RESOURCE" false "the request names a resource twice"
    UnacceptableCredential 93 "UNACCEPTABLE_CREDENTIAL" false "the credential does not meet the requirements"
    InconsistentVoterSet 94 "INCONSISTENT_VOTER_SET" false "sender and receiver disagree on who votes"
    InvalidUpdateVersion 95 "INVALID_UPDATE_VERSION" false "the update's version is not valid"
    FeatureUpdateFailed 96 "FEATURE_UPDATE_FAILED" false "the features could not be updated"
    PrincipalDeserializationFailure 97 "PRINCIPAL_DESERIALIZATION_FAILURE" false "the forwarded principal cannot be read"
    SnapshotNotFound 98 "SNAPSHOT_NOT_FOUND" false "there is no such snapshot"
    PositionOutOfRange 99 "POSITION_OUT_OF_RANGE" false "the snapshot has no such position"
    UnknownTopicId 100 "UNKNOWN_TOPIC_ID" true "there is no topic with this id"
    DuplicateBrokerRegistration 101 "DUPLICATE_BROKER_REGISTRATION" false "the broker id is in use"
    BrokerIdNotRegistered 102 "BROKER_ID_NOT_REGISTERED" false "no broker with this id is registered"
    InconsistentTopicId 103 "INCONSISTENT_TOPIC_ID" true "the topic has another id than the request says"
    InconsistentClusterId 104 "INCONSISTENT_CLUSTER_ID" false "the request is meant for another cluster"
    TransactionalIdNotFound 105 "TRANSACTIONAL_ID_NOT_FOUND" false "there is no such transactional id"
    FetchSessionTopicIdError 106 "FETCH_SESSION_TOPIC_ID_ERROR" true "the fetch session mixes topic ids and names"
    IneligibleReplica 107 "INELIGIBLE_REPLICA" false "a replica may not be in sync"
    NewLeaderElected 108 "NEW_LEADER_ELECTED" false "the partition was changed and has a new leader"
    OffsetMovedToTieredStorage 109 "OFFSET_MOVED_TO_TIERED_STORAGE" false "the offset is in tiered storage only"
    FencedMemberEpoch 110 "FENCED_MEMBER_EPOCH" false "the member is fenced; it has to give up its partitions and join again"
    UnreleasedInstanceId 111 "UNRELEASED_INSTANCE_ID" false "another member still holds the group instance id"
    UnsupportedAssignor 112 "UNSUPPORTED_ASSIGNOR" false "the group does not support the assignor"
    StaleMemberEpoch 113 "STALE_MEMBER_EPOCH" false "the member epoch is outdated; the next heartbeat brings the new one"
    MismatchedEndpointType 114 "MISMATCHED_ENDPOINT_TYPE" false "the request was sent to the wrong kind of endpoint"
    UnsupportedEndpointType 115 "UNSUPPORTED_ENDPOINT_TYPE" false "this kind of endpoint is not supported"
    UnknownControllerId 116 "UNKNOWN_CONTROLLER_ID" false "there is no such controller"
    UnknownSubscriptionId 117 "UNKNOWN_SUBSCRIPTION_ID" false "the telemetry subscription is unknown or outdated"
    TelemetryTooLarge 118 "TELEMETRY_TOO_LARGE" false "the telemetry is larger than the broker accepts"
    InvalidRegistration 119 "INVALID_REGISTRATION" false "the broker's registration is not valid"
    TransactionAbortable 120 "TRANSACTION_ABORTABLE" false "the transaction has failed and must be aborted; the producer can go on"
    InvalidRecordState 121 "INVALID_RECORD_STATE" false "the records are not in a state that can be acknowledged"
    ShareSessionNotFound 122 "SHARE_SESSION_NOT_FOUND" true "the broker does not have this share session"
    InvalidShareSessionEpoch 123 "INVALID_SHARE_SESSION_EPOCH" true "the share session is in another epoch"
    FencedStateEpoch 124 "FENCED_STATE_EPOCH" false "the share group's state is in another epoch"
    InvalidVoterKey 125 "INVALID_VOTER_KEY" false "the voter key is not that of the receiver"
    DuplicateVoter 126 "DUPLICATE_VOTER" false "the voter is in the set already"
    VoterNotFound 127 "VOTER_NOT_FOUND" false "the voter is not in the set"
    InvalidRegularExpression 128 "INVALID_REGULAR_EXPRESSION" false "the regular expression is not valid"
    RebootstrapRequired 129 "REBOOTSTRAP_REQUIRED" false "the client has to start again from its bootstrap servers"
    StreamsInvalidTopology 130 "STREAMS_INVALID_TOPOLOGY" false "the topology is not valid"
    StreamsInvalidTopologyEpoch 131 "STREAMS_INVALID_TOPOLOGY_EPOCH" false "the topology epoch is not valid"
    StreamsTopologyFenced 132 "STREAMS_TOPOLOGY_FENCED" false "the topology epoch is outdated"
    ShareSessionLimitReached 133 "SHARE_SESSION_LIMIT_REACHED" true "there are as many share sessions as there may be"
    GroupDeletionFailed 134 "GROUP_DELETION_FAILED" false "a group could not be deleted; its own message says why"
    StreamsTopologyDescriptionUpdateFailed 135 "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED" false "the topology description could not be stored"
    ControllerIdNotRegistered 136 "CONTROLLER_ID_NOT_REGISTERED" false "no controller with this id is registered"
}
