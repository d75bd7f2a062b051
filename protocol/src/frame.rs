//! The length prefix that delimits requests and responses, checked before anything is allocated for them.
//!
//! ```text
//! +----------------+------------------------------+
//! | length, int32  | header and body, length bytes |
//! +----------------+------------------------------+
//! ```

use thiserror::Error;

/// Bytes of the length prefix.
pub const PREFIX_BYTES: usize = crate::writer::PREFIX_BYTES;

/// Kafka's default for the largest request that a broker accepts, `socket.request.max.bytes`: 100 MiB.
pub const REQUEST_BYTES_MAX_DEFAULT: usize = 100 << 20;

/// The least that a request can have: api key, api version and correlation id.
const REQUEST_BYTES_MIN: usize = 8;

/// Why a length prefix is refused. The connection cannot be used any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// An HTTP client talks to the Kafka port.
    #[error(
        "this looks like an HTTP request: a browser, a proxy or a health check is pointed at the Kafka port"
    )]
    Http,
    /// A client with TLS talks to a port without.
    #[error("this looks like a TLS handshake: the client uses TLS, but this listener does not")]
    Tls,
    /// A negative length.
    #[error("negative frame length {0}: this is not Kafka's protocol")]
    Negative(i32),
    /// Too short for any header.
    #[error("frame length {0} is too short for a request: this is not Kafka's protocol")]
    TooShort(usize),
    /// Longer than the limit.
    #[error(
        "frame of {length} bytes is larger than the limit of {limit} bytes (socket.request.max.bytes)"
    )]
    TooLarge {
        /// Bytes that the prefix announces.
        length: usize,
        /// The limit it was checked against, in bytes.
        limit: usize,
    },
}

/// The length in the prefix of a request, if a request of that length may be read.
pub fn request_length(prefix: [u8; PREFIX_BYTES], limit: usize) -> Result<usize, FrameError> {
    let length = checked_length(prefix, limit)?;
    if length < REQUEST_BYTES_MIN {
        return Err(FrameError::TooShort(length));
    }
    Ok(length)
}

/// The length in the prefix of a response, if a response of that length may be read.
pub fn response_length(prefix: [u8; PREFIX_BYTES], limit: usize) -> Result<usize, FrameError> {
    checked_length(prefix, limit)
}

fn checked_length(prefix: [u8; PREFIX_BYTES], limit: usize) -> Result<usize, FrameError> {
    let signed = i32::from_be_bytes(prefix);
    let length = usize::try_from(signed).map_err(|_| FrameError::Negative(signed))?;
    if length > limit {
        // Only what is refused anyway is guessed at: a limit may be so high that these are true lengths.
        return Err(foreign_protocol(prefix).unwrap_or(FrameError::TooLarge { length, limit }));
    }
    Ok(length)
}

/// The protocols that reach a Kafka port by mistake most often, by their first four bytes.
fn foreign_protocol(prefix: [u8; PREFIX_BYTES]) -> Option<FrameError> {
    const HTTP: [&[u8; 4]; 9] = [
        b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"OPTI", b"PATC", b"CONN", b"PRI ",
    ];
    if HTTP.contains(&&prefix) {
        return Some(FrameError::Http);
    }
    // A TLS record: type handshake (22), version 3.0 to 3.3; SSL 3.0 and TLS 1.0 are what hellos say.
    matches!(prefix, [0x16, 0x03, 0..=4, _]).then_some(FrameError::Tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = REQUEST_BYTES_MAX_DEFAULT;

    #[test]
    fn lengths_up_to_the_limit_pass() {
        assert_eq!(request_length([0, 0, 0, 8], LIMIT), Ok(8));
        assert_eq!(
            request_length((LIMIT as i32).to_be_bytes(), LIMIT),
            Ok(LIMIT)
        );
    }

    #[test]
    fn what_is_refused_is_named() {
        let over = FrameError::TooLarge {
            length: LIMIT + 1,
            limit: LIMIT,
        };
        for (prefix, error) in [
            (*b"GET ", FrameError::Http),
            (*b"POST", FrameError::Http),
            ([0x16, 3, 1, 2], FrameError::Tls),
            ([0xff; 4], FrameError::Negative(-1)),
            ([0x80, 0, 0, 0], FrameError::Negative(i32::MIN)),
            ([0, 0, 0, 7], FrameError::TooShort(7)),
            ((LIMIT as i32 + 1).to_be_bytes(), over),
        ] {
            assert_eq!(request_length(prefix, LIMIT), Err(error));
        }
    }

    #[test]
    fn a_limit_above_the_look_alikes_makes_them_lengths() {
        assert_eq!(request_length(*b"GET ", i32::MAX as usize), Ok(0x4745_5420));
    }
}
