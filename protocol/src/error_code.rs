//! Kafka's error codes: numbers, names, whether a client may retry, and a message in our words.

use std::fmt;

mod table;

pub use table::ErrorCode;

impl ErrorCode {
    /// The number on the wire.
    pub fn code(self) -> i16 {
        self.into()
    }

    /// Whether this is no error.
    pub fn is_none(self) -> bool {
        self == ErrorCode::None
    }

    /// Whether this is an error.
    pub fn is_error(self) -> bool {
        !self.is_none()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.name(), self.code(), self.message())
    }
}

impl std::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back() {
        for number in i16::MIN..=i16::MAX {
            assert_eq!(ErrorCode::from(number).code(), number);
        }
    }

    #[test]
    fn numbers_are_those_of_kafka() {
        assert_eq!(ErrorCode::UnknownServerError.code(), -1);
        assert_eq!(ErrorCode::None.code(), 0);
        assert_eq!(ErrorCode::UnsupportedVersion.code(), 35);
        assert_eq!(ErrorCode::InvalidRecord.code(), 87);
        assert_eq!(ErrorCode::ControllerIdNotRegistered.code(), 136);
        assert_eq!(ErrorCode::from(500), ErrorCode::Unrecognized(500));
    }

    #[test]
    fn names_are_those_of_kafka() {
        assert_eq!(
            ErrorCode::NotLeaderOrFollower.name(),
            "NOT_LEADER_OR_FOLLOWER"
        );
        assert_eq!(
            ErrorCode::InvalidTopicException.name(),
            "INVALID_TOPIC_EXCEPTION"
        );
        assert_eq!(ErrorCode::Unrecognized(500).name(), "UNRECOGNIZED");
    }

    #[test]
    fn only_errors_that_may_pass_are_retriable() {
        assert!(ErrorCode::NotLeaderOrFollower.is_retriable());
        assert!(ErrorCode::CoordinatorLoadInProgress.is_retriable());
        assert!(!ErrorCode::MessageTooLarge.is_retriable());
        assert!(!ErrorCode::None.is_retriable());
        assert!(!ErrorCode::Unrecognized(500).is_retriable());
    }
}
