//! Phases: a deployment taken apart, for nodes that go live together: first all get ready, then all cut over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hotseat_build::Digest;
use tokio::sync::watch;

use super::commands::ask;
use super::{Consent, DeployError, DeployReport, Deployer, Inner, Step, WayBack};
use crate::actor::ActorCommand;
use crate::actor::artefacts::{ArtefactError, EventKind};
use crate::actor::group::{ActorHandle, Live};
use crate::actor::names::Claim;
use crate::blocking;
use crate::plugin::Version;

/// A version that has been compiled, rehearsed and kept, and has changed nothing yet.
#[derive(Clone)]
pub struct Prepared {
    pub(super) version: Arc<Version>,
    /// What was live then.
    pub(super) over: Digest,
    pub(super) rehearsed: usize,
    /// Whether and how it can be gone back from.
    pub(super) way_back: WayBack,
    /// What the operator allows, and which rooms have to be set aside.
    pub(super) consent: Consent,
    pub(super) aside: Vec<ActorHandle>,
    /// The gRPC services it declares are taken while this is kept; none while it is only planned.
    pub(super) claim: Option<Arc<Claim>>,
    /// How long the slowest room is expected to stand still.
    pub(super) pause: Duration,
}

impl Prepared {
    /// Which version.
    pub fn digest(&self) -> Digest {
        self.version.digest()
    }

    /// Its manifest's name for it.
    pub fn label(&self) -> String {
        self.version.label()
    }

    /// The artefact's size, bytes.
    pub fn size_bytes(&self) -> u64 {
        self.version.bytes().len() as u64
    }
}

/// A version that failed on probation and was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reverted {
    /// Which.
    pub version: Digest,
    /// What it did.
    pub why: String,
}

impl Deployer {
    /// The version that is live, if one is.
    pub fn live(&self) -> Option<Arc<Version>> {
        self.inner.group.live().map(|live| live.version)
    }

    /// The version before it, while the live one is on probation.
    pub fn fallback(&self) -> Option<Arc<Version>> {
        self.inner.group.live()?.fallback
    }

    /// Whether every room can be given back to that version with all that it was told since.
    pub fn keeps(&self, digest: Digest) -> bool {
        let earlier = self.inner.group.live().and_then(|live| live.earlier);
        earlier.is_some_and(|earlier| earlier.digest() == digest)
    }

    /// The first actor that cannot be given back to that version with all that it was told since: it came
    /// from another node or an earlier process.
    pub async fn keeps_not(&self, version: Digest) -> Option<String> {
        for handle in self.inner.group.members() {
            // One that has ended goes nowhere.
            if let Some(Ok(false) | Err(_)) =
                ask(&handle, |answer| ActorCommand::Keeps(version, answer)).await
            {
                return Some(handle.name.to_string());
            }
        }
        None
    }

    /// An artefact that is kept here. Blocks on the disk in a thread of its own. Cancel safe.
    ///
    /// # Errors
    /// If it cannot be read, or is damaged.
    pub async fn artefact(&self, digest: Digest) -> Result<Option<Arc<[u8]>>, ArtefactError> {
        let inner = Arc::clone(&self.inner);
        let found = blocking::run(move || inner.artefacts().find(&digest)).await;
        // A panic is told by the runtime; nothing was found then.
        found.unwrap_or(Ok(None))
    }

    /// Gets a version ready: verified, compiled, rehearsed on live rooms, kept on disk. Nothing is live that was not.
    /// Waits for a deployment under way. Cancel safe: a caller that goes away ends the compilation; what comes after it
    /// runs to its end.
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn prepare(&self, artefact: Arc<[u8]>, consent: Consent) -> Result<Prepared, DeployError> {
        let inner = Arc::clone(&self.inner);
        let version = inner.prepare(artefact).await?;
        let task = tokio::spawn(async move {
            let _turn = inner.turn.lock().await;
            let before = *inner.step();
            let live = inner.group.live().ok_or(DeployError::Shutdown)?;
            let ready = inner.prepare_all(version, &live.version, consent).await;
            inner.set_step(before);
            ready
        });
        task.await?
    }

    /// Compiles an artefact so that [`Self::prepare`] finds it in the cache. Waits for nothing. Dropping the future ends
    /// it.
    ///
    /// # Errors
    /// See [`DeployError`].
    pub async fn compile(&self, artefact: Arc<[u8]>) -> Result<(), DeployError> {
        self.inner.prepare(artefact).await.map(drop)
    }

    /// Puts a version live that is ready. With `hold` it is on probation until [`Self::pass`], without it has none.
    /// Cancel safe, as [`Deployer::deploy`].
    ///
    /// # Errors
    /// See [`DeployError`]; [`DeployError::Overtaken`] if another version went live since it was got ready.
    pub async fn apply(
        &self,
        prepared: Prepared,
        kind: EventKind,
        hold: bool,
    ) -> Result<DeployReport, DeployError> {
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move { inner.apply(prepared, kind, hold).await });
        task.await?
    }

    /// Goes back to the version `to` that the live one replaced: to the state that was handed over, with everything that
    /// came since. Cancel safe, as [`Deployer::deploy`].
    ///
    /// # Errors
    /// [`DeployError::NoPrevious`] if that is not kept.
    pub async fn go_back(
        &self,
        to: Digest,
        kind: EventKind,
        why: String,
    ) -> Result<DeployReport, DeployError> {
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move {
            let _turn = inner.turn.lock().await;
            let Live { version, earlier, .. } = inner.group.live().ok_or(DeployError::Shutdown)?;
            if version.digest() == to {
                return Ok(DeployReport::unchanged(version));
            }
            let earlier = earlier.filter(|version| version.digest() == to);
            inner.take_back(version, earlier.ok_or(DeployError::NoPrevious)?, kind, &why).await
        });
        task.await?
    }

    /// Ends the probation of a version, if it is live and on probation. Cancel safe.
    pub async fn pass(&self, version: Digest) {
        let inner = Arc::clone(&self.inner);
        // It fails if the runtime ends, and then there is nothing left to do.
        let _ = tokio::spawn(async move { inner.pass(version).await }).await;
    }

    /// The last version that was taken back because it failed on probation.
    pub fn reverted(&self) -> watch::Receiver<Option<Reverted>> {
        self.inner.reverted.subscribe()
    }
}

impl Inner {
    async fn apply(
        self: &Arc<Self>,
        prepared: Prepared,
        kind: EventKind,
        hold: bool,
    ) -> Result<DeployReport, DeployError> {
        let _turn = self.turn.lock().await;
        let live = self.group.live().ok_or(DeployError::Shutdown)?;
        let version = Arc::clone(&prepared.version);
        if live.version.digest() == version.digest() {
            return Ok(DeployReport::unchanged(live.version));
        }
        if live.version.digest() != prepared.over {
            return Err(DeployError::Overtaken(live.version.to_string()));
        }
        let started = Instant::now();
        let result = self.cut_over(&live, prepared, kind).await;
        if result.is_ok() && !hold {
            self.gather(&version, true).await;
        }
        self.set_step(if result.is_ok() && hold { Step::Probation } else { Step::Idle });
        self.tell(&result, started);
        result
    }
}
