//! Plugin: everything that touches the WebAssembly engine.
//!
//! An [`Engine`] compiles an artefact to a [`Version`]; a [`Version`] makes [`Instance`]s; an [`Instance`] is one
//! guest that takes [`Input`]s and leaves [`Effects`]. Knows nothing of rooms, sessions or sockets, and no engine
//! type leaves this module.

mod cache;
mod compiler;
mod deadline;
mod effects;
mod engine;
mod env;
mod fault;
mod guest;
mod imports;
mod input;
mod instance;
mod memory;
mod meter;
mod processor;
mod profile_write;
mod profiles;
mod version;
mod worker;

pub use compiler::{CompileError, CompileLimits, WORKER_COMMAND};
pub use effects::{Effect, Effects};
pub use engine::{Engine, EngineError, Shared};
pub use env::Env;
pub use fault::{Fault, FaultKind};
pub use guest::{GAME_WORLD, SERVICE_WORLD};
pub use hotseat_build::{TEXT_MAX, printable};
pub use input::{Input, InputError, Records};
pub use instance::{Instance, LoadError, Snapshot, Verdict};
pub use memory::{Memory, MemoryGauges, of_the_machine};
pub use meter::{Meter, Used};
pub use processor::{Processor, ProcessorGauges};
pub use profile_write::{ProfileWrite, next_version, puts_of};
pub use version::{Version, VersionError};
pub use worker::{Work, work};
