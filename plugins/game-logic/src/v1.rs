//! Version 1: a coin is a point.

use crate::arena::Rules;

/// The rules of version 1.
pub struct V1;

impl Rules for V1 {
    const NUMBER: u8 = 1;
    // 1 and 2 were arenas without services.
    const SCHEMA: u32 = 3;
    type Memory = ();

    fn points(_memory: &mut (), _now_ms: u64) -> u32 {
        1
    }
}
