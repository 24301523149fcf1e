//! Version: one plugin binary, checked, compiled and linked, ready to make instances.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hotseat_build::{Digest, Manifest, Method, VerifyError};
use tracing::debug;
use wasmtime::component::{Component, Linker};

use super::engine::Engine;
use super::guest::{GuestPre, SERVICE_WORLD};
use super::imports;

/// A version. Shared by all its instances; the code goes when the last of them is gone.
pub struct Version {
    digest: Digest,
    manifest: Manifest,
    compile: Duration,
    bytes: Arc<[u8]>,
    served: Served,
    pub(super) engine: Engine,
    pub(super) pre: GuestPre,
}

/// What a service plugin serves; nothing for other worlds.
#[derive(Default)]
struct Served {
    descriptors: Vec<u8>,
    services: Vec<String>,
    methods: HashMap<String, Method>,
}

impl Served {
    fn read(bytes: &[u8], manifest: &Manifest) -> Result<Self, VerifyError> {
        if manifest.world != SERVICE_WORLD {
            return Ok(Self::default());
        }
        let interface = hotseat_build::interface(bytes)?;
        let methods = interface.methods.into_iter().map(|method| (method.path.clone(), method)).collect();
        Ok(Self { descriptors: interface.descriptors, services: interface.services, methods })
    }
}

/// Why a file is no version. Nothing of it has run.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// Not what a plugin must be; the text names the missing or surplus item.
    #[error(transparent)]
    Refused(#[from] VerifyError),
    /// The engine cannot compile it.
    #[error("does not compile: {0:#}")]
    Compile(wasmtime::Error),
    /// Its imports or exports do not fit the host's.
    #[error("does not link: {0:#}")]
    Link(wasmtime::Error),
}

impl Version {
    /// Checks, compiles (or takes from the cache) and links an artefact.
    ///
    /// Takes from a millisecond (cached) to seconds; to be called on a thread that may block.
    ///
    /// # Errors
    /// See [`VersionError`].
    pub fn prepare(engine: &Engine, bytes: Arc<[u8]>) -> Result<Self, VersionError> {
        let manifest = hotseat_build::verify(&bytes)?;
        let served = Served::read(&bytes, &manifest)?;
        let digest = Digest::of(&bytes);
        let started = Instant::now();
        let component = match engine.cache().get(engine.engine(), &digest) {
            Some(component) => component,
            None => {
                let component =
                    Component::from_binary(engine.engine(), &bytes).map_err(VersionError::Compile)?;
                engine.cache().put(engine.engine(), &digest, &component);
                component
            }
        };
        let compile = started.elapsed();
        let mut linker = Linker::new(engine.engine());
        imports::link(&mut linker).map_err(VersionError::Link)?;
        let pre = GuestPre::new(&linker, &component, &manifest.world).map_err(VersionError::Link)?;
        debug!(plugin = manifest.name, %digest, compile_ms = compile.as_millis(), "version ready");
        Ok(Self { digest, manifest, compile, bytes, served, engine: engine.clone(), pre })
    }

    /// The identity: the sha256 of the artefact.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The label for people: the manifest's version.
    pub fn label(&self) -> String {
        self.manifest.version.to_string()
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The artefact itself.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// The gRPC services it declares, `package.Service`.
    pub fn services(&self) -> &[String] {
        &self.served.services
    }

    /// A method it declares, by `package.Service/Method`.
    pub fn method(&self, path: &str) -> Option<&Method> {
        self.served.methods.get(path)
    }

    /// The protocol files behind them, an encoded `FileDescriptorSet`.
    pub fn descriptors(&self) -> &[u8] {
        &self.served.descriptors
    }

    /// How long compiling took, or loading the compiled code.
    pub fn compile_time(&self) -> Duration {
        self.compile
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{} ({})", self.manifest.name, self.manifest.version, self.digest.short())
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.manifest.version, self.digest.short())
    }
}
