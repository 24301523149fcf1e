//! Version 2 with a fault each, on purpose: what a host is measured by.

use hotseat_guest::decode;

use crate::arena::{Arena, Rules};
use crate::v1::V1;
use crate::v2::{self, Streak};

/// Works, except that it panics at every ping whose id is divisible by 50.
pub struct Trapping;

impl Rules for Trapping {
    const NUMBER: u8 = 2;
    const SCHEMA: u32 = 4;
    type Memory = Streak;

    fn points(streak: &mut Streak, now_ms: u64) -> u32 {
        streak.points(now_ms)
    }

    fn migrate(from: u32, bytes: &[u8]) -> Result<Arena<Self>, String> {
        match from {
            V1::SCHEMA => decode::<Arena<V1>>(bytes).map(v2::with_streaks),
            _ => Err(format!("no migration from schema {from} to {}", Self::SCHEMA)),
        }
    }

    fn on_ping(id: i32) {
        assert!(id % 50 != 0, "ping {id} is divisible by 50: broken on purpose");
    }
}

/// Works, except that it takes over no room of any other version.
pub struct BadMigration;

impl Rules for BadMigration {
    const NUMBER: u8 = 2;
    const SCHEMA: u32 = 5;
    type Memory = Streak;

    fn points(streak: &mut Streak, now_ms: u64) -> u32 {
        streak.points(now_ms)
    }

    fn migrate(from: u32, _bytes: &[u8]) -> Result<Arena<Self>, String> {
        Err(format!("the migration from schema {from} is broken on purpose"))
    }
}
