//! Limits: how much a client may send. Token buckets with the time given by the caller. Pure.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

/// A rate and how far a client may run ahead of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Units a second, on average.
    pub per_s: NonZeroU32,
    /// Units at once.
    pub burst: NonZeroU32,
}

/// What one connection may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Whole frames, heartbeats included.
    pub frames: Rate,
    /// Bytes on the wire, size fields included.
    pub bytes: Rate,
}

/// One unit in a bucket's own small change: a unit a second is one of these a nanosecond, so nothing is ever
/// rounded away. A burst of `u32::MAX` units still fits a u64.
const UNIT: u64 = 1_000_000_000;

/// A token bucket. Starts full.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    level: u64,
    filled: Instant,
}

impl Bucket {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, level: Self::brim(rate), filled: now }
    }

    fn brim(rate: Rate) -> u64 {
        u64::from(rate.burst.get()) * UNIT
    }

    /// Adds what time has brought since the last call. Time that stands still or goes back brings nothing.
    pub(super) fn fill(&mut self, now: Instant) {
        let passed: Duration = now.saturating_duration_since(self.filled);
        let nanos = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
        let gained = nanos.saturating_mul(u64::from(self.rate.per_s.get()));
        self.level = self.level.saturating_add(gained).min(Self::brim(self.rate));
        self.filled = self.filled.max(now);
    }

    /// Takes `units`, or says that they are not there (and takes nothing).
    pub(super) fn take(&mut self, units: u64) -> bool {
        match units.checked_mul(UNIT).and_then(|cost| self.level.checked_sub(cost)) {
            Some(level) => {
                self.level = level;
                true
            }
            None => false,
        }
    }
}

/// The two buckets of a connection.
#[derive(Debug)]
pub(super) struct Limiter {
    frames: Bucket,
    bytes: Bucket,
}

/// Which rate was exceeded; the text for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Exceeded {
    #[error("more than {} frames a second (bursts of {})", .0.per_s, .0.burst)]
    Frames(Rate),
    #[error("more than {} bytes a second (bursts of {})", .0.per_s, .0.burst)]
    Bytes(Rate),
}

impl Limiter {
    pub(super) fn new(rates: Rates, now: Instant) -> Self {
        Self { frames: Bucket::new(rates.frames, now), bytes: Bucket::new(rates.bytes, now) }
    }

    /// One socket read of `bytes` at `now`. Call it before the read's frames are [counted](Self::frame).
    pub(super) fn read(&mut self, bytes: usize, now: Instant) -> Result<(), Exceeded> {
        self.frames.fill(now);
        self.bytes.fill(now);
        if self.bytes.take(bytes as u64) { Ok(()) } else { Err(Exceeded::Bytes(self.bytes.rate)) }
    }

    /// One whole frame.
    pub(super) fn frame(&mut self) -> Result<(), Exceeded> {
        if self.frames.take(1) { Ok(()) } else { Err(Exceeded::Frames(self.frames.rate)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_s: u32, burst: u32) -> Rate {
        Rate { per_s: NonZeroU32::new(per_s).unwrap(), burst: NonZeroU32::new(burst).unwrap() }
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        // (milliseconds since the start, units wanted, granted)
        let table = [
            (0, 6, false), // more than the burst is never there
            (0, 5, true),
            (0, 1, false),
            (99, 1, false),
            (100, 1, true), // 10 a second: one each 100 ms
            (150, 1, false),
            (200, 1, true),  // the half unit of before was not lost
            (100, 1, false), // time that goes back brings nothing
            (10_000, 5, true),
            (10_000, 1, false), // a long wait brings no more than the burst
            (10_000, u64::MAX, false),
        ];
        let mut bucket = Bucket::new(rate(10, 5), start);
        for (step, (at, units, granted)) in table.into_iter().enumerate() {
            bucket.fill(start + Duration::from_millis(at));
            assert_eq!(bucket.take(units), granted, "step {step}");
        }
    }

    #[test]
    fn the_largest_rate_does_not_overflow() {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate(u32::MAX, u32::MAX), start);
        assert!(bucket.take(u64::from(u32::MAX)));
        assert!(!bucket.take(1));
        bucket.fill(start + Duration::from_secs(1 << 33));
        assert!(bucket.take(u64::from(u32::MAX)));
    }

    #[test]
    fn frames_and_bytes_are_limited_apart() {
        let now = Instant::now();
        let rates = Rates { frames: rate(1, 2), bytes: rate(1, 100) };
        let mut limiter = Limiter::new(rates, now);
        assert_eq!(limiter.read(100, now), Ok(()));
        assert_eq!(limiter.frame(), Ok(()));
        assert_eq!(limiter.frame(), Ok(()));
        assert_eq!(limiter.frame(), Err(Exceeded::Frames(rates.frames)));
        let over = limiter.read(1, now);
        assert_eq!(over, Err(Exceeded::Bytes(rates.bytes)));
        assert_eq!(over.unwrap_err().to_string(), "more than 1 bytes a second (bursts of 100)");
    }
}
