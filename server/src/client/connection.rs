//! One connection to a broker.

use std::collections::HashMap;
use std::time::Duration;

use alluvium_protocol::messages::{ApiVersionsRequest, RequestHeader, ResponseHeader};
use alluvium_protocol::{ApiKey, ErrorCode, Message, Reader, Request, StrBytes, Writer, frame};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Endpoint;

/// Largest response accepted, in bytes: a little above the largest fetch we ask for.
const RESPONSE_BYTES_MAX: usize = 128 << 20;
/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there, or the network is down.
    #[error("cannot connect to {endpoint}: {source}")]
    Connect {
        /// Where.
        endpoint: String,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke. Whether the request was carried out is unknown.
    #[error("the connection broke, and with it the answer: {0}")]
    Io(#[from] std::io::Error),
    /// The broker does not serve the API in any version we know.
    #[error("the broker does not serve {0}")]
    Unsupported(ApiKey),
    /// The broker answered with an error.
    #[error("{what}: {} ({})", code.message(), code.name())]
    Refused {
        /// What the request was about.
        what: String,
        /// The broker's code.
        code: ErrorCode,
    },
    /// The cluster has nobody for it now.
    #[error("{what}")]
    NoLeader {
        /// For what.
        what: String,
    },
    /// It did not pass in time.
    #[error("gave up after {seconds} seconds: {last}")]
    GaveUp {
        /// How long was waited.
        seconds: u64,
        /// What failed last.
        last: Box<ClientError>,
    },
    /// The answer makes no sense.
    #[error("bad answer: {0}")]
    BadAnswer(String),
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    correlation_id: i32,
    versions: HashMap<i16, (i16, i16)>,
    client_id: StrBytes,
}

impl Connection {
    /// Connects and asks for the versions that the broker serves.
    pub async fn open(endpoint: &Endpoint, client_id: &str) -> Result<Self, ClientError> {
        let connecting = TcpStream::connect((endpoint.host.as_str(), endpoint.port));
        let connected = match timeout(CONNECT_PATIENCE, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        };
        let stream = connected.map_err(|source| ClientError::Connect {
            endpoint: endpoint.to_string(),
            source,
        })?;
        stream.set_nodelay(true)?;
        let mut connection = Self {
            stream,
            correlation_id: 0,
            versions: HashMap::new(),
            client_id: StrBytes::copy_of(client_id),
        };
        connection.negotiate().await?;
        Ok(connection)
    }

    async fn negotiate(&mut self) -> Result<(), ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: "alluvium".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
            ..ApiVersionsRequest::default()
        };
        let version = 3;
        let id = self.send_version(&request, version).await?;
        let response = self.receive::<ApiVersionsRequest>(id, version).await?;
        self.versions = response
            .api_keys
            .iter()
            .map(|api| (api.api_key, (api.min_version, api.max_version)))
            .collect();
        Ok(())
    }

    /// The newest version of a request that both sides know.
    pub fn version<R: Request>(&self) -> Result<i16, ClientError> {
        let (min, max) = self
            .versions
            .get(&R::API_KEY.code())
            .ok_or(ClientError::Unsupported(R::API_KEY))?;
        let version = R::MAX_VERSION.min(*max);
        if version < R::MIN_VERSION.max(*min) {
            return Err(ClientError::Unsupported(R::API_KEY));
        }
        Ok(version)
    }

    /// Sends a request and waits for its answer.
    pub async fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        let version = self.version::<R>()?;
        self.call_version(request, version).await
    }

    /// The same in a version of the caller's choice.
    pub async fn call_version<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, ClientError> {
        let id = self.send_version(request, version).await?;
        self.receive::<R>(id, version).await
    }

    /// Sends a request without waiting. The number it returns belongs to [`Connection::receive`]; answers are
    /// received in the order of the requests.
    pub async fn send_version<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<i32, ClientError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let header = RequestHeader {
            request_api_key: R::API_KEY.code(),
            request_api_version: version,
            correlation_id: self.correlation_id,
            client_id: Some(self.client_id.clone()),
        };
        let mut writer = Writer::new();
        let frame = header
            .encode(&mut writer, R::API_KEY.request_header_version(version))
            .and_then(|()| request.encode(&mut writer, version))
            .and_then(|()| writer.into_frame())
            .map_err(|error| ClientError::BadAnswer(error.to_string()))?;
        for chunk in frame {
            self.stream.write_all(&chunk).await?;
        }
        Ok(self.correlation_id)
    }

    /// The answer to the request that `correlation_id` was returned for.
    pub async fn receive<R: Request>(
        &mut self,
        correlation_id: i32,
        version: i16,
    ) -> Result<R::Response, ClientError> {
        let mut reader = Reader::new(self.receive_frame().await?);
        let bad = |error: alluvium_protocol::DecodeError| ClientError::BadAnswer(error.to_string());
        let header_version = R::API_KEY.response_header_version(version);
        let header = ResponseHeader::decode(&mut reader, header_version).map_err(bad)?;
        if header.correlation_id != correlation_id {
            return Err(ClientError::BadAnswer(format!(
                "expected the answer to request {correlation_id}, got that to {}",
                header.correlation_id
            )));
        }
        R::Response::decode(&mut reader, version).map_err(bad)
    }

    async fn receive_frame(&mut self) -> Result<Bytes, ClientError> {
        let mut prefix = [0; frame::PREFIX_BYTES];
        self.stream.read_exact(&mut prefix).await?;
        let length = frame::response_length(prefix, RESPONSE_BYTES_MAX)
            .map_err(|error| ClientError::BadAnswer(error.to_string()))?;
        let mut bytes = BytesMut::zeroed(length);
        self.stream.read_exact(&mut bytes).await?;
        Ok(bytes.freeze())
    }
}
