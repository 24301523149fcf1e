//! Reflection: the protocols of the live versions, for tools that ask a server what it serves.

use std::sync::{Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hotseat_build::Digest;
use tonic::service::Routes;
use tower::ServiceExt as _;
use tracing::warn;

use super::builtin::BuiltinServices;
use super::router::ServiceRouter;

/// The reflection service, made anew whenever another version is live.
pub(super) struct Reflection {
    builtin: Vec<&'static str>,
    descriptors: Option<&'static [u8]>,
    made: Mutex<Option<(Vec<Digest>, Router)>>,
}

const HEALTH: &str = "grpc.health.v1.Health";
const V1: &str = "grpc.reflection.v1.ServerReflection";
/// The methods, one for each version of the protocol. Their clients send streams.
pub(super) const PATHS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
const V1ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

impl Reflection {
    pub(super) fn new(builtin: &BuiltinServices) -> Self {
        Self { builtin: builtin.names.clone(), descriptors: builtin.descriptors, made: Mutex::default() }
    }

    /// Serves one request of a client for either version of the protocol.
    pub(super) async fn serve(
        &self,
        router: Option<&ServiceRouter>,
        request: Request<Body>,
    ) -> Response<Body> {
        let Ok(response) = self.router(router).oneshot(request).await;
        response
    }

    fn router(&self, router: Option<&ServiceRouter>) -> Router {
        let digests = router.map(ServiceRouter::digests).unwrap_or_default();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((of, router)) if *of == digests => router.clone(),
            _ => {
                let router = self.make(router);
                *made = Some((digests, router.clone()));
                router
            }
        }
    }

    fn make(&self, router: Option<&ServiceRouter>) -> Router {
        let versions = router.map(ServiceRouter::versions).unwrap_or_default();
        let builder = |itself: &str| {
            let builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .with_service_name(HEALTH)
                .with_service_name(itself);
            let builder = self.builtin.iter().fold(builder, |builder, name| builder.with_service_name(*name));
            let builder = versions.iter().fold(builder, |builder, version| {
                let builder = builder.register_encoded_file_descriptor_set(version.descriptors());
                version.services().iter().fold(builder, |builder, name| builder.with_service_name(name))
            });
            self.descriptors
                .into_iter()
                .fold(builder, |builder, set| builder.register_encoded_file_descriptor_set(set))
        };
        match (builder(V1).build_v1(), builder(V1ALPHA).build_v1alpha()) {
            (Ok(v1), Ok(v1alpha)) => Routes::new(v1).add_service(v1alpha).into_axum_router(),
            // Two plugins may bring different files of one name.
            (Err(error), _) | (_, Err(error)) => {
                warn!(%error, "no reflection: the plugins' protocols do not go together");
                Router::new()
            }
        }
    }
}
