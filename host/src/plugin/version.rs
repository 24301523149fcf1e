//! Version: one plugin binary, checked, compiled and linked, ready to make instances.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hotseat_build::{Digest, Interface, Manifest, Method, VerifyError, excerpt};
use tracing::debug;
use wasmtime::component::{Component, Linker};

use super::compiler::CompileError;
use super::engine::Engine;
use super::guest::GuestPre;
use super::imports;
use super::memory::Memory;
use super::meter::Meter;

/// A version. Shared by all its instances; the code goes when the last of them is gone.
pub struct Version {
    digest: Digest,
    manifest: Manifest,
    compile: Duration,
    bytes: Arc<[u8]>,
    served: Served,
    /// The schema of its state, once an instance has written one.
    schema: OnceLock<u32>,
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

impl From<Interface> for Served {
    fn from(interface: Interface) -> Self {
        let methods = interface.methods.into_iter().map(|method| (method.path.clone(), method)).collect();
        Self { descriptors: interface.descriptors, services: interface.services, methods }
    }
}

/// The most that an error cites of what the engine says about an artefact, which may repeat its names, bytes.
const CITED_MAX: usize = 4096;

/// Why a file is no version. Nothing of it has run.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// Not what a plugin must be; the text names the missing or surplus item.
    #[error(transparent)]
    Refused(#[from] VerifyError),
    /// The engine cannot compile it.
    #[error("does not compile: {}", excerpt(&format!("{_0:#}"), CITED_MAX))]
    Compile(wasmtime::Error),
    /// It was not compiled, in a process of its own.
    #[error(transparent)]
    Worker(#[from] CompileError),
    /// Its imports or exports do not fit the host's.
    #[error("does not link: {}", excerpt(&format!("{_0:#}"), CITED_MAX))]
    Link(wasmtime::Error),
}

impl VersionError {
    /// Its name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Worker(error) => error.name(),
            Self::Refused(_) | Self::Compile(_) | Self::Link(_) => "refused",
        }
    }
}

/// Runs on a thread that may block.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    match crate::blocking::run(run).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime ends, and whoever waits for this with it.
        Err(_) => std::future::pending().await,
    }
}

impl Version {
    /// Checks, compiles (or takes from the cache) and links an artefact, all in this process and however long that takes:
    /// for files that can be trusted, on a thread that may block. A node uses [`Self::compile`].
    ///
    /// # Errors
    /// See [`VersionError`].
    pub fn prepare(engine: &Engine, bytes: Arc<[u8]>) -> Result<Self, VersionError> {
        hotseat_build::verify(&bytes)?;
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
        Self::link(engine, bytes, digest, &component, started)
    }

    /// The same within the engine's limits, in a process of its own unless the cache has it: whatever the file holds,
    /// this process does not suffer. Dropping the future ends the work.
    ///
    /// # Errors
    /// See [`VersionError`].
    pub async fn compile(engine: &Engine, bytes: Arc<[u8]>) -> Result<Self, VersionError> {
        let started = Instant::now();
        let Some(compiler) = engine.compiler() else {
            let engine = engine.clone();
            return blocking(move || Self::prepare(&engine, bytes)).await;
        };
        let (own, artefact) = (engine.clone(), Arc::clone(&bytes));
        let (digest, cached, partial) = blocking(move || {
            let digest = Digest::of(&artefact);
            let cached = own.cache().get(own.engine(), &digest);
            (digest, cached, own.cache().partial(own.engine(), &digest))
        })
        .await;
        let component = match cached {
            Some(component) => component,
            None => {
                let partial = partial.ok_or_else(|| CompileError::Cache("there is none".into()))?;
                compiler.compile(&bytes, &partial.partial).await?;
                let own = engine.clone();
                let taken = blocking(move || {
                    own.cache()
                        .take_over(&partial)
                        .map_err(|error| CompileError::Cache(error.to_string()))?;
                    let unusable =
                        || CompileError::Cache("the compiled code does not fit this engine".into());
                    own.cache().get(own.engine(), &digest).ok_or_else(unusable)
                });
                taken.await?
            }
        };
        let engine = engine.clone();
        blocking(move || Self::link(&engine, bytes, digest, &component, started)).await
    }

    /// Makes a version of an artefact that has been verified and compiled.
    fn link(
        engine: &Engine,
        bytes: Arc<[u8]>,
        digest: Digest,
        component: &Component,
        started: Instant,
    ) -> Result<Self, VersionError> {
        let (manifest, interface) = hotseat_build::declared(&bytes)?;
        let served = interface.map(Served::from).unwrap_or_default();
        let compile = started.elapsed();
        let mut linker = Linker::new(engine.engine());
        imports::link(&mut linker).map_err(VersionError::Link)?;
        let pre = GuestPre::new(&linker, component, &manifest.world).map_err(VersionError::Link)?;
        debug!(plugin = manifest.name, %digest, compile_ms = compile.as_millis(), "version ready");
        let (schema, engine) = (OnceLock::new(), engine.clone());
        Ok(Self { digest, manifest, compile, bytes, served, schema, engine, pre })
    }

    /// The identity: the sha256 of the artefact.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The label for people: the manifest's version.
    pub fn label(&self) -> String {
        self.manifest.version.to_string()
    }

    /// The schema of its state, if an instance has written one.
    pub fn schema(&self) -> Option<u32> {
        self.schema.get().copied()
    }

    pub(super) fn know_schema(&self, schema: u32) {
        // The first one that was seen stands: a version has one schema.
        let _ = self.schema.set(schema);
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

    /// A meter for one more actor of this version.
    pub fn meter(&self) -> Arc<Meter> {
        self.engine.meter()
    }

    /// The memory that it shares with all guests of the node.
    pub fn memory(&self) -> &Memory {
        self.engine.memory()
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
