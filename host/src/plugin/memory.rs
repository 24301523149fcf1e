//! Memory: the linear memory of all guests of a node together, and who may still grow.
//!
//! Up to seven eighths of the node's bound every guest may grow as its manifest says. The last eighth is for the small:
//! there a guest may grow up to an equal share of the bound. What brings a state back that is there already (a load, a
//! rebuild) is counted and never refused: it would be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::{IntCounter, IntGauge};

/// The part of the bound that only guests below their share may use.
const RESERVE: u64 = 8;

/// The bound, and how much of it is in use.
#[derive(Debug)]
pub struct Memory {
    max_bytes: u64,
    used_bytes: AtomicU64,
    guests: AtomicU64,
    gauges: MemoryGauges,
}

/// What is seen of it from outside.
#[derive(Debug, Clone)]
pub struct MemoryGauges {
    /// Bytes in use.
    pub used: IntGauge,
    /// The bound, bytes.
    pub max: IntGauge,
    /// Growth that was refused because of the node's bound.
    pub refused: IntCounter,
}

impl Memory {
    /// No bound.
    pub fn unbounded() -> Arc<Self> {
        let gauge = |name: &str| IntGauge::new(name, name).expect("the name is a metric's");
        let refused = IntCounter::new("refused", "refused").expect("the name is a metric's");
        Self::new(u64::MAX, MemoryGauges { used: gauge("used"), max: gauge("max"), refused })
    }

    /// At most `max_bytes` for all guests.
    pub fn new(max_bytes: u64, gauges: MemoryGauges) -> Arc<Self> {
        gauges.max.set(i64::try_from(max_bytes).unwrap_or(i64::MAX));
        Arc::new(Self { max_bytes, used_bytes: AtomicU64::new(0), guests: AtomicU64::new(0), gauges })
    }

    /// The bound, bytes.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Whether all of it is in use: nothing more is opened then.
    pub fn is_full(&self) -> bool {
        self.used_bytes.load(Ordering::Relaxed) >= self.max_bytes
    }

    /// Whether a guest that has `held` may have `more` now.
    fn grants(&self, held: u64, more: u64) -> bool {
        let after = self.used_bytes.load(Ordering::Relaxed).saturating_add(more);
        let share = self.max_bytes / self.guests.load(Ordering::Relaxed).max(1);
        let shared = self.max_bytes - self.max_bytes / RESERVE;
        after <= shared || (after <= self.max_bytes && held.saturating_add(more) <= share)
    }
}

/// What one guest has; given back with this.
#[derive(Debug)]
pub(super) struct Held {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Held {
    pub(super) fn none(memory: &Arc<Memory>) -> Self {
        memory.guests.fetch_add(1, Ordering::Relaxed);
        Self { memory: Arc::clone(memory), bytes: 0 }
    }

    /// Takes so much more; false if the node has too little left. A guest that `must` grow is not refused.
    pub(super) fn grow(&mut self, more: u64, must: bool) -> bool {
        if !must && !self.memory.grants(self.bytes, more) {
            self.memory.gauges.refused.inc();
            return false;
        }
        self.bytes += more;
        self.memory.used_bytes.fetch_add(more, Ordering::Relaxed);
        self.memory.gauges.used.add(i64::try_from(more).unwrap_or(i64::MAX));
        true
    }

    /// Gives back what was taken last and could not be had.
    pub(super) fn give_back(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.memory.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.memory.gauges.used.sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// How much it is, bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back(self.bytes);
        self.memory.guests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What this process may use: its control group's limit (cgroup v2, then v1), else the machine's memory. None where the
/// system does not tell.
pub fn of_the_machine() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let number = |path: String| read(&path)?.trim().parse::<u64>().ok();
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().filter_map(|line| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        match controllers {
            "" => number(format!("/sys/fs/cgroup{group}/memory.max"))
                .or_else(|| number("/sys/fs/cgroup/memory.max".into())),
            "memory" => number(format!("/sys/fs/cgroup/memory{group}/memory.limit_in_bytes"))
                .or_else(|| number("/sys/fs/cgroup/memory/memory.limit_in_bytes".into())),
            _ => None,
        }
    });
    let machine = read("/proc/meminfo").and_then(|text| {
        let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.split_whitespace().next()?;
        kib.parse::<u64>().ok().map(|kib| kib.saturating_mul(1024))
    });
    limits.chain(machine).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn memory(max_bytes: u64) -> Arc<Memory> {
        let free = Memory::unbounded();
        Memory::new(max_bytes, free.gauges.clone())
    }

    #[test]
    fn the_largest_is_refused_first_and_the_small_may_still_grow() {
        let memory = memory(64 * MIB);
        let mut large = Held::none(&memory);
        let mut small = Held::none(&memory);
        assert!(large.grow(56 * MIB, false));
        assert!(!large.grow(MIB, false));
        assert!(small.grow(7 * MIB, false));
        assert!(!small.grow(2 * MIB, false));
        assert_eq!(memory.gauges.refused.get(), 2);
        assert_eq!(memory.gauges.used.get(), 63 << 20);
        drop(large);
        assert!(small.grow(49 * MIB, false));
        assert!(!memory.is_full());
        drop(small);
        assert_eq!(memory.gauges.used.get(), 0);
    }

    #[test]
    fn a_state_that_comes_back_is_counted_and_not_refused() {
        let memory = memory(8 * MIB);
        let mut held = Held::none(&memory);
        assert!(held.grow(16 * MIB, true));
        assert!(memory.is_full());
        held.give_back(12 * MIB);
        assert!(!memory.is_full());
        assert!(held.grow(MIB, false));
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(of_the_machine().expect("this system tells") > 64 * MIB);
    }
}
