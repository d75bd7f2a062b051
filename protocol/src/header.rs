//! What precedes every request and every response.

use bytes::Bytes;

pub use crate::messages::{RequestHeader, ResponseHeader};
use crate::{
    ApiKey, DecodeError, DecodeErrorKind, EncodeError, Message, Reader, UnknownApiKey, Writer,
};
use thiserror::Error;

/// Why a frame does not begin with a request's header. The connection has to be closed: without a known API and
/// version there is no way to answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// No API that a broker's listener knows. Kafka's broker closes the connection too.
    #[error(transparent)]
    UnknownApi(#[from] UnknownApiKey),
    /// The header itself is malformed.
    #[error("malformed request header: {0}")]
    Malformed(#[from] DecodeError),
}

/// Reads the header of the request in `frame`, and leaves the reader at the body.
///
/// The version in the header may be one that this crate does not support; ApiVersions then wants an answer in
/// version 0, every other API a closed connection (KIP-511).
pub fn read_request(frame: Bytes) -> Result<(ApiKey, RequestHeader, Reader), HeaderError> {
    let mut start = Reader::new(frame.clone());
    let api = ApiKey::try_from(start.i16()?)?;
    let version = start.i16()?;
    let mut reader = Reader::new(frame);
    let header = RequestHeader::decode(&mut reader, api.request_header_version(version))?;
    Ok((api, header, reader))
}

/// Writes the header of a request, without the body.
pub fn write_request(
    writer: &mut Writer,
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    client_id: Option<&crate::StrBytes>,
) -> Result<(), EncodeError> {
    let header = RequestHeader {
        request_api_key: api.code(),
        request_api_version: version,
        correlation_id,
        client_id: client_id.cloned(),
    };
    header.encode(writer, api.request_header_version(version))
}

/// Reads the header of a response to a request of `api` in `version`, and leaves the reader at the body.
pub fn read_response(
    frame: Bytes,
    api: ApiKey,
    version: i16,
) -> Result<(ResponseHeader, Reader), DecodeError> {
    let mut reader = Reader::new(frame);
    let header = ResponseHeader::decode(&mut reader, api.response_header_version(version))?;
    Ok((header, reader))
}

/// Writes the header of a response to a request of `api` in `version`, without the body.
pub fn write_response(
    writer: &mut Writer,
    api: ApiKey,
    version: i16,
    correlation_id: i32,
) -> Result<(), EncodeError> {
    ResponseHeader { correlation_id }.encode(writer, api.response_header_version(version))
}

impl HeaderError {
    /// Whether the frame ended before the header did.
    pub fn is_truncated(&self) -> bool {
        matches!(self, Self::Malformed(error) if matches!(error.kind, DecodeErrorKind::Truncated { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StrBytes;

    fn header_bytes(api: ApiKey, version: i16) -> Bytes {
        let mut writer = Writer::new();
        write_request(&mut writer, api, version, 9, Some(&StrBytes::from("me"))).unwrap();
        writer.into_bytes()
    }

    #[test]
    fn request_headers_come_back_in_both_versions() {
        for (version, len) in [(8, 12), (9, 13)] {
            let bytes = header_bytes(ApiKey::Produce, version);
            assert_eq!(bytes.len(), len);
            let (api, header, reader) = read_request(bytes).unwrap();
            assert_eq!(
                (api, header.request_api_version, header.correlation_id),
                (ApiKey::Produce, version, 9)
            );
            assert_eq!(header.client_id.as_deref(), Some("me"));
            reader.finish().unwrap();
        }
    }

    #[test]
    fn the_client_id_is_never_compact() {
        assert_eq!(
            &header_bytes(ApiKey::ApiVersions, 3)[8..],
            b"\x00\x02me\x00"
        );
    }

    #[test]
    fn an_unknown_api_is_named() {
        let error = read_request(Bytes::from_static(&[3, 0xe7, 0, 0, 0, 0, 0, 0])).unwrap_err();
        assert_eq!(error.to_string(), "unknown api key 999");
        assert!(
            read_request(Bytes::from_static(&[0]))
                .unwrap_err()
                .is_truncated()
        );
    }

    #[test]
    fn a_version_that_is_not_supported_still_has_a_readable_header() {
        let bytes = Bytes::from_static(b"\x00\x12\x7f\xff\x00\x00\x00\x05\xff\xff\x00rest");
        let (api, header, reader) = read_request(bytes).unwrap();
        assert_eq!(
            (api, header.request_api_version),
            (ApiKey::ApiVersions, i16::MAX)
        );
        assert_eq!(&reader.rest()[..], b"rest");
    }
}
