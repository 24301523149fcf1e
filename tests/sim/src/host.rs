//! Host: a node's process in a simulated cluster, on a runtime of its own whose clock the simulation moves.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use hotseat::game::Homes;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::HOMES;
use crate::lock;
use crate::node::{Given, Up};

/// How a process ended by itself.
#[derive(Clone)]
pub(crate) struct End {
    pub(crate) why: String,
    /// Its disk did not take all that it had.
    pub(crate) lost: bool,
}

/// How far it is.
#[derive(Default)]
struct State {
    up: Option<Up>,
    ended: Option<End>,
}

/// A process.
pub(crate) struct Host {
    pub(crate) given: Given,
    runtime: Runtime,
    began: Instant,
    began_ms: u64,
    /// Up to where its clock has come.
    now_ms: u64,
    pub(crate) frozen: bool,
    pub(crate) stopping: bool,
    state: Arc<Mutex<State>>,
}

impl Host {
    pub(crate) fn start(given: Given, now_ms: u64) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let state = Arc::new(Mutex::new(State::default()));
        let began = {
            let _entered = runtime.enter();
            Instant::now()
        };
        let (told, boot) = (Arc::clone(&state), given.clone());
        runtime.spawn(async move {
            match boot.run(now_ms).await {
                Ok(up) => lock(&told).up = Some(up),
                Err(error) => lock(&told).ended = Some(End { why: format!("{error:#}"), lost: false }),
            }
        });
        let frozen = false;
        Ok(Self { given, runtime, began, began_ms: now_ms, now_ms, frozen, stopping: false, state })
    }

    pub(crate) fn up(&self) -> Option<Up> {
        lock(&self.state).up.clone()
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&self) -> Option<End> {
        lock(&self.state).ended.clone()
    }

    /// Lives until then.
    pub(crate) fn run_until(&mut self, now_ms: u64) {
        let until = self.began + Duration::from_millis(now_ms - self.began_ms);
        self.now_ms = now_ms;
        self.runtime.block_on(async move { tokio::time::sleep_until(until).await });
    }

    /// Goes on after it stood still.
    pub(crate) fn thaw(&mut self, now_ms: u64) {
        self.frozen = false;
        let missed = Duration::from_millis(now_ms.saturating_sub(self.now_ms));
        self.now_ms = now_ms;
        self.runtime.block_on(async move { tokio::time::advance(missed).await });
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Whether it is sure of its lease.
    pub(crate) fn is_sure(&self) -> bool {
        let _entered = self.runtime.enter();
        self.up().is_some_and(|up| up.registry.homes().gate().is_open())
    }

    /// The home rooms for which it acts at this moment.
    pub(crate) fn acts_for(&self) -> Vec<u32> {
        let _entered = self.runtime.enter();
        let Some(up) = self.up() else { return Vec::new() };
        let homes = up.registry.homes();
        let open = homes.gate().is_open();
        (0..HOMES).filter(|home| open && homes.owns(*home)).collect()
    }

    /// The home rooms of which it has something that may not be on disk.
    pub(crate) fn holds(&self) -> Vec<u32> {
        let Some(up) = self.up() else { return Vec::new() };
        let held = |home: &u32| up.registry.homes().owns(*home) || up.registry.is_open(&Homes::name(*home));
        (0..HOMES).filter(held).collect()
    }

    /// Ends as a node does that is told to.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        let (state, up) = (Arc::clone(&self.state), self.up());
        self.runtime.spawn(async move {
            let written = match up {
                Some(up) => up.stop().await,
                None => true,
            };
            lock(&state).ended = Some(End { why: "stopped".into(), lost: !written });
        });
    }
}
