//! Bytes on a socket, for what no well-behaved client sends.

use std::io;
use std::net::SocketAddr;

use alluvium_protocol::messages::RequestHeader;
use alluvium_protocol::{ApiKey, Message, Request, Writer};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::broker::PATIENCE;

/// Largest answer read, in bytes.
const ANSWER_BYTES_MAX: usize = 128 << 20;

/// A socket to a broker.
#[derive(Debug)]
pub struct RawConnection {
    /// For whatever the helpers do not do.
    pub stream: TcpStream,
}

impl RawConnection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        Self { stream }
    }

    /// Sends bytes as they are. The broker may close the connection before it has taken all of them.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _closed = timeout(PATIENCE, self.stream.write_all(bytes))
            .await
            .expect("bytes are taken");
    }

    /// Sends bytes with their length before them.
    pub async fn send_frame(&mut self, body: &[u8]) {
        let mut frame = BytesMut::new();
        frame.put_i32(i32::try_from(body.len()).expect("a short body"));
        frame.put_slice(body);
        self.send(&frame).await;
    }

    /// The body of the next answer, correlation id first.
    pub async fn receive_frame(&mut self) -> io::Result<Bytes> {
        timeout(PATIENCE, self.read_frame())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn read_frame(&mut self) -> io::Result<Bytes> {
        let length = usize::try_from(self.stream.read_i32().await?);
        let length = length.ok().filter(|length| *length <= ANSWER_BYTES_MAX);
        let length = length.ok_or(io::ErrorKind::InvalidData)?;
        let mut body = BytesMut::zeroed(length);
        self.stream.read_exact(&mut body).await?;
        Ok(body.freeze())
    }

    /// Waits until the broker closes the connection, and returns what it sent before.
    pub async fn closed(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // Closing with unread bytes on the broker's side resets the connection: just as closed.
        let _reset = timeout(PATIENCE, self.stream.read_to_end(&mut rest))
            .await
            .expect("the broker closes the connection");
        rest
    }
}

/// Header and body of a request, without the length prefix.
pub fn request_bytes<R: Request>(request: &R, version: i16, correlation_id: i32) -> Vec<u8> {
    let mut bytes = header_bytes(R::API_KEY.code(), version, correlation_id, R::API_KEY);
    let mut writer = Writer::new();
    request.encode(&mut writer, version).expect("encodes");
    bytes.extend_from_slice(&writer.into_bytes());
    bytes
}

/// A request header with any api key and version, written as `like` writes it.
pub fn header_bytes(api_key: i16, version: i16, correlation_id: i32, like: ApiKey) -> Vec<u8> {
    let header = RequestHeader {
        request_api_key: api_key,
        request_api_version: version,
        correlation_id,
        client_id: Some("alluvium-tests".into()),
    };
    let mut writer = Writer::new();
    header
        .encode(&mut writer, like.request_header_version(version))
        .expect("encodes");
    writer.into_bytes().to_vec()
}
