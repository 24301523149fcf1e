//! How often a sender may post: a token bucket, kept as one number.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use serde::{Deserialize, Serialize};

/// A minute in the unit of this module.
const MINUTE_US: u64 = 60_000_000;

/// What one sender costs of the shard's memory, in bytes: two numbers and their share of a tree's node.
const SENDER_BYTES: u64 = 32;

/// Of how many senders the bucket is looked at, at each post, to see whether it is full and can go.
const SWEPT: usize = 2;

/// A limit: so many messages at once, and so many a minute on average.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Messages a minute; 0 for no limit.
    pub per_minute: u64,
    /// Messages that may follow one another at once; at least 1.
    pub burst: u64,
}

/// The senders whose buckets are not full.
///
/// A bucket is the time at which it will be full again, in microseconds since 1970: each message moves that by the
/// time one token takes, and may not move it further ahead than a whole bucket takes. One that is full is as good as
/// none, so it is forgotten.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Rate {
    full_at_us: BTreeMap<u64, u64>,
    /// The sender the next sweep begins behind.
    swept: u64,
}

impl Rate {
    /// What all buckets cost of the shard's memory, in bytes.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.full_at_us.len() as u64 * SENDER_BYTES
    }

    /// What the bucket of a sender would cost in addition.
    #[must_use]
    pub fn growth(&self, sender: u64) -> u64 {
        if sender == 0 || self.full_at_us.contains_key(&sender) { 0 } else { SENDER_BYTES }
    }

    /// Whether the sender may post now. Takes nothing.
    ///
    /// # Errors
    /// The time until it may, in milliseconds, at least 1.
    pub fn check(&self, limit: Limit, sender: u64, now_ms: u64) -> Result<(), u64> {
        if sender == 0 || limit.per_minute == 0 {
            return Ok(());
        }
        let token_us = MINUTE_US / limit.per_minute;
        let now_us = now_ms.saturating_mul(1000);
        let full_at_us = self.full_at_us.get(&sender).copied().unwrap_or(0).max(now_us);
        let early_us =
            (full_at_us + token_us).saturating_sub(now_us.saturating_add(token_us * limit.burst.max(1)));
        if early_us == 0 { Ok(()) } else { Err(early_us.div_ceil(1000)) }
    }

    /// Takes the sender's token for one message, after [`check`](Rate::check) has allowed it.
    pub fn take(&mut self, limit: Limit, sender: u64, now_ms: u64) {
        let now_us = now_ms.saturating_mul(1000);
        self.sweep(now_us);
        if sender != 0 && limit.per_minute != 0 {
            let full_at_us = self.full_at_us.entry(sender).or_insert(0);
            *full_at_us = (*full_at_us).max(now_us) + MINUTE_US / limit.per_minute;
        }
    }

    /// Forgets full buckets among the next few: more than one post can add, so full ones do not pile up.
    fn sweep(&mut self, now_us: u64) {
        for _ in 0..SWEPT {
            let next = self.full_at_us.range((Excluded(self.swept), Unbounded)).next();
            let Some((&sender, &full_at_us)) = next else {
                self.swept = 0;
                return;
            };
            self.swept = sender;
            if full_at_us <= now_us {
                self.full_at_us.remove(&sender);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { per_minute: 60, burst: 3 };

    fn post(rate: &mut Rate, sender: u64, now_ms: u64) -> Result<(), u64> {
        rate.check(LIMIT, sender, now_ms)?;
        rate.take(LIMIT, sender, now_ms);
        Ok(())
    }

    #[test]
    fn a_burst_then_the_average() {
        let mut rate = Rate::default();
        for _ in 0..3 {
            assert_eq!(post(&mut rate, 7, 10_000), Ok(()));
        }
        assert_eq!(post(&mut rate, 7, 10_000), Err(1000));
        assert_eq!(post(&mut rate, 7, 10_999), Err(1));
        assert_eq!(post(&mut rate, 7, 11_000), Ok(()));
        assert_eq!(post(&mut rate, 7, 11_000), Err(1000));
        assert_eq!(post(&mut rate, 8, 11_000), Ok(()), "another sender has a bucket of its own");
        for _ in 0..3 {
            assert_eq!(post(&mut rate, 7, 60_000), Ok(()), "the bucket is full again");
        }
        assert_eq!(post(&mut rate, 7, 60_000), Err(1000));
    }

    #[test]
    fn the_system_and_no_limit_are_free() {
        let mut rate = Rate::default();
        let none = Limit { per_minute: 0, burst: 1 };
        for _ in 0..1000 {
            assert_eq!(post(&mut rate, 0, 1), Ok(()));
            assert_eq!(rate.check(none, 7, 1), Ok(()));
            rate.take(none, 7, 1);
        }
        assert_eq!(rate.cost(), 0);
    }

    #[test]
    fn full_buckets_do_not_pile_up() {
        let mut rate = Rate::default();
        for step in 0..10_000 {
            // Each sender posts once and has a full bucket a second later, when 10 others have posted.
            assert_eq!(post(&mut rate, 1 + step, 100 * step), Ok(()));
        }
        assert!(rate.cost() <= 64 * SENDER_BYTES, "{} senders", rate.full_at_us.len());
    }
}
