//! Dead letters: inputs that guests failed on, each in a file of its own with what it takes to replay it.
//!
//! A file `ROOM-TIMESTAMP-N.dead` has the form of a segment: a record that says what it is about ([`About`], JSON), the
//! room's base, its inputs up to the one that failed, and that one. Written by a thread of its own; whatever goes wrong
//! costs the letter.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use super::JournalError;
use super::record::{Kind, write_record};
use super::segment::{MAGIC, at};
use crate::files;
use crate::telemetry::health::Part;

/// Base and log of all letters that wait to be written, bytes; so no letter is much larger either. One that does not
/// fit holds its input alone.
const CONTEXT_MAX: usize = 64 << 20;

/// Letters that may wait to be written.
const QUEUE: usize = 64;

/// Letters in one [`WINDOW`]: a client that makes a guest fail again and again must not keep the disk busy.
const BURST: u32 = 50;
const WINDOW: Duration = Duration::from_secs(10);

/// What the files' names end in.
const EXTENSION: &str = "dead";

/// Why a letter was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The guest failed on the input; the room goes on without it.
    Skipped,
    /// A version on probation failed on it; the version before it took over.
    Reverted,
    /// It was handled once and failed when the room was rebuilt; the room goes on without it.
    Replayed,
    /// The guest failed when it was to write its state down; the room goes on. There is no input.
    Unsaved,
    /// The host ended the room: it asked for too much, or failed too often. There is no input.
    Closed,
}

impl Cause {
    /// Whether a letter has an input that the guest failed on.
    pub fn has_input(self) -> bool {
        !matches!(self, Self::Unsaved | Self::Closed)
    }
}

/// What a letter is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The plugin's name.
    pub plugin: String,
    /// The label of the version that failed.
    pub version: String,
    /// The sha256 of its artefact, hex.
    pub digest: String,
    /// When it failed, ms since 1970.
    pub failed_at_ms: u64,
    /// What became of the input.
    pub cause: Cause,
    /// The kind of the fault: `trap`, `deadline`, `memory`, `stack` or `limit`.
    pub fault: String,
    /// The engine's or the guest's words.
    pub text: String,
    /// Where in the guest, innermost first.
    pub frames: Vec<String>,
    /// The plugin's settings, which guests read.
    pub settings: BTreeMap<String, String>,
    /// Size of a base and a log that were too large to be kept; 0 if they are here.
    pub omitted_bytes: u64,
}

/// What a room was when it met the input.
pub struct Context {
    /// Writes the base down; called on the writer's thread.
    pub base: Box<dyn FnOnce() -> Vec<u8> + Send>,
    /// The inputs since.
    pub inputs: Vec<u8>,
}

/// An input that a guest failed on.
pub struct DeadLetterFile {
    /// The room.
    pub room: Arc<str>,
    /// What happened. [`About::omitted_bytes`] is filled in on the way.
    pub about: About,
    /// What the room was.
    pub context: Option<Context>,
    /// The input, one record with the ids its call drew.
    pub input: Vec<u8>,
}

/// What is counted.
#[derive(Debug, Clone)]
pub struct Counters {
    /// Letters written.
    pub written: IntCounter,
    /// Letters that could not be.
    pub lost: IntCounter,
}

/// Where letters are posted.
#[derive(Debug)]
pub struct DeadLetters {
    sender: Mutex<Option<SyncSender<(DeadLetterFile, usize)>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    waiting: Arc<AtomicUsize>,
    context_max: usize,
    window: Mutex<(Instant, u32)>,
    counters: Counters,
}

impl DeadLetters {
    /// Keeps at most `most` letters in `dir`, which is made for the first of them; 0 keeps none.
    ///
    /// # Errors
    /// [`JournalError::Io`] if the system gives no thread.
    pub fn open(dir: &Path, most: usize, counters: Counters) -> Result<Self, JournalError> {
        Self::bounded(dir, most, counters, CONTEXT_MAX)
    }

    fn bounded(
        dir: &Path,
        most: usize,
        counters: Counters,
        context_max: usize,
    ) -> Result<Self, JournalError> {
        let waiting = Arc::new(AtomicUsize::new(0));
        let (mut sender, mut writer) = (None, None);
        if most > 0 {
            let (send, dead_letters) = sync_channel(QUEUE);
            let counters = counters.clone();
            let work = Writer {
                dir: dir.to_owned(),
                most,
                waiting: Arc::clone(&waiting),
                counters,
                part: Part::default(),
                serial: 0,
            };
            let thread = std::thread::Builder::new().name("dead-letters".into());
            writer = Some(thread.spawn(move || work.run(&dead_letters)).map_err(at(dir))?);
            sender = Some(send);
        }
        Ok(Self {
            sender: Mutex::new(sender),
            writer: Mutex::new(writer),
            waiting,
            context_max,
            window: Mutex::new((Instant::now(), 0)),
            counters,
        })
    }

    /// Posts a letter. `letter` makes it, with its context, of about `context_bytes`, if there is space for that; it
    /// is not called if no letter is wanted. Never blocks.
    pub fn post(&self, context_bytes: usize, letter: impl FnOnce(bool) -> DeadLetterFile) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(sender) = sender else { return };
        if !self.admit() {
            return self.counters.lost.inc();
        }
        let fits = |waiting: usize| waiting.checked_add(context_bytes).filter(|sum| *sum <= self.context_max);
        let whole = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        let mut letter = letter(whole);
        if !whole {
            letter.about.omitted_bytes = context_bytes as u64;
        }
        let taken = if whole { context_bytes } else { 0 };
        if sender.try_send((letter, taken)).is_err() {
            self.waiting.fetch_sub(taken, Ordering::Relaxed);
            self.counters.lost.inc();
        }
    }

    fn admit(&self) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.0.elapsed() >= WINDOW {
            *window = (Instant::now(), 0);
        }
        window.1 = window.1.saturating_add(1);
        if window.1 == BURST + 1 {
            warn!(limit = BURST, per_s = WINDOW.as_secs(), "guests fail too often, dead letters dropped");
        }
        window.1 <= BURST
    }

    /// Writes what waits, and takes no more. Blocks until then.
    pub fn close(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            error!("the writer of dead letters ended in a panic");
        }
    }
}

impl Drop for DeadLetters {
    fn drop(&mut self) {
        self.close();
    }
}

struct Writer {
    dir: PathBuf,
    most: usize,
    waiting: Arc<AtomicUsize>,
    counters: Counters,
    /// Told in the log alone: a node without dead letters is a whole node.
    part: Part,
    serial: u64,
}

impl Writer {
    fn run(mut self, dead_letters: &Receiver<(DeadLetterFile, usize)>) {
        while let Ok((letter, taken)) = dead_letters.recv() {
            let room = Arc::clone(&letter.room);
            match self.write(letter) {
                Ok(path) => {
                    self.part.works();
                    self.prune();
                    info!(%room, file = %path.display(), "dead letter written");
                    self.counters.written.inc();
                }
                Err(error) => {
                    let dir = self.dir.display();
                    self.part.failed("dead letter lost", &format_args!("{dir}: {error}"));
                    self.counters.lost.inc();
                }
            }
            self.waiting.fetch_sub(taken, Ordering::Relaxed);
        }
    }

    /// The file is there whole or not at all.
    fn write(&mut self, letter: DeadLetterFile) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.dir)?;
        self.serial += 1;
        let room: String = letter.room.chars().map(in_a_name).collect();
        let name = format!("{room}-{}-{}.{EXTENSION}", letter.about.failed_at_ms, self.serial);
        let path = self.dir.join(name);
        // It holds what players sent, and the plugin's settings.
        files::write_private(&path, &encode(letter))?;
        Ok(path)
    }

    /// Removes the oldest letters above the bound, and what a process that was killed left half written.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        let mut dead_letters: Vec<_> = paths.iter().filter_map(|path| Some((age(path)?, path))).collect();
        dead_letters.sort();
        let above = dead_letters.len().saturating_sub(self.most);
        let old = dead_letters.iter().take(above).map(|(_, path)| *path);
        let half = paths.iter().filter(|path| path.extension().is_some_and(|it| it == "partial"));
        for path in old.chain(half) {
            if let Err(error) = fs::remove_file(path) {
                warn!(file = %path.display(), %error, "old dead letter not removed");
            }
        }
    }
}

fn in_a_name(c: char) -> char {
    if c.is_ascii_alphanumeric() || "-_.#".contains(c) { c } else { '_' }
}

/// When a letter was written and as which of its process; none if the file is no letter.
fn age(path: &Path) -> Option<(u64, u64)> {
    let name = path.file_name()?.to_str()?.strip_suffix(EXTENSION)?.strip_suffix('.')?;
    let mut parts = name.rsplitn(3, '-');
    let serial = parts.next()?.parse().ok()?;
    let at_ms = parts.next()?.parse().ok()?;
    parts.next().map(|_| (at_ms, serial))
}

fn encode(letter: DeadLetterFile) -> Vec<u8> {
    let DeadLetterFile { room, about, context, input } = letter;
    let about = serde_json::to_vec(&about).expect("plain data with text for keys encodes");
    let mut bytes = MAGIC.to_vec();
    write_record(&mut bytes, 0, Kind::DeadLetter, &room, &about);
    if let Some(Context { base, inputs }) = context {
        write_record(&mut bytes, 0, Kind::Base, &room, &base());
        write_record(&mut bytes, 0, Kind::Inputs, &room, &inputs);
    }
    write_record(&mut bytes, 0, Kind::Inputs, &room, &input);
    bytes
}

#[cfg(test)]
pub(super) mod tests;
