//! The APIs of Kafka's protocol that a broker's listener can meet.

use std::ops::RangeInclusive;

use thiserror::Error;

pub use crate::messages::api_keys::ApiKey;

/// An API key that no client of a broker sends: garbage, or an API of a newer Kafka or of its controllers only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("unknown api key {0}")]
pub struct UnknownApiKey(pub i16);

/// One API, as its schemas describe it.
pub(crate) struct ApiDescription {
    name: &'static str,
    min_version: i16,
    max_version: i16,
    first_flexible: Option<i16>,
}

impl ApiDescription {
    pub(crate) const fn new(
        name: &'static str,
        min_version: i16,
        max_version: i16,
        first_flexible: Option<i16>,
    ) -> Self {
        Self {
            name,
            min_version,
            max_version,
            first_flexible,
        }
    }
}

impl ApiKey {
    /// The number on the wire.
    pub fn code(self) -> i16 {
        self as i16
    }

    /// Name in Kafka's schemas, without "Request", for instance `OffsetCommit`.
    pub fn name(self) -> &'static str {
        self.describe().name
    }

    /// Versions that this crate reads and writes: all that Kafka has released as stable.
    ///
    /// A server may advertise fewer. It should advertise Produce from version 0, as Kafka does: librdkafka turns
    /// compression off otherwise.
    pub fn valid_versions(self) -> RangeInclusive<i16> {
        let api = self.describe();
        api.min_version..=api.max_version
    }

    /// First version with compact lengths and tagged fields (KIP-482), if there is one.
    pub fn first_flexible_version(self) -> Option<i16> {
        self.describe().first_flexible
    }

    /// Whether `version` has compact lengths and tagged fields.
    pub fn is_flexible(self, version: i16) -> bool {
        self.first_flexible_version()
            .is_some_and(|first| version >= first)
    }

    /// Version of the header before a request: 2 for flexible versions, else 1.
    pub fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// Version of the header before a response: 1 for flexible versions, else 0.
    ///
    /// ApiVersions always has 0: the client does not know yet what the broker understands (KIP-511).
    pub fn response_header_version(self, version: i16) -> i16 {
        i16::from(self != ApiKey::ApiVersions && self.is_flexible(version))
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_from_their_numbers() {
        for key in ApiKey::ALL {
            assert_eq!(ApiKey::try_from(key.code()), Ok(*key));
        }
        assert_eq!(ApiKey::try_from(999), Err(UnknownApiKey(999)));
        assert_eq!(ApiKey::try_from(-1), Err(UnknownApiKey(-1)));
    }

    #[test]
    fn header_versions_follow_flexibility() {
        assert_eq!(ApiKey::Produce.request_header_version(8), 1);
        assert_eq!(ApiKey::Produce.request_header_version(9), 2);
        assert_eq!(ApiKey::Fetch.response_header_version(11), 0);
        assert_eq!(ApiKey::Fetch.response_header_version(12), 1);
        assert_eq!(ApiKey::SaslHandshake.first_flexible_version(), None);
        assert_eq!(ApiKey::SaslHandshake.request_header_version(1), 1);
        assert_eq!(ApiKey::ApiVersions.request_header_version(3), 2);
        assert_eq!(ApiKey::ApiVersions.response_header_version(3), 0);
    }

    #[test]
    fn unstable_versions_are_not_offered() {
        assert_eq!(ApiKey::InitProducerId.valid_versions(), 0..=5);
        assert_eq!(ApiKey::Produce.valid_versions(), 3..=13);
    }
}
