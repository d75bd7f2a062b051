//! What all messages have in common.

use crate::{ApiKey, DecodeError, DecodeErrorKind, EncodeError, Reader, Writer};

/// A message of Kafka's protocol in all its supported versions.
///
/// A struct holds the fields of every version. Reading a version leaves the fields that it lacks at the default
/// which Kafka's schema gives them. Writing follows Kafka too: a field that the version lacks is dropped if the
/// schema calls it ignorable or if it holds its default, and is an error otherwise; tagged fields that hold their
/// default are left out.
pub trait Message: Sized {
    /// Name in Kafka's schemas.
    const NAME: &'static str;
    /// Lowest supported version.
    const MIN_VERSION: i16;
    /// Highest supported version that Kafka has released as stable.
    const MAX_VERSION: i16;

    /// Reads the message, without its header. Bytes that follow are left in the reader.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// Writes the message, without its header. After an error the writer holds part of the message.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;
}

/// A request, with the API that it belongs to and the message that answers it.
pub trait Request: Message {
    /// The API.
    const API_KEY: ApiKey;
    /// What answers it, in the same version.
    type Response: Message;
}

/// The check with which every generated `decode` begins.
pub(crate) fn check_decode<M: Message>(reader: &Reader, version: i16) -> Result<(), DecodeError> {
    if (M::MIN_VERSION..=M::MAX_VERSION).contains(&version) {
        return Ok(());
    }
    Err(reader.error(DecodeErrorKind::UnsupportedVersion {
        message: M::NAME,
        version,
    }))
}

/// The check with which every generated `encode` begins.
pub(crate) fn check_encode<M: Message>(version: i16) -> Result<(), EncodeError> {
    if (M::MIN_VERSION..=M::MAX_VERSION).contains(&version) {
        return Ok(());
    }
    Err(EncodeError::UnsupportedVersion {
        message: M::NAME,
        version,
    })
}

/// A field that `version` lacks holds something that must not be lost.
#[cold]
pub(crate) fn field_not_in_version(field: &'static str, version: i16) -> EncodeError {
    EncodeError::FieldNotInVersion { field, version }
}

/// The value of a field that cannot be null in `version`.
pub(crate) fn not_null<'a, T>(
    value: &'a Option<T>,
    field: &'static str,
    version: i16,
) -> Result<&'a T, EncodeError> {
    value.as_ref().ok_or(EncodeError::Null { field, version })
}
