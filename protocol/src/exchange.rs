//! Whole requests and responses: header and body together.

use bytes::Bytes;

use crate::{ApiKey, DecodeError, EncodeError, Message, Reader, Request, StrBytes, Writer, header};

/// A request as a client sends it, length prefix first, in pieces for a vectored write.
pub fn encode_request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&StrBytes>,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut writer = Writer::new();
    header::write_request(&mut writer, R::API_KEY, version, correlation_id, client_id)?;
    request.encode(&mut writer, version)?;
    writer.into_frame()
}

/// A response as a broker sends it, length prefix first, in pieces for a vectored write.
///
/// `version` is that of the body. To answer an ApiVersions request of a version nobody knows, encode version 0.
pub fn encode_response<M: Message>(
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    body: &M,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut writer = Writer::new();
    header::write_response(&mut writer, api, version, correlation_id)?;
    body.encode(&mut writer, version)?;
    writer.into_frame()
}

/// The body of a request, from a reader that stands behind the header.
///
/// As Kafka's broker does, bytes that follow the body are ignored.
pub fn decode_body<M: Message>(reader: &mut Reader, version: i16) -> Result<M, DecodeError> {
    M::decode(reader, version)
}

/// Correlation id and body of the response to a request `R` in `version`; the frame is without its length prefix.
pub fn decode_response<R: Request>(
    frame: Bytes,
    version: i16,
) -> Result<(i32, R::Response), DecodeError> {
    let (header, mut reader) = header::read_response(frame, R::API_KEY, version)?;
    let body = R::Response::decode(&mut reader, version)?;
    reader.finish()?;
    Ok((header.correlation_id, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{ApiVersionsRequest, ApiVersionsResponse};

    #[test]
    fn a_request_and_its_response_make_the_round() {
        let request = ApiVersionsRequest {
            client_software_name: "me".into(),
            ..Default::default()
        };
        let frame = encode_request(&request, 3, 4, Some(&"id".into()))
            .unwrap()
            .concat();
        assert_eq!(frame[..4], (frame.len() as i32 - 4).to_be_bytes());
        let (api, header, mut reader) =
            header::read_request(Bytes::from(frame).slice(4..)).unwrap();
        assert_eq!((api, header.correlation_id), (ApiKey::ApiVersions, 4));
        assert_eq!(
            decode_body::<ApiVersionsRequest>(&mut reader, 3).unwrap(),
            request
        );

        let response = ApiVersionsResponse {
            error_code: 35,
            ..Default::default()
        };
        let frame = encode_response(api, 0, header.correlation_id, &response)
            .unwrap()
            .concat();
        // Length, correlation id, error code, and an empty array: nothing that an old client would not know.
        assert_eq!(frame, [0, 0, 0, 10, 0, 0, 0, 4, 0, 35, 0, 0, 0, 0]);
        let back = decode_response::<ApiVersionsRequest>(Bytes::from(frame).slice(4..), 0).unwrap();
        assert_eq!(back, (4, response));
    }
}
