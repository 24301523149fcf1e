//! Ids: what callers draw from, as long as this node holds its machine number.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::error::IdsError;
use super::generator::{Block, Generator, GeneratorError};
use super::metrics::SnowflakeMetrics;
use crate::discovery::Discovery;

/// How long a caller waits when ids are ahead of the clock.
const WAIT: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(1);
/// No lease: epochs begin at 1.
const NONE: u64 = 0;

/// The ids of this node. Shared by all who ask for some.
#[derive(Debug)]
pub struct Ids {
    generator: Arc<Generator>,
    discovery: Discovery,
    /// The lease under which the machine number is claimed.
    epoch: AtomicU64,
    /// Why there is none.
    why: Mutex<String>,
    metrics: SnowflakeMetrics,
}

impl Ids {
    pub(super) fn new(discovery: Discovery, generator: Arc<Generator>, metrics: SnowflakeMetrics) -> Self {
        let why = Mutex::new("none has been claimed yet".to_owned());
        Self { generator, discovery, epoch: AtomicU64::new(NONE), why, metrics }
    }

    /// What guests draw from: they go on with what is secured while no number is held.
    pub fn generator(&self) -> &Arc<Generator> {
        &self.generator
    }

    /// The next `n` ids (at least one), now.
    ///
    /// # Errors
    /// [`IdsError::NoMachine`] from the moment on that the lease is not certain; [`IdsError::Busy`]. None is taken then.
    #[inline]
    pub fn reserve(&self, n: u32) -> Result<Block, IdsError> {
        let epoch = self.epoch.load(Ordering::Acquire);
        if epoch == NONE || self.discovery.holds() != Some(epoch) {
            return Err(IdsError::NoMachine(self.why()));
        }
        match self.generator.reserve(n) {
            Ok(block) => {
                self.metrics.ids.inc_by(u64::from(n));
                Ok(block)
            }
            Err(GeneratorError::Closed) => Err(IdsError::NoMachine(self.why())),
            Err(GeneratorError::Ahead) => Err(IdsError::Busy),
        }
    }

    /// As [`Self::reserve`], but waits up to a second when ids are ahead of the clock. Cancel safe: no id is taken
    /// before it completes.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    pub async fn take(&self, n: u32) -> Result<Block, IdsError> {
        let mut result = self.reserve(n);
        let end = Instant::now() + WAIT;
        while result == Err(IdsError::Busy) && Instant::now() < end {
            sleep_until(Instant::now() + STEP).await;
            result = self.reserve(n);
        }
        if result.is_err() {
            self.metrics.refused.inc();
        }
        result
    }

    #[cfg(test)]
    pub(super) fn metrics(&self) -> &SnowflakeMetrics {
        &self.metrics
    }

    /// The number is claimed under this lease, and the generator open.
    pub(super) fn hold(&self, number: u16, epoch: u64) {
        self.metrics.machine.set(i64::from(number));
        self.epoch.store(epoch, Ordering::Release);
    }

    /// Nothing is issued to callers any more.
    pub(super) fn lose(&self, why: &str) {
        why.clone_into(&mut self.why.lock().unwrap_or_else(PoisonError::into_inner));
        if self.epoch.swap(NONE, Ordering::AcqRel) != NONE {
            self.metrics.lost.inc();
        }
        self.generator.close();
        self.metrics.machine.set(-1);
    }

    #[cold]
    fn why(&self) -> String {
        let epoch = self.epoch.load(Ordering::Acquire);
        if epoch != NONE && self.discovery.holds() != Some(epoch) {
            return "the lease is lost".to_owned();
        }
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
