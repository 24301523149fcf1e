//! Fault: a guest's call that did not end as it should, and where in the guest that was.

use std::fmt;

use wasmtime::{Store, Trap, WasmBacktrace};

use super::effects::TooMuch;
use super::imports::{NoIds, NotYours, TooBig, TooManyTimers};
use super::instance::Host;
use hotseat_build::{TEXT_MAX, into_printable, printable};

/// Frames of a fault that are kept, and how long each may be, bytes: names are what the artefact says they are.
const FRAMES_MAX: usize = 32;
const FRAME_MAX: usize = 256;

/// Which limit or error ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The guest trapped.
    Trap,
    /// It ran past its deadline.
    Deadline,
    /// It asked for more memory than it may have.
    Memory,
    /// It recursed past its stack.
    Stack,
    /// It passed a limit of the contract: effects, payload, timers, snapshot size, opcodes of the host's.
    Limit,
}

impl FaultKind {
    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::Limit => "limit",
        }
    }
}

/// A call that did not end as it should. Its effects are gone and the instance is spent.
#[derive(Debug, Clone, thiserror::Error)]
pub struct Fault {
    /// What it was.
    pub kind: FaultKind,
    /// The engine's or the host's words.
    pub text: String,
    /// Where in the guest, innermost first: function, and file and line if the artefact has them.
    pub frames: Vec<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.text)?;
        match self.frames.iter().find(|frame| frame.contains(" (") && !is_runtime(frame)) {
            Some(frame) => write!(f, " at {frame}"),
            None => Ok(()),
        }
    }
}

/// Frames of the language's own panic path tell an author nothing.
fn is_runtime(frame: &str) -> bool {
    ["std::", "core::", "alloc::", "<", "__rust", "rust_", "abort"]
        .iter()
        .any(|prefix| frame.starts_with(prefix))
}

/// What an error of the engine means to the host.
pub(super) fn fault(store: &mut Store<Host>, error: &wasmtime::Error) -> Fault {
    store.data_mut().effects.clear();
    let frames = error.downcast_ref::<WasmBacktrace>().map(frames).unwrap_or_default();
    let trap = error.downcast_ref::<Trap>().copied();
    let kind = match trap {
        _ if store.data().limits.refused().is_some() => FaultKind::Memory,
        Some(Trap::Interrupt) => FaultKind::Deadline,
        Some(Trap::StackOverflow) => FaultKind::Stack,
        Some(_) => FaultKind::Trap,
        None if error.is::<TooMuch>() || error.is::<TooManyTimers>() => FaultKind::Limit,
        None if error.is::<TooBig>() || error.is::<NoIds>() || error.is::<NotYours>() => FaultKind::Limit,
        None => FaultKind::Trap,
    };
    let text = match kind {
        FaultKind::Deadline => "ran past its deadline".to_owned(),
        FaultKind::Memory => store.data().limits.refused().unwrap_or_default().to_owned(),
        // A language's panic is an `unreachable` to the engine; what it said went to the log before.
        FaultKind::Trap if trap == Some(Trap::UnreachableCodeReached) => {
            store.data_mut().log.last_error().unwrap_or_else(|| error.root_cause().to_string())
        }
        _ => error.root_cause().to_string(),
    };
    Fault { kind, text: into_printable(text, TEXT_MAX), frames }
}

fn frames(backtrace: &WasmBacktrace) -> Vec<String> {
    let named = |name: Option<&str>| name.map_or_else(|| "?".into(), demangle);
    let mut frames = Vec::new();
    for frame in backtrace.frames() {
        frames.extend(frame.symbols().iter().map(|symbol| match (symbol.file(), symbol.line()) {
            (Some(file), Some(line)) => format!("{} ({}:{line})", named(symbol.name()), short_path(file)),
            _ => named(symbol.name()),
        }));
        if frame.symbols().is_empty() {
            frames.push(named(frame.func_name()));
        }
    }
    frames.truncate(FRAMES_MAX);
    frames.iter().map(|frame| printable(frame, FRAME_MAX)).collect()
}

fn demangle(name: &str) -> String {
    // The alternate form leaves out the hash, which tells an author nothing.
    format!("{:#}", rustc_demangle::demangle(name))
}

/// The part of a source path an author knows: from the last `src` on, with the crate's folder.
fn short_path(path: &str) -> &str {
    let Some(at) = path.rfind("/src/") else { return path };
    path[..at].rfind('/').map_or(path, |crate_at| &path[crate_at + 1..])
}
