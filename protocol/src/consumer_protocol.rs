//! What consumers of the classic group protocol tell each other: the `metadata` of JoinGroup, the `assignment` of
//! SyncGroup.
//!
//! To the coordinator these are bytes, but Kafka's opens them where it has to know topics: OffsetDelete, for one, must
//! refuse topics that the group is subscribed to. Both begin with their version. A version newer than ours is read as
//! ours, which Kafka's schema promises to work; what it adds stands at the end and is ignored.

use bytes::Bytes;

pub use crate::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use crate::{DecodeError, DecodeErrorKind, EncodeError, Message, Reader, Writer};

/// The protocol type in JoinGroup of members that use these messages.
pub const PROTOCOL_TYPE: &str = "consumer";

/// Reads a [`ConsumerProtocolSubscription`] or [`ConsumerProtocolAssignment`] with its version.
pub fn decode<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    if version < M::MIN_VERSION {
        return Err(reader.error(DecodeErrorKind::UnsupportedVersion {
            message: M::NAME,
            version,
        }));
    }
    M::decode(&mut reader, version.min(M::MAX_VERSION))
}

/// Writes a [`ConsumerProtocolSubscription`] or [`ConsumerProtocolAssignment`] in `version`, with the version.
pub fn encode<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(version);
    message.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription() -> ConsumerProtocolSubscription {
        ConsumerProtocolSubscription {
            topics: vec!["a".into(), "b".into()],
            ..Default::default()
        }
    }

    #[test]
    fn subscriptions_make_the_round_in_every_version() {
        for version in 0..=ConsumerProtocolSubscription::MAX_VERSION {
            let bytes = encode(&subscription(), version).unwrap();
            assert_eq!(bytes[..2], version.to_be_bytes());
            assert_eq!(
                decode::<ConsumerProtocolSubscription>(bytes).unwrap(),
                subscription()
            );
        }
    }

    #[test]
    fn a_newer_version_is_read_as_the_newest_known() {
        let mut bytes = encode(&subscription(), 3).unwrap().to_vec();
        bytes[1] = 99;
        bytes.extend(b"what version 99 adds");
        assert_eq!(
            decode::<ConsumerProtocolSubscription>(bytes.into()).unwrap(),
            subscription()
        );
    }

    #[test]
    fn a_negative_version_is_refused() {
        let bytes = Bytes::from_static(&[0xff, 0xff, 0, 0, 0, 0]);
        assert!(decode::<ConsumerProtocolSubscription>(bytes).is_err());
    }
}
