//! Engine: the one WebAssembly engine of the process, and the clock of its deadlines.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hotseat_build::bounds;
use tracing::warn;
use wasmtime::{Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails};

use super::cache::Cache;
use super::compiler::CompileLimits;
use super::memory::Memory;
use super::meter::Meter;
use super::processor::{Processor, ProcessorGauges};

/// The period of the deadline clock. Deadlines are whole milliseconds, so this is the finest that is of use.
pub(super) const EPOCH: Duration = Duration::from_millis(1);

/// Address space that one linear memory reserves: with 4 GiB and a guard, compiled code needs no bounds checks.
const RESERVATION: u64 = 4 << 30;

/// Memories of instances that live only for a moment: rehearsals, and the second instance of a room in a swap.
const SPARE_SLOTS: u32 = 128;

/// The engine, its compile cache and its deadline clock. Cheap to clone; the last one stops the clock.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    engine: wasmtime::Engine,
    cache: Cache,
    /// How artefacts are compiled; none: in this process.
    compiler: Option<CompileLimits>,
    processor: Arc<Processor>,
    memory: Arc<Memory>,
    stop: Arc<AtomicBool>,
}

/// What all guests of a node share, and where it is shown.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Long calls.
    pub processor: ProcessorGauges,
    /// Linear memory.
    pub memory: Arc<Memory>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { processor: ProcessorGauges::default(), memory: Memory::unbounded() }
    }
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
    /// Starts the engine for at most `rooms` live instances of at most `memory_max_bytes` each. Artefacts are compiled
    /// in processes of their own within the limits of `compiler`, or, without any, in this one.
    ///
    /// Reserves address space for all of them at once if the system has it (4 GiB and a guard each), else
    /// allocates each on its own, which is slower, with a warning.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn start(
        cache_dir: PathBuf,
        rooms: u32,
        memory_max_bytes: usize,
        compiler: Option<CompileLimits>,
    ) -> Result<Self, EngineError> {
        Self::for_node(cache_dir, rooms, memory_max_bytes, compiler, Shared::default())
    }

    /// As [`Self::start`], with the bounds that a node sets to all of its guests together.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn for_node(
        cache_dir: PathBuf,
        rooms: u32,
        memory_max_bytes: usize,
        compiler: Option<CompileLimits>,
        shared: Shared,
    ) -> Result<Self, EngineError> {
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
        Self::of(engine, cache, compiler, shared)
    }

    /// Starts an engine for a few instances, which leaves nothing on disk and compiles in this process.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub fn transient() -> Result<Self, EngineError> {
        let single = InstanceAllocationStrategy::OnDemand;
        let engine =
            wasmtime::Engine::new(config().allocation_strategy(single)).map_err(EngineError::Engine)?;
        Self::of(engine, Cache::none(), None, Shared::default())
    }

    fn of(
        engine: wasmtime::Engine,
        cache: Cache,
        compiler: Option<CompileLimits>,
        shared: Shared,
    ) -> Result<Self, EngineError> {
        let stop = Arc::new(AtomicBool::new(false));
        let Shared { processor, memory } = shared;
        let processor = Processor::new(Processor::long_calls(), processor);
        start_clock(&engine, &processor, &stop).map_err(EngineError::Clock)?;
        Ok(Self { inner: Arc::new(Inner { engine, cache, compiler, processor, memory, stop }) })
    }

    /// A meter for one more actor.
    pub fn meter(&self) -> Arc<Meter> {
        Meter::new(&self.inner.processor)
    }

    pub(super) fn memory(&self) -> &Arc<Memory> {
        &self.inner.memory
    }

    pub(super) fn engine(&self) -> &wasmtime::Engine {
        &self.inner.engine
    }

    pub(super) fn cache(&self) -> &Cache {
        &self.inner.cache
    }

    pub(super) fn compiler(&self) -> Option<&CompileLimits> {
        self.inner.compiler.as_ref()
    }
}

/// An engine that compiles for the nodes of this machine and runs nothing: with the limits of their pool, whether or not
/// they have one.
pub(super) fn compiling_engine() -> wasmtime::Result<wasmtime::Engine> {
    let most = usize::try_from(RESERVATION).unwrap_or(usize::MAX);
    match wasmtime::Engine::new(config().allocation_strategy(pool(1, most))) {
        Ok(engine) => Ok(engine),
        // Not even for one; what the pool compares has been compared when the artefact was verified.
        Err(_) => wasmtime::Engine::new(config().allocation_strategy(InstanceAllocationStrategy::OnDemand)),
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
        .total_core_instances(slots.saturating_mul(bounds::CORE_INSTANCES))
        .total_memories(slots.saturating_mul(bounds::MEMORIES))
        .total_tables(slots.saturating_mul(bounds::TABLES))
        .max_core_instances_per_component(bounds::CORE_INSTANCES)
        .max_memories_per_component(bounds::MEMORIES)
        .max_tables_per_component(bounds::TABLES)
        .table_elements(bounds::TABLE_ELEMENTS as usize)
        .max_core_instance_size(bounds::INSTANCE_BYTES)
        .max_component_instance_size(bounds::INSTANCE_BYTES)
        .max_memory_size(
            usize::try_from(RESERVATION).map_or(memory_max_bytes, |most| memory_max_bytes.min(most)),
        )
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(16 << 10);
    InstanceAllocationStrategy::Pooling(pool)
}

/// The deadline clock has a thread of its own: a guest that holds every worker of the runtime must not hold it.
fn start_clock(
    engine: &wasmtime::Engine,
    processor: &Arc<Processor>,
    stop: &Arc<AtomicBool>,
) -> std::io::Result<()> {
    let engine = engine.weak();
    let (processor, stop) = (Arc::clone(processor), Arc::clone(stop));
    std::thread::Builder::new().name("deadline-clock".into()).spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(EPOCH);
            let Some(engine) = engine.upgrade() else { return };
            processor.tick();
            engine.increment_epoch();
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use hotseat_build::{Manifest, VerifyError, verify, with_manifest};
    use wasmtime::component::Component;

    use super::*;

    /// Whether the check that `inspect`, `build` and every node make lets the component pass as far as the engine goes.
    fn passes(bytes: &[u8]) -> bool {
        let manifest =
            Manifest::parse("name = \"x\"\nversion = \"1.0.0\"\nworld = \"game-logic\"\n").unwrap();
        let refusal = verify(&with_manifest(bytes.to_vec(), &manifest)).unwrap_err();
        match refusal {
            // It passed: what is missing is what a plugin exports.
            VerifyError::Missing { .. } => true,
            VerifyError::Feature { .. } | VerifyError::Bound { .. } => false,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_check_before_a_deployment_says_what_the_engine_says() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::start(dir.path().to_owned(), 0, 1 << 30, None).unwrap();
        let instances = |count: u32, module: &str| {
            let instances = "(core instance (instantiate $m))".repeat(count as usize);
            format!("(component (core module $m {module}) {instances})")
        };
        let module = |content: &str| instances(1, content);
        let most = bounds::CORE_INSTANCES;
        let elements = bounds::TABLE_ELEMENTS;
        for (text, fine) in [
            (instances(38, ""), true),
            (instances(most, ""), true),
            (instances(most + 1, ""), false),
            (instances(2, "(memory 1)"), false),
            (instances(bounds::TABLES, "(table 1 funcref)"), true),
            (instances(bounds::TABLES + 1, "(table 1 funcref)"), false),
            (module(&format!("(table {elements} funcref)")), true),
            (module(&format!("(table {} funcref)", elements + 1)), false),
            (module("(memory i64 1)"), false),
            (module("(memory 1 1 shared)"), false),
            (module("(tag)"), false),
            (module("(func (param externref))"), false),
            (
                module("(func (param v128) (result v128) local.get 0 local.get 0 i8x16.relaxed_swizzle)"),
                false,
            ),
            (module("(func (param v128) (result v128) local.get 0 local.get 0 i8x16.swizzle)"), true),
            (module("(func $f return_call $f)"), true),
            (module("(memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0)))"), true),
            (module("(type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0)))"), true),
            // As many functions as are allowed fit into what an instance may take.
            (module(&format!("(table 1 funcref) {}", "(func)".repeat(100_000))), true),
        ] {
            let bytes = wat::parse_str(&text).unwrap();
            let start: String = text.chars().take(100).collect();
            let compiled = Component::from_binary(engine.engine(), &bytes);
            assert_eq!(passes(&bytes), fine, "{start}");
            assert_eq!(compiled.is_ok(), fine, "{start}: {:?}", compiled.err());
        }
    }
}
