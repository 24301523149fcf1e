//! Engine: the one WebAssembly engine of the process, and the clock of its deadlines.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::warn;
use wasmtime::{Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails};

use super::cache::Cache;

/// The period of the deadline clock. Deadlines are whole milliseconds, so this is the finest that is of use.
pub(super) const EPOCH: Duration = Duration::from_millis(1);

/// Address space that one linear memory reserves: with 4 GiB and a guard, compiled code needs no bounds checks.
const RESERVATION: u64 = 4 << 30;

/// Memories of instances that live only for a moment: rehearsals, and the second instance of a room in a swap.
const SPARE_SLOTS: u32 = 128;

/// Core instances of one component: the guest itself and the two shims that `wit-component` puts around it.
const CORE_INSTANCES: u32 = 4;

/// The engine, its compile cache and its deadline clock. Cheap to clone; the last one stops the clock.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    engine: wasmtime::Engine,
    cache: Cache,
    stop: Arc<AtomicBool>,
}

/// Why there is no engine. None of these pass by themselves.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine refused its configuration on this machine.
    #[error("the WebAssembly engine cannot start: {0:#}")]
    Engine(wasmtime::Error),
    /// The compile cache's directory cannot be made or entered.
    #[error("compile cache {path}: {source}")]
    Cache {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system gave no thread for the deadline clock.
    #[error("no thread for the deadline clock: {0}")]
    Clock(std::io::Error),
}

impl Engine {
    /// Starts the engine for at most `rooms` live instances of at most `memory_max_bytes` each.
    ///
    /// Reserves address space for all of them at once if the system has it (4 GiB and a guard each), else
    /// allocates each on its own, which is slower, with a warning.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn start(cache_dir: PathBuf, rooms: u32, memory_max_bytes: usize) -> Result<Self, EngineError> {
        let cache = Cache::open(cache_dir.clone())
            .map_err(|source| EngineError::Cache { path: cache_dir, source })?;
        let pool = pool(rooms.saturating_add(SPARE_SLOTS), memory_max_bytes);
        let engine = match wasmtime::Engine::new(config().allocation_strategy(pool)) {
            Ok(engine) => engine,
            Err(error) => {
                warn!(
                    rooms,
                    error = format!("{error:#}"),
                    "no address space for a memory pool, allocating singly"
                );
                let single = InstanceAllocationStrategy::OnDemand;
                wasmtime::Engine::new(config().allocation_strategy(single)).map_err(EngineError::Engine)?
            }
        };
        Self::of(engine, cache)
    }

    /// Starts an engine for a few instances, which leaves nothing on disk.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn transient() -> Result<Self, EngineError> {
        let single = InstanceAllocationStrategy::OnDemand;
        let engine =
            wasmtime::Engine::new(config().allocation_strategy(single)).map_err(EngineError::Engine)?;
        Self::of(engine, Cache::none())
    }

    fn of(engine: wasmtime::Engine, cache: Cache) -> Result<Self, EngineError> {
        let stop = Arc::new(AtomicBool::new(false));
        start_clock(&engine, &stop).map_err(EngineError::Clock)?;
        Ok(Self { inner: Arc::new(Inner { engine, cache, stop }) })
    }

    pub(super) fn engine(&self) -> &wasmtime::Engine {
        &self.inner.engine
    }

    pub(super) fn cache(&self) -> &Cache {
        &self.inner.cache
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        // Calls are synchronous and made on the thread that owns the store; support for concurrent calls would
        // add about 290 ns to each of them.
        .concurrency_support(false)
        .epoch_interruption(true)
        // Guests are deterministic: the same inputs give the same bits on every machine.
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_tail_call(true)
        .generate_address_map(true)
        .native_unwind_info(false)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20))
        .wasm_backtrace_details(WasmBacktraceDetails::Enable);
    config
}

fn pool(slots: u32, memory_max_bytes: usize) -> InstanceAllocationStrategy {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES))
        .total_memories(slots)
        .total_tables(slots.saturating_mul(2))
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(1)
        .max_tables_per_component(2)
        .table_elements(20_000)
        .max_component_instance_size(1 << 20)
        .max_memory_size(
            usize::try_from(RESERVATION).map_or(memory_max_bytes, |most| memory_max_bytes.min(most)),
        )
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(16 << 10);
    InstanceAllocationStrategy::Pooling(pool)
}

/// The deadline clock has a thread of its own: a guest that holds every worker of the runtime must not hold it.
fn start_clock(engine: &wasmtime::Engine, stop: &Arc<AtomicBool>) -> std::io::Result<()> {
    let engine = engine.weak();
    let stop = Arc::clone(stop);
    std::thread::Builder::new().name("deadline-clock".into()).spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(EPOCH);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
        }
    })?;
    Ok(())
}
