//! Start: which version a plugin comes up on.

use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};

use hotseat_build::Digest;
use tokio::sync::watch;
use tracing::{error, info};

use super::{DeployError, Deployer, Inner, Step, Terms};
use crate::actor::artefacts::{Artefacts, EventKind};
use crate::actor::group::{ActorGroup, Live};
use crate::actor::names::Names;
use crate::plugin::{Engine, Version};

/// What a plugin's deployer is made of.
pub struct DeployerParts {
    /// What compiles and runs its versions.
    pub engine: Engine,
    /// The plugin's actors.
    pub group: Arc<ActorGroup>,
    /// The versions it was given before.
    pub artefacts: Artefacts,
    /// The file it is to start with if that one has never been live here.
    pub first: Arc<[u8]>,
    /// How long a new version can be taken back.
    pub terms: Terms,
    /// The gRPC services of the node.
    pub names: Names,
}

impl Deployer {
    /// Starts the plugin: the version that was live last, or `first` if that one has never been live here.
    ///
    /// If the version that was live last cannot be started, the ones before it are tried, the newest first, and `first`
    /// at the end; which one failed, and why, is logged, counted, written to the history and told by
    /// [`Self::fell_back`].
    ///
    /// # Errors
    /// See [`DeployError`]: of `first`, if that is new, else [`DeployError::NoneStarts`].
    pub async fn start(parts: DeployerParts) -> Result<Self, DeployError> {
        let DeployerParts { engine, group, artefacts, first, terms, names } = parts;
        names.watch(&group);
        let given = Digest::of(&first);
        let mut candidates = Vec::new();
        if artefacts.knows(&given) {
            candidates = artefacts.lives();
        }
        if !candidates.contains(&given) {
            candidates.push(given);
        }
        let known = artefacts.knows(&given);
        let mut inner = Inner {
            engine,
            group,
            names,
            terms,
            artefacts: Mutex::new(artefacts),
            fell_back: String::new(),
            started: given,
            cuts: AtomicU64::new(0),
            closed: Mutex::new("the node has been started since".to_owned()),
            way_back: Mutex::default(),
            planned: Mutex::default(),
            step: Mutex::new(Step::Idle),
            compiling: AtomicUsize::new(0),
            queue: Arc::default(),
            turn: tokio::sync::Mutex::new(()),
            reverted: watch::Sender::new(None),
        };
        let mut failures = Vec::new();
        for digest in candidates {
            let version = match inner.try_start(digest, (given, &first)).await {
                Ok(version) => version,
                Err(error) if !known => return Err(error),
                Err(error) => {
                    let plugin = inner.group.plugin();
                    inner.group.metrics().start_failures.with_label_values(&[plugin]).inc();
                    error!(plugin, %digest, %error, "a version that was live cannot be started");
                    failures.push(format!("{}: {error}", digest.short()));
                    continue;
                }
            };
            inner.started = digest;
            inner.fell_back = failures.join("; ");
            // Who went back by itself does not offer the version that failed for a roll-back, nor tries it again.
            let kind = if failures.is_empty() { EventKind::Started } else { EventKind::Reverted };
            inner.record(kind, &version, &inner.fell_back);
            info!(plugin = inner.group.plugin(), %version, "plugin started");
            return Ok(Self { inner: Arc::new(inner) });
        }
        Err(DeployError::NoneStarts(failures.join("; ")))
    }
}

impl Inner {
    /// Makes a version live that nothing runs yet: that of the file that was given, or one that is kept.
    async fn try_start(
        &self,
        digest: Digest,
        (given, first): (Digest, &Arc<[u8]>),
    ) -> Result<Arc<Version>, DeployError> {
        let bytes = if digest == given { Arc::clone(first) } else { self.artefacts().load(&digest)? };
        let version = self.prepare(bytes).await?;
        let _claim = self.names.claim(&version)?;
        self.rehearse_opening(&version).await?;
        self.artefacts().store(&version.digest(), version.bytes())?;
        self.group.set_live(Live::settled(Arc::clone(&version)));
        Ok(version)
    }
}
