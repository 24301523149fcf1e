//! Signs: whether a connection does something, and for how long it has not.
//!
//! Time is counted in ticks that the node has lived through: what passes while the process stands still is held against
//! nobody, since what came meanwhile has not been read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{MissedTickBehavior, interval};

use super::Bounds;

/// Bytes of a whole HTTP/2 preface and the head of the settings behind it (RFC 9113, sections 3.4 and 4.1).
const PREFACE: u64 = 24 + 9;

/// The longest time between two looks.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// What is seen of one connection.
#[derive(Debug, Default)]
pub(super) struct Signs {
    read: AtomicU64,
    written: AtomicU64,
    /// The socket takes nothing.
    blocked: AtomicBool,
    /// Requests so far.
    begun: AtomicU64,
    /// Requests under way.
    open: AtomicUsize,
}

/// Why a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// It has not said what it wants.
    Handshake,
    /// It wants nothing.
    Idle,
    /// It does not read what it has asked for.
    Stalled,
}

impl Cut {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
        }
    }

    /// Whether the client is told, so that a request which is on its way is not lost.
    pub(super) fn is_polite(self) -> bool {
        self == Self::Idle
    }
}

impl Signs {
    /// Completes when the connection is to be cut.
    pub(super) async fn watch(&self, bounds: Bounds) -> Cut {
        let shortest = bounds.handshake.min(bounds.idle).min(bounds.stall);
        let every = (shortest / 4).clamp(Duration::from_millis(10), POLL_INTERVAL);
        let mut tick = interval(every);
        // After a time without a look there is one, and what passed in between counts as one tick.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        let mut silence = Silence::default();
        loop {
            tick.tick().await;
            if let Some(cut) = silence.after(every, self, bounds) {
                return cut;
            }
        }
    }
}

/// For how long nothing has happened, as seen at the last look.
#[derive(Debug, Default)]
struct Silence {
    quiet: Duration,
    stuck: Duration,
    begun: u64,
    written: u64,
}

impl Silence {
    /// A look, one tick after the last one.
    fn after(&mut self, tick: Duration, signs: &Signs, bounds: Bounds) -> Option<Cut> {
        let begun = signs.begun.load(Ordering::Relaxed);
        let written = signs.written.load(Ordering::Relaxed);
        let rests = signs.open.load(Ordering::Relaxed) == 0 && begun == self.begun;
        self.quiet = if rests { self.quiet + tick } else { Duration::ZERO };
        let blocked = signs.blocked.load(Ordering::Relaxed) && written == self.written;
        self.stuck = if blocked { self.stuck + tick } else { Duration::ZERO };
        (self.begun, self.written) = (begun, written);
        let speaks = begun > 0 || signs.read.load(Ordering::Relaxed) >= PREFACE;
        if !speaks && self.quiet >= bounds.handshake {
            Some(Cut::Handshake)
        } else if self.quiet >= bounds.idle {
            Some(Cut::Idle)
        } else if self.stuck >= bounds.stall {
            Some(Cut::Stalled)
        } else {
            None
        }
    }
}

/// One request under way, from its head to the end of its answer.
#[derive(Debug)]
pub(super) struct Open {
    signs: Arc<Signs>,
    /// The turn of a large request, and what counts it.
    turn: OnceLock<(OwnedSemaphorePermit, IntGauge)>,
}

impl Open {
    pub(super) fn new(signs: Arc<Signs>) -> Self {
        signs.begun.fetch_add(1, Ordering::Relaxed);
        signs.open.fetch_add(1, Ordering::Relaxed);
        Self { signs, turn: OnceLock::new() }
    }

    /// The request is a large one, and has its turn until it is answered.
    pub(super) fn take_turn(&self, permit: OwnedSemaphorePermit, gauge: IntGauge) {
        gauge.inc();
        // Set once by the body, which asks for one turn.
        let _ = self.turn.set((permit, gauge));
    }

    pub(super) fn has_turn(&self) -> bool {
        self.turn.get().is_some()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some((_, gauge)) = self.turn.get() {
            gauge.dec();
        }
        self.signs.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection whose bytes are seen.
pub(super) struct Watched<S> {
    stream: S,
    signs: Arc<Signs>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, signs: Arc<Signs>) -> Self {
        Self { stream, signs }
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        self.signs.blocked.store(result.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(count)) = result {
            self.signs.written.fetch_add(*count as u64, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.signs.read.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(&result);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn silence_is_counted_while_no_request_is_open() {
        let (handshake, idle, stall) = (5 * SECOND, 20 * SECOND, 10 * SECOND);
        let bounds = Bounds { connections: 1, handshake, idle, stall, uploads: 1, turn: SECOND };
        let looks = |signs: &Signs, silence: &mut Silence| {
            (1..100).find_map(|look| Some((look, silence.after(SECOND, signs, bounds)?)))
        };
        let signs = Arc::new(Signs::default());
        assert_eq!(looks(&signs, &mut Silence::default()), Some((5, Cut::Handshake)));
        signs.read.store(PREFACE, Ordering::Relaxed);
        assert_eq!(looks(&signs, &mut Silence::default()), Some((20, Cut::Idle)));

        let mut silence = Silence::default();
        let open = Open::new(Arc::clone(&signs));
        assert_eq!(looks(&signs, &mut silence), None);
        drop(open);
        // One that came and went between two looks counts too.
        drop(Open::new(Arc::clone(&signs)));
        assert_eq!(looks(&signs, &mut silence), Some((21, Cut::Idle)));

        let _open = Open::new(Arc::clone(&signs));
        signs.blocked.store(true, Ordering::Relaxed);
        signs.written.fetch_add(1, Ordering::Relaxed);
        assert_eq!(looks(&signs, &mut silence), Some((11, Cut::Stalled)));
    }
}
