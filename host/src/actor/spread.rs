//! Spread: which of a number of actors an id belongs to.

/// A stable spread of ids over `among` places, at least one.
pub(crate) fn spread(id: u64, among: u64) -> u64 {
    // The finalizer of MurmurHash3 (Appleby, public domain): neighbours end up in different places.
    let mut hash = id;
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    hash % among.max(1)
}
