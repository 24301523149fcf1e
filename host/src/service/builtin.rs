//! Builtin services: gRPC services that are part of the host, served beside those of plugins.

use std::convert::Infallible;

use axum::http::Request;
use axum::response::IntoResponse;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::Service;

/// Services of the host, for peers only. The default has none.
#[derive(Debug, Clone, Default)]
pub struct BuiltinServices {
    pub(super) routes: Routes,
    pub(super) names: Vec<&'static str>,
    pub(super) descriptors: Option<&'static [u8]>,
}

impl BuiltinServices {
    /// None yet; their protocols are in `descriptors`, an encoded `FileDescriptorSet`. What it has beyond the services
    /// that are added is not listed by reflection.
    pub fn described_by(descriptors: &'static [u8]) -> Self {
        Self { descriptors: Some(descriptors), ..Self::default() }
    }

    /// One more. A plugin that declares a service of the same name is not asked.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "a service is served as well, nothing is summed up")]
    pub fn add<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes = self.routes.add_service(service);
        self
    }
}
