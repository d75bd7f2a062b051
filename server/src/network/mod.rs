//! The Kafka listener: sockets to request frames, response chunks to sockets.
//!
//! Nothing here knows what a request means. [`listener`] accepts, [`connection`] keeps the order of
//! requests and responses, [`frame_reader`] cuts the byte stream into frames under the memory budget,
//! [`response_writer`] sends chunks without joining them. Buffers of large frames are used again
//! ([`buffer_pool`]).

pub mod buffer_pool;
pub mod connection;
pub mod frame_reader;
pub mod listener;
pub mod response_writer;
