//! A plain connection: one request out, one response in.

use std::io::{Read, Write};
use std::net::TcpStream;

use alluvium_protocol::messages::{RequestHeader, ResponseHeader};
use alluvium_protocol::{Message, Reader, Request, Writer};
use bytes::Bytes;

pub struct Connection {
    stream: TcpStream,
    correlation_id: i32,
}

impl Connection {
    pub fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            correlation_id: 0,
        }
    }

    pub fn call<R: Request>(&mut self, version: i16, request: R) -> R::Response {
        self.send(version, request);
        self.receive::<R>(version)
    }

    pub fn send<R: Request>(&mut self, version: i16, request: R) {
        self.correlation_id += 1;
        let header = RequestHeader {
            request_api_key: R::API_KEY.code(),
            request_api_version: version,
            correlation_id: self.correlation_id,
            client_id: Some("script".into()),
        };
        let mut writer = Writer::new();
        let header_version = R::API_KEY.request_header_version(version);
        header.encode(&mut writer, header_version).unwrap();
        request.encode(&mut writer, version).unwrap();
        let frame = writer.into_frame().unwrap().concat();
        self.stream.write_all(&frame).unwrap();
    }

    pub fn receive<R: Request>(&mut self, version: i16) -> R::Response {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut frame).unwrap();
        let mut reader = Reader::new(Bytes::from(frame));
        let header_version = R::API_KEY.response_header_version(version);
        let header = ResponseHeader::decode(&mut reader, header_version).unwrap();
        assert_eq!(header.correlation_id, self.correlation_id);
        R::Response::decode(&mut reader, version).unwrap()
    }
}
