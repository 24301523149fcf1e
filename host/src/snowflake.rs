//! Snowflake: ids that no two callers share.
//!
//! Layout of gonet/2, from the top: 1 bit 0, 41 bits of milliseconds since 1970, 10 bits of machine, 12 bits of
//! serial.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

const MACHINE_BITS: u32 = 10;
const SERIAL_BITS: u32 = 12;
const TIME_MASK: u64 = (1 << 41) - 1;

/// Hands out ids of one machine, rising, without a lock.
#[derive(Debug)]
pub struct Generator {
    machine: u64,
    /// The last id's time and serial, as one number: `ms << 12 | serial`.
    last: AtomicU64,
    /// In place of the clock.
    stands_at: Option<u64>,
}

impl Generator {
    /// A generator for `machine`, of which the low 10 bits count.
    pub fn new(machine: u16) -> Self {
        Self {
            machine: u64::from(machine) & ((1 << MACHINE_BITS) - 1),
            last: AtomicU64::new(0),
            stands_at: None,
        }
    }

    /// A generator of which the clock stands, so that its ids are the same every time; for replays.
    pub fn standing_at(machine: u16, ms: u64) -> Self {
        Self { stands_at: Some(ms), ..Self::new(machine) }
    }

    /// The next id. Faster than 4,096 a millisecond, or with the clock set back, it runs ahead of the clock rather
    /// than wait or repeat itself.
    pub fn next(&self) -> u64 {
        self.next_at(self.stands_at.unwrap_or_else(now_ms))
    }

    fn next_at(&self, now_ms: u64) -> u64 {
        let floor = (now_ms & TIME_MASK) << SERIAL_BITS;
        let step = |last: u64| floor.max(last + 1);
        let last = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(step(last)))
            .map_or_else(step, step);
        let (ms, serial) = (last >> SERIAL_BITS, last & ((1 << SERIAL_BITS) - 1));
        (ms & TIME_MASK) << (MACHINE_BITS + SERIAL_BITS) | self.machine << SERIAL_BITS | serial
    }
}

/// Milliseconds since 1970; 0 if the clock stands before that.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_where_the_format_says() {
        let id = Generator::new(1023).next_at(1_700_000_000_000);
        assert_eq!(id >> 22, 1_700_000_000_000);
        assert_eq!(id >> 12 & 1023, 1023);
        assert_eq!(id & 4095, 0);
    }

    #[test]
    fn a_standing_clock_gives_the_same_ids_every_time() {
        let ids = || {
            let generator = Generator::standing_at(1, 5);
            [generator.next(), generator.next()]
        };
        assert_eq!(ids(), ids());
        assert_eq!(ids()[0] >> 22, 5);
        assert!(ids()[1] > ids()[0]);
    }

    #[test]
    fn ids_rise_through_bursts_and_clocks_set_back() {
        let generator = Generator::new(1);
        let mut last = 0;
        for now_ms in [5, 5, 3, 9, 1] {
            for _ in 0..10_000 {
                let id = generator.next_at(now_ms);
                assert!(id > last, "{id} after {last} at {now_ms} ms");
                last = id;
            }
        }
    }
}
