//! Document: what the host keeps for a player, and the version that tells where it stands in its history.
//!
//! A version's upper 40 bits count the puts that led to it, rising by 1 with each; 0 is "no document". The lower 24
//! are a checksum of the document and the version before it: two rooms that went on from one document on their own
//! never arrive at the same version, so a room that has lost such a race cannot win it by putting once more.

use std::sync::Arc;

/// Bits of the checksum.
const CHECK_BITS: u32 = 24;

/// Puts that can be counted. A room that puts a million times a second gets there in 12 days; the count stands still
/// then, and the checksums alone tell documents apart.
const PUTS_MAX: u64 = u64::MAX >> CHECK_BITS;

/// A document on its way to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileWrite {
    /// Whose.
    pub user: u64,
    /// The version it replaces; none if that is not known any more, after a restart.
    pub base: Option<u64>,
    /// Its version.
    pub version: u64,
    /// The document.
    pub bytes: Arc<[u8]>,
}

/// The version of the document that replaces the one of `version`.
pub fn next_version(version: u64, bytes: &[u8]) -> u64 {
    let mut check = crc32fast::Hasher::new();
    check.update(&version.to_le_bytes());
    check.update(bytes);
    let puts = (puts_of(version) + 1).min(PUTS_MAX);
    (puts << CHECK_BITS) | u64::from(check.finalize() >> (u32::BITS - CHECK_BITS))
}

/// How many puts have led to a version.
pub fn puts_of(version: u64) -> u64 {
    version >> CHECK_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_rise_by_one_put_and_tell_histories_apart() {
        let first = next_version(0, b"");
        assert_eq!(puts_of(first), 1);
        let (one, other) = (next_version(first, b"one"), next_version(first, b"other"));
        assert_eq!((puts_of(one), puts_of(other)), (2, 2));
        assert_ne!(one, other);
        // The same document again, from either: still two histories.
        assert_ne!(next_version(one, b"same"), next_version(other, b"same"));
        assert_eq!(next_version(one, b"same"), next_version(one, b"same"));
        assert_eq!(puts_of(next_version(u64::MAX, b"")), PUTS_MAX);
    }
}
