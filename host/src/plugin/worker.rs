//! Worker: the process that verifies and compiles one artefact for a node, and has nothing else to lose.

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use rustix::process::{Resource, Rlimit, Signal, nice, setrlimit};
use wasmtime::component::Component;

use super::engine::compiling_engine;

/// The exit status for a file that is no plugin; standard output says why.
pub(super) const REFUSED: u8 = 3;

/// The exit status when the result cannot be written; standard output says why.
pub(super) const NOT_WRITTEN: u8 = 4;

/// The exit status when nobody waits for the result any more.
const ABANDONED: u8 = 5;

/// Below everything that players wait for.
const NICE: i32 = 10;

/// Compilers recurse over what is nested; the validator bounds how deep that is.
const STACK_BYTES: usize = 64 << 20;

/// What a worker is told.
#[derive(Debug, Clone)]
pub struct Work {
    /// Where the compiled code goes.
    pub to: PathBuf,
    /// Memory it may take, bytes.
    pub memory_max_bytes: u64,
    /// Time of the processor it may take, seconds.
    pub seconds: u64,
}

/// Reads the artefact from standard input, verifies and compiles it. The exit status, and what there is to say.
pub fn work(work: &Work) -> (u8, String) {
    if let Err(error) = limit(work) {
        return (NOT_WRITTEN, format!("the compiler cannot be limited: {error}"));
    }
    let artefact = match receive() {
        Ok(artefact) => artefact,
        Err(_) => return (ABANDONED, String::new()),
    };
    let to = work.to.clone();
    let compile = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || compile(&artefact, &to));
    match compile.map(std::thread::JoinHandle::join) {
        Ok(Ok(ended)) => ended,
        Ok(Err(_)) => (REFUSED, "does not compile: the compiler gave up on it".into()),
        Err(error) => (NOT_WRITTEN, error.to_string()),
    }
}

/// Whether a worker was ended because it took too much time of the processor.
pub(super) fn is_over_time(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::XCPU.as_raw())
}

fn limit(work: &Work) -> io::Result<()> {
    let at_most = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
    // Not the address space: the engine reserves gigabytes of it that it never touches.
    setrlimit(Resource::Data, at_most(work.memory_max_bytes))?;
    setrlimit(Resource::Cpu, Rlimit { current: Some(work.seconds), maximum: Some(work.seconds + 1) })?;
    setrlimit(Resource::Core, at_most(0))?;
    // Of this thread, and of those it starts.
    nice(NICE)?;
    Ok(())
}

/// The artefact, with its length before it; from then on the end of standard input ends the process.
fn receive() -> io::Result<Vec<u8>> {
    let mut stdin = io::stdin();
    let mut length = [0; 8];
    stdin.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut artefact = Vec::new();
    (&mut stdin).take(length).read_to_end(&mut artefact)?;
    if artefact.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    std::thread::Builder::new().spawn(move || {
        // Nothing comes any more: whatever this gives, who asked is gone.
        let _ = stdin.read(&mut [0]);
        std::process::exit(ABANDONED.into());
    })?;
    Ok(artefact)
}

fn compile(artefact: &[u8], to: &Path) -> (u8, String) {
    if let Err(error) = hotseat_build::verify(artefact) {
        return (REFUSED, error.to_string());
    }
    let engine = match compiling_engine() {
        Ok(engine) => engine,
        Err(error) => return (NOT_WRITTEN, format!("{error:#}")),
    };
    // Loaded too, not only compiled: that is what compares it with the limits of the memory pool.
    let code = Component::from_binary(&engine, artefact).and_then(|component| component.serialize());
    match code {
        Ok(code) => match std::fs::write(to, code) {
            Ok(()) => (0, String::new()),
            Err(error) => (NOT_WRITTEN, format!("{}: {error}", to.display())),
        },
        Err(error) => (REFUSED, format!("does not compile: {error:#}")),
    }
}
