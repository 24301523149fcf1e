//! Server: the gRPC service behind which a [`LinkServer`] takes agents' streams.
//!
//! Written out, since messages pass through as bytes: what a line has gathered is encoded already.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio_stream::Stream;
use tonic::body::Body;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tower::Service;

use crate::actor::Raw;
use crate::cluster::link::client::PATH;
use crate::cluster::link::server::{LinkServer, UP_MAX};

/// `hotseat.cluster.v1.Link`.
#[derive(Debug, Clone)]
pub struct GrpcLink {
    link_server: LinkServer,
}

impl GrpcLink {
    /// Serves agents through `link_server`.
    pub fn new(link_server: LinkServer) -> Self {
        Self { link_server }
    }
}

impl NamedService for GrpcLink {
    const NAME: &'static str = "hotseat.cluster.v1.Link";
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Service<HttpRequest<Body>> for GrpcLink {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let open = Open(self.link_server.clone());
        Box::pin(async move {
            if request.uri().path() != PATH {
                return Ok(Status::unimplemented("Link has one method, Open").into_http());
            }
            Ok(Grpc::new(Raw).max_decoding_message_size(UP_MAX).streaming(open, request).await)
        })
    }
}

/// The method `Open`.
struct Open(LinkServer);

impl StreamingService<Bytes> for Open {
    type Response = Bytes;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
    type Future = Boxed<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let link_server = self.0.clone();
        Box::pin(async move {
            let downs = link_server.open(request).await?;
            Ok(downs.map(|downs| Box::pin(downs) as Self::ResponseStream))
        })
    }
}
