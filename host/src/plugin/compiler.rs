//! Compiler: verifies and compiles artefacts in a process of their own, so that no file takes the node with it.
//!
//! The process is this program again, at the lowest priority, with limits on memory and time ([`super::worker`]). The
//! artefact goes down its standard input, which stays open: a worker whose node is gone, or whose caller has given up,
//! sees it end and ends too.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use hotseat_build::printable;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::worker;

/// The command of the program that is a worker; not for people.
pub const WORKER_COMMAND: &str = "compile-worker";

/// Time of the clock for each second of the processor that a compilation may take: it gives way to everything else, and on
/// a busy machine gets a small share.
const CLOCK: u32 = 4;

/// What a worker may say, bytes; the rest is not read.
const TEXT_MAX: u64 = 16 << 10;

/// What a compilation may take.
#[derive(Debug, Clone)]
pub struct CompileLimits {
    /// The `hotseat` program that is started for it; this one if none is named.
    pub program: Option<PathBuf>,
    /// The largest artefact, bytes.
    pub artefact_max_bytes: usize,
    /// Memory of the process, bytes.
    pub memory_max_bytes: usize,
    /// Time of the processor; of the clock four times that.
    pub timeout: Duration,
}

/// Why an artefact was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// More bytes than are taken.
    #[error("the artefact has {found} bytes, artefact_max_bytes = {limit}")]
    Size {
        /// How many.
        found: usize,
        /// How many may be.
        limit: usize,
    },
    /// It is no plugin that a node runs; the text names what is wrong.
    #[error("{0}")]
    Refused(String),
    /// It takes too long.
    #[error("compiling it takes longer than compile_timeout_ms = {0}: make it smaller, or allow more")]
    Timeout(u128),
    /// It takes too much memory.
    #[error(
        "compiling it takes more memory than compile_memory_max_bytes = {0}: make it smaller, or allow more"
    )]
    Memory(usize),
    /// The compiler failed in a way it should not.
    #[error("the compiler ended with {status}: {text}")]
    Died {
        /// How.
        status: ExitStatus,
        /// The last it said.
        text: String,
    },
    /// There is no process for it.
    #[error("cannot run the compiler {program}: {source}")]
    Start {
        /// Which program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The result cannot be kept in, or read from, the compile cache.
    #[error("the compile cache: {0}")]
    Cache(String),
}

impl CompileError {
    /// Its name in metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Size { .. } | Self::Refused(_) => "refused",
            Self::Timeout(_) => "timeout",
            Self::Memory(_) => "memory",
            Self::Died { .. } | Self::Start { .. } | Self::Cache(_) => "failed",
        }
    }
}

impl CompileLimits {
    /// Verifies `artefact` and writes its compiled code to the file `to`.
    ///
    /// Dropping the future kills the process.
    ///
    /// # Errors
    /// See [`CompileError`]; what is at `to` then is of no use.
    pub(super) async fn compile(&self, artefact: &[u8], to: &Path) -> Result<(), CompileError> {
        let limit = self.artefact_max_bytes;
        if artefact.len() > limit {
            return Err(CompileError::Size { found: artefact.len(), limit });
        }
        let program = match &self.program {
            Some(program) => program.clone(),
            None => this_program().map_err(|source| CompileError::Start {
                program: PathBuf::from("of this process"),
                source,
            })?,
        };
        let mut child = Command::new(&program)
            .arg(WORKER_COMMAND)
            .arg(to)
            .arg(self.memory_max_bytes.to_string())
            .arg(self.timeout.as_secs().max(1).to_string())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| CompileError::Start { program, source })?;
        let timeout = CompileError::Timeout(self.timeout.as_millis());
        let Ok(ended) = tokio::time::timeout(self.timeout * CLOCK, talk(&mut child, artefact)).await else {
            return Err(timeout);
        };
        let (status, said, cried) = ended.map_err(|error| CompileError::Cache(error.to_string()))?;
        match status.code() {
            Some(0) => Ok(()),
            Some(code) if code == i32::from(worker::REFUSED) => Err(CompileError::Refused(said)),
            Some(code) if code == i32::from(worker::NOT_WRITTEN) => Err(CompileError::Cache(said)),
            _ if cried.contains(OUT_OF_MEMORY) => Err(CompileError::Memory(self.memory_max_bytes)),
            _ if worker::is_over_time(status) => Err(timeout),
            _ => Err(CompileError::Died { status, text: cried }),
        }
    }
}

/// The program that runs, also if another version has taken its place on disk since.
fn this_program() -> io::Result<PathBuf> {
    let own = Path::new("/proc/self/exe");
    if own.exists() { Ok(own.to_owned()) } else { std::env::current_exe() }
}

/// What Rust's runtime says when it ends a process for want of memory.
const OUT_OF_MEMORY: &str = "memory allocation of";

/// Gives a worker its artefact and waits for its end: how it ended, its standard output and its standard error.
async fn talk(child: &mut Child, artefact: &[u8]) -> io::Result<(ExitStatus, String, String)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut stdin = stdin.expect("it was asked for");
    let give = async {
        let length = artefact.len() as u64;
        // A worker that refuses what it has read so far has ended; what it says counts.
        let _ = stdin.write_all(&length.to_le_bytes()).await;
        let _ = stdin.write_all(artefact).await;
    };
    let (said, cried, ()) = tokio::join!(text(stdout), text(stderr), give);
    // Its standard input stays open until here: it would take the end of it for that of the node.
    let status = child.wait().await?;
    drop(stdin);
    Ok((status, said, cried))
}

async fn text(from: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What cannot be read any more is missed; how the process ended says the rest.
        let _ = from.take(TEXT_MAX).read_to_end(&mut bytes).await;
    }
    // It may repeat what the artefact says.
    printable(String::from_utf8_lossy(&bytes).trim(), bytes.len().saturating_mul(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_worker_says_is_one_bounded_line() {
        let said = "name\n\u{1b}[31m\u{202e}".repeat(10_000);
        let text = text(Some(said.as_bytes())).await;
        assert!(text.starts_with("name  [31m name"), "{text}");
        assert!(text.len() <= 3 * TEXT_MAX as usize && printable(&text, text.len()) == text);
    }
}
