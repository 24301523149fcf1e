//! Replay: what rooms did, done again off-line, on the version that did it or on others.
//!
//! A [`Source`] is what a dead letter or a journal holds; its [`Case`]s are rooms with their inputs. A [`Run`] hands
//! those to one [`crate::plugin::Version`] step by step; a [`Pair`] hands them to two and says where they part. Guests are
//! deterministic, so a run on the version that was live shows what happened there. Nothing is written, nobody is sent
//! anything.

mod entry;
mod pair;
mod plugins;
mod run;
mod source;

use std::path::PathBuf;

pub use entry::{Entry, Field};
pub use pair::{Difference, Pair, States};
pub use plugins::{Plugins, belongs};
pub use run::{Ended, Happened, Run, State, Step, Summary};
pub use source::{Case, Source};

use crate::journal::InspectError;
use crate::plugin::{EngineError, Fault, InputError, LoadError, VersionError};

/// Why something is not replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file or journal cannot be read.
    #[error(transparent)]
    Look(#[from] InspectError),
    /// A room's base is not one of this version of the host.
    #[error("the base of room {0:?} cannot be read: another version of hotseat wrote it")]
    Base(String),
    /// A room's input is none.
    #[error("room {room:?}: {source}")]
    Inputs {
        /// The room.
        room: String,
        /// Where.
        source: InputError,
    },
    /// A dead letter does not hold one input.
    #[error("the dead letter of room {0:?} holds {1} inputs where the failed one should be")]
    Input(String, usize),
    /// A dead letter holds its input alone.
    #[error(
        "the dead letter of room {room:?} holds the input alone: the room's {omitted_bytes} bytes did not fit in"
    )]
    NoContext {
        /// The room.
        room: String,
        /// What was left out.
        omitted_bytes: u64,
    },
    /// No room of that name is there.
    #[error("there is no room {room:?}; there are {there}")]
    NoRoom {
        /// The room that was asked for.
        room: String,
        /// Some that are there.
        there: String,
    },
    /// Nobody has named an artefact, and none is found.
    #[error("no artefact of plugin {plugin}: {why}")]
    NoPlugin {
        /// The plugin.
        plugin: String,
        /// Where it was looked for.
        why: String,
    },
    /// An artefact cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An artefact is no version.
    #[error("{path}: {source}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Why.
        source: VersionError,
    },
    /// There is no engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A version does not take a room.
    #[error("{version} does not take room {room:?}: {source}")]
    Begin {
        /// The room.
        room: String,
        /// Name and label.
        version: String,
        /// Why.
        source: LoadError,
    },
    /// An input was handled and then, when the room was built again, failed.
    #[error(
        "room {room:?} cannot be followed: input {n}, handled before, fails when it is replayed: {fault}"
    )]
    Unsteady {
        /// The room.
        room: String,
        /// The input.
        n: usize,
        /// How.
        fault: Fault,
    },
}
