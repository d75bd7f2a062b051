//! Answers the calls of other brokers: checks of whom they are, bounds, and the way from path to answer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use alluvium_cache::budget::{ByteBudget, BytePermit};
use futures::future::BoxFuture;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::leader::Leader;
use super::pages::Pages;
use super::{
    ANSWER_BYTES_MAX, CLUSTER_HEADER, Method, PROTOCOL_VERSION, REQUEST_BYTES_MAX, ReadBatch,
    ReadOffsets, ReadPages, SERVICE, TakeIndex, VERSION_HEADER, Watch,
};

/// What one broker does for others at a time.
#[derive(Debug, Clone, Copy)]
pub struct RpcLimits {
    /// Calls that wait for news: a follower has one for each partition that it follows.
    pub watches_max: usize,
    /// Other calls.
    pub calls_max: usize,
    /// Bytes of answers, from when they are read until they are sent.
    pub answer_bytes: usize,
}

impl Default for RpcLimits {
    fn default() -> Self {
        Self {
            watches_max: 20_000,
            calls_max: 512,
            answer_bytes: 64 << 20,
        }
    }
}

/// An answer and the memory that it takes.
pub(super) struct Answer<A> {
    pub(super) message: A,
    pub(super) permit: Option<BytePermit>,
}

impl<A> From<A> for Answer<A> {
    fn from(message: A) -> Self {
        Self {
            message,
            permit: None,
        }
    }
}

/// Answers calls of one method.
pub(super) trait Answers<M: Method> {
    fn answer(
        &self,
        request: M::Request,
    ) -> impl Future<Output = Result<Answer<M::Answer>, Status>> + Send;
}

/// The memory of answers.
#[derive(Debug, Clone)]
pub struct AnswerMemory(ByteBudget);

impl AnswerMemory {
    /// At most `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Self {
        Self(ByteBudget::new(limit_bytes))
    }

    /// `bytes` at once: a caller that would have to wait had better go another way.
    pub(super) fn take(&self, bytes: usize) -> Result<BytePermit, Status> {
        let permit = self.0.try_acquire(bytes);
        permit.ok_or_else(|| Status::resource_exhausted("too much is being answered"))
    }
}

/// See the module's documentation. Cheap to clone.
#[derive(Clone)]
pub struct RpcService {
    leader: Arc<Leader>,
    pages: Arc<Pages>,
    cluster_id: Arc<str>,
    watches: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl RpcService {
    /// Answers for the cluster of that id, until `stopping`: then those who wait are told so.
    pub fn new(
        leader: Arc<Leader>,
        pages: Arc<Pages>,
        cluster_id: &str,
        limits: RpcLimits,
        stopping: CancellationToken,
    ) -> Self {
        Self {
            leader,
            pages,
            stopping,
            cluster_id: cluster_id.into(),
            watches: Arc::new(Semaphore::new(limits.watches_max)),
            calls: Arc::new(Semaphore::new(limits.calls_max)),
        }
    }

    fn check(&self, headers: &MetadataMap) -> Result<(), Status> {
        let of = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if of(CLUSTER_HEADER) != Some(&*self.cluster_id) {
            return Err(Status::permission_denied(format!(
                "this broker belongs to cluster {}",
                self.cluster_id
            )));
        }
        let version: Option<u32> = of(VERSION_HEADER).and_then(|version| version.parse().ok());
        match version {
            Some(version) if version >= 1 => Ok(()),
            _ => Err(Status::unimplemented(format!(
                "this broker speaks version {PROTOCOL_VERSION} of the protocol between brokers"
            ))),
        }
    }

    async fn unary<M: Method, A: Answers<M> + Send + Sync + 'static>(
        self,
        from: Arc<A>,
        request: http::Request<Body>,
        turn: Result<OwnedSemaphorePermit, tokio::sync::TryAcquireError>,
    ) -> http::Response<Body> {
        let Ok(turn) = turn else {
            return Status::resource_exhausted("too many calls are being answered").into_http();
        };
        let codec = ProstCodec::<M::Answer, M::Request>::default();
        let mut grpc = Grpc::new(codec)
            .max_decoding_message_size(REQUEST_BYTES_MAX)
            .max_encoding_message_size(ANSWER_BYTES_MAX);
        let held = Arc::new(parking_lot::Mutex::new(None));
        let call = Call {
            service: self,
            from,
            held: Arc::clone(&held),
            method: std::marker::PhantomData::<M>,
        };
        let response = grpc.unary(call, request).await;
        drop(turn);
        let permit: Option<BytePermit> = held.lock().take();
        response.map(|body| {
            Body::new(Charged {
                body,
                _permit: permit,
            })
        })
    }
}

/// One call on its way through tonic.
struct Call<M, A> {
    service: RpcService,
    from: Arc<A>,
    held: Arc<parking_lot::Mutex<Option<BytePermit>>>,
    method: std::marker::PhantomData<M>,
}

impl<M: Method, A: Answers<M> + Send + Sync + 'static> UnaryService<M::Request> for Call<M, A> {
    type Response = M::Answer;
    type Future = BoxFuture<'static, Result<Response<M::Answer>, Status>>;

    fn call(&mut self, request: Request<M::Request>) -> Self::Future {
        let (service, held) = (self.service.clone(), Arc::clone(&self.held));
        let from = Arc::clone(&self.from);
        Box::pin(async move {
            service.check(request.metadata())?;
            let answering = Answers::<M>::answer(&*from, request.into_inner());
            let answered = tokio::select! {
                biased;
                () = service.stopping.cancelled() => {
                    return Err(Status::unavailable("this broker is stopping"));
                }
                answered = answering => answered?,
            };
            *held.lock() = answered.permit;
            Ok(Response::new(answered.message))
        })
    }
}

impl Service<http::Request<Body>> for RpcService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        let turn = Arc::clone(&self.calls).try_acquire_owned();
        Box::pin(async move {
            let (leader, pages) = (Arc::clone(&service.leader), Arc::clone(&service.pages));
            Ok(match request.uri().path() {
                TakeIndex::PATH => service.unary::<TakeIndex, _>(leader, request, turn).await,
                ReadOffsets::PATH => service.unary::<ReadOffsets, _>(leader, request, turn).await,
                ReadBatch::PATH => service.unary::<ReadBatch, _>(leader, request, turn).await,
                ReadPages::PATH => service.unary::<ReadPages, _>(pages, request, turn).await,
                Watch::PATH => {
                    drop(turn);
                    let turn = Arc::clone(&service.watches).try_acquire_owned();
                    service.unary::<Watch, _>(leader, request, turn).await
                }
                other => Status::unimplemented(format!("{other} is not served")).into_http(),
            })
        })
    }
}

impl NamedService for RpcService {
    const NAME: &'static str = SERVICE;
}

/// An answer that is charged for until it is sent, or given up.
struct Charged {
    body: Body,
    _permit: Option<BytePermit>,
}

impl HttpBody for Charged {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
