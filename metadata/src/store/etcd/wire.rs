//! The calls of etcd's API over one channel. No retries, no time limits, no meaning: see [`super::caller`].

use futures::stream::{self, Stream};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::proto;

/// Longest answer to a range read. Pages are asked for so that they stay far below; see [`super::range`].
const RANGE_ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Longest answer to a transaction: what 128 reads of single keys can return, each as large as a request can be.
const TXN_ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Longest message of a watch. etcd splits them at its own limit for requests, and never within an event.
const WATCH_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What else is answered is small.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// One channel with what is sent along.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    pub channel: Channel,
    pub token: Option<MetadataValue<Ascii>>,
}

type Answer<T> = Result<T, Status>;

impl Wire {
    pub(super) async fn range(self, request: proto::RangeRequest) -> Answer<proto::RangeResponse> {
        let path = "/etcdserverpb.KV/Range";
        self.unary(path, request, RANGE_ANSWER_BYTES_MAX).await
    }

    pub(super) async fn txn(self, request: proto::TxnRequest) -> Answer<proto::TxnResponse> {
        let path = "/etcdserverpb.KV/Txn";
        self.unary(path, request, TXN_ANSWER_BYTES_MAX).await
    }

    pub(super) async fn compact(
        self,
        request: proto::CompactionRequest,
    ) -> Answer<proto::CompactionResponse> {
        let path = "/etcdserverpb.KV/Compact";
        self.unary(path, request, ANSWER_BYTES_MAX).await
    }

    pub(super) async fn lease_grant(
        self,
        request: proto::LeaseGrantRequest,
    ) -> Answer<proto::LeaseGrantResponse> {
        let path = "/etcdserverpb.Lease/LeaseGrant";
        self.unary(path, request, ANSWER_BYTES_MAX).await
    }

    pub(super) async fn lease_revoke(
        self,
        request: proto::LeaseRevokeRequest,
    ) -> Answer<proto::LeaseRevokeResponse> {
        let path = "/etcdserverpb.Lease/LeaseRevoke";
        self.unary(path, request, ANSWER_BYTES_MAX).await
    }

    /// A stream for one message: keep-alives are seconds apart, and a stream of their own needs no upkeep.
    pub(super) async fn lease_keep_alive(
        self,
        request: proto::LeaseKeepAliveRequest,
    ) -> Answer<proto::LeaseKeepAliveResponse> {
        let path = "/etcdserverpb.Lease/LeaseKeepAlive";
        let mut answers = self.stream(path, open(request), ANSWER_BYTES_MAX).await?;
        let answer = answers.message().await?;
        answer.ok_or_else(|| Status::unavailable("the stream ended without an answer"))
    }

    pub(super) async fn watch(
        self,
        create: proto::WatchCreateRequest,
    ) -> Answer<Streaming<proto::WatchResponse>> {
        let request = proto::WatchRequest {
            request_union: Some(proto::WatchRequestUnion::Create(create)),
        };
        let path = "/etcdserverpb.Watch/Watch";
        self.stream(path, open(request), WATCH_MESSAGE_BYTES_MAX)
            .await
    }

    pub(super) async fn authenticate(
        self,
        request: proto::AuthenticateRequest,
    ) -> Answer<proto::AuthenticateResponse> {
        let path = "/etcdserverpb.Auth/Authenticate";
        self.unary(path, request, ANSWER_BYTES_MAX).await
    }

    pub(super) async fn status(self) -> Answer<proto::StatusResponse> {
        let path = "/etcdserverpb.Maintenance/Status";
        self.unary(path, proto::StatusRequest {}, ANSWER_BYTES_MAX)
            .await
    }

    async fn unary<Q, A>(self, path: &'static str, message: Q, answer_bytes_max: usize) -> Answer<A>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let request = self.request(message);
        let mut grpc = ready(self.channel, answer_bytes_max).await?;
        let codec = ProstCodec::<Q, A>::default();
        let answer = grpc
            .unary(request, PathAndQuery::from_static(path), codec)
            .await?;
        Ok(answer.into_inner())
    }

    async fn stream<Q, A>(
        self,
        path: &'static str,
        messages: impl Stream<Item = Q> + Send + 'static,
        answer_bytes_max: usize,
    ) -> Answer<Streaming<A>>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let request = self.request(messages);
        let mut grpc = ready(self.channel, answer_bytes_max).await?;
        let codec = ProstCodec::<Q, A>::default();
        let answer = grpc
            .streaming(request, PathAndQuery::from_static(path), codec)
            .await?;
        Ok(answer.into_inner())
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        // A member cut off from the others says so at once, and ends the watches it serves, instead of waiting.
        metadata.insert("hasleader", MetadataValue::from_static("true"));
        if let Some(token) = &self.token {
            metadata.insert("token", token.clone());
        }
        request
    }
}

/// One message on a stream that then stays open: its end would end the answers.
fn open<T: Send + 'static>(message: T) -> impl Stream<Item = T> + Send + 'static {
    use stream::StreamExt;
    stream::once(async move { message }).chain(stream::pending())
}

async fn ready(channel: Channel, answer_bytes_max: usize) -> Answer<Grpc<Channel>> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(answer_bytes_max);
    grpc.ready()
        .await
        .map_err(|error| Status::from_error(Box::new(error)))?;
    Ok(grpc)
}
