//! Reflection: the protocols of the live versions, for tools that ask a server what it serves.

use std::sync::{Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hotseat_build::Digest;
use tonic::service::Routes;
use tower::ServiceExt as _;
use tracing::warn;

use super::plane::Plane;

/// The reflection service, made anew whenever another version is live.
#[derive(Default)]
pub(super) struct Reflection {
    made: Mutex<Option<(Vec<Digest>, Router)>>,
}

impl Reflection {
    /// Serves one request of a client for either version of the protocol.
    pub(super) async fn serve(&self, plane: &Plane, request: Request<Body>) -> Response<Body> {
        let Ok(response) = self.router(plane).oneshot(request).await;
        response
    }

    fn router(&self, plane: &Plane) -> Router {
        let digests = plane.digests();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((of, router)) if *of == digests => router.clone(),
            _ => {
                let router = make(plane);
                *made = Some((digests, router.clone()));
                router
            }
        }
    }
}

fn make(plane: &Plane) -> Router {
    let versions = plane.versions();
    let builder = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        versions.iter().fold(builder, |builder, version| {
            builder.register_encoded_file_descriptor_set(version.descriptors())
        })
    };
    match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => Routes::new(v1).add_service(v1alpha).into_axum_router(),
        // Two plugins may bring different files of one name.
        (Err(error), _) | (_, Err(error)) => {
            warn!(%error, "no reflection: the plugins' protocols do not go together");
            Router::new()
        }
    }
}
