//! gRPC: one request of a service, from its frames to the shard and back.
//!
//! Messages pass as they are; deadlines, statuses and streams are translated.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request as HttpRequest, Response as HttpResponse};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use hotseat_build::{Method, MethodKind};
use tonic::server::Grpc;
use tonic::{Code as GrpcCode, Request, Response, Status};
use tower::service_fn;

use super::frames::StreamBody;
use super::request::{Code, Failure};
use super::router::{Route, ServiceRouter};
use super::stream::Messages;
use crate::actor::Raw;

/// The largest request message, bytes: what a guest may be given (`wit/service.wit`).
const REQUEST_MAX: usize = 1 << 20;

/// How long a unary request may take if its client sets no deadline.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves one request for `package.Service/Method`.
pub(super) async fn serve(router: &ServiceRouter, request: HttpRequest<Body>) -> HttpResponse<Body> {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let route = match router.route(&path) {
        Ok(route) => route,
        Err(failure) => return status(failure).into_http(),
    };
    let method = match route.method(&path) {
        Ok(method) => method,
        Err(failure) => {
            router.count(&route, failure.code.number());
            return status(failure).into_http();
        }
    };
    let timeout = timeout(request.headers());
    let mut grpc = Grpc::new(Raw).apply_max_message_size_config(Some(REQUEST_MAX), None);
    if method.kind != MethodKind::Subscribe {
        let call = |request: Request<Bytes>| unary(router, &route, method, request.into_inner(), timeout);
        return grpc.unary(service_fn(call), request).await.map(Body::new);
    }
    // The stream's messages are frames already, which all of its readers share: they need no encoder.
    let begun = Mutex::new(None);
    let call = |request: Request<Bytes>| async {
        let messages = subscribe(router, &route, method, request.into_inner()).await?;
        *begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(messages);
        Ok::<_, Status>(Response::new(stream::empty::<Result<Bytes, Status>>().boxed()))
    };
    let response = grpc.server_streaming(service_fn(call), request).await;
    match begun.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(messages) => response.map(|_| Body::new(StreamBody::new(messages))),
        None => response.map(Body::new),
    }
}

async fn unary(
    router: &ServiceRouter,
    route: &Route<'_>,
    method: &Method,
    body: Bytes,
    timeout: Duration,
) -> Result<Response<Bytes>, Status> {
    let answered = tokio::time::timeout(timeout, router.unary(route, method, body)).await;
    let result = answered.unwrap_or_else(|_| {
        let text = format!("no answer within {timeout:?}; whether it was carried out is not known");
        Err(Failure::new(Code::DeadlineExceeded, text))
    });
    router.count(route, result.as_ref().map_or_else(|failure| failure.code.number(), |_| 0));
    result.map(Response::new).map_err(status)
}

async fn subscribe(
    router: &ServiceRouter,
    route: &Route<'_>,
    method: &Method,
    body: Bytes,
) -> Result<Messages, Status> {
    let result = router.subscribe(route, method, body).await;
    router.count(route, result.as_ref().map_or_else(|failure| failure.code.number(), |_| 0));
    result.map_err(status)
}

/// What every service that is not served here gets, whatever else the node serves.
pub(super) fn unknown(path: &str) -> Status {
    let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    Status::unimplemented(format!("this node serves no {service}"))
}

pub(super) fn status(failure: Failure) -> Status {
    Status::new(GrpcCode::from_i32(failure.code.number()), failure.text)
}

/// The client's deadline: digits and a unit (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>). One
/// that cannot be read is none.
fn timeout(headers: &HeaderMap) -> Duration {
    let read = || {
        let value = headers.get("grpc-timeout")?.to_str().ok()?;
        let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
        let count: u64 = (digits.len() <= 8).then(|| digits.parse().ok())??;
        Some(match unit {
            "H" => Duration::from_secs(count * 3600),
            "M" => Duration::from_secs(count * 60),
            "S" => Duration::from_secs(count),
            "m" => Duration::from_millis(count),
            "u" => Duration::from_micros(count),
            "n" => Duration::from_nanos(count),
            _ => return None,
        })
    };
    read().unwrap_or(PATIENCE).min(PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_as_clients_write_them() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", value.parse().unwrap());
            timeout(&headers)
        };
        assert_eq!(read("250m"), Duration::from_millis(250));
        assert_eq!(read("2S"), Duration::from_secs(2));
        assert_eq!(read("7n"), Duration::from_nanos(7));
        for none in ["", "S", "x", "12", "999999999S", "1H", "99999999M"] {
            assert_eq!(read(none), PATIENCE, "{none}");
        }
        assert_eq!(timeout(&HeaderMap::new()), PATIENCE);
    }
}
