//! Record: the form of what files of a journal hold.
//!
//! Little-endian: `u32 length | u32 crc | u8 kind | u8 name length | name | bytes`, `length` counting what follows the crc
//! and the crc (CRC-32, IEEE 802.3) covering it. The crc begins with the file's seed, which only the disk knows: what a
//! player sends, and is journalled with, cannot pass for a record then.

/// Bytes of a record before its kind.
pub(super) const HEAD: usize = 8;

/// Names of rooms are at most so long, bytes.
const NAME_MAX: usize = 64;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A room's base; it makes what came before it useless.
    Base = 1,
    /// Inputs since.
    Inputs = 2,
    /// The room has ended.
    Ended = 3,
    /// What a dead letter is about; in no journal.
    DeadLetter = 4,
    /// As [`Self::Base`], with the room's generation before it: `u64`, little-endian.
    Owned = 5,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        let kinds = [Self::Base, Self::Inputs, Self::Ended, Self::DeadLetter, Self::Owned];
        kinds.into_iter().find(|kind| *kind as u8 == byte)
    }
}

fn crc_of(seed: u32, bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(seed);
    crc.update(bytes);
    crc.finalize()
}

/// Appends a record; its length. Room names are at most 64 bytes, bases and inputs far below 4 GiB.
pub(super) fn write_record(out: &mut Vec<u8>, seed: u32, kind: Kind, room: &str, bytes: &[u8]) -> usize {
    write_parts(out, seed, kind, room, &[], bytes)
}

/// Appends a room's base; the record's length. A room of generation 0 has had one owner alone.
pub(super) fn write_base(out: &mut Vec<u8>, seed: u32, room: &str, generation: u64, base: &[u8]) -> usize {
    if generation == 0 {
        return write_record(out, seed, Kind::Base, room, base);
    }
    write_parts(out, seed, Kind::Owned, room, &generation.to_le_bytes(), base)
}

fn write_parts(out: &mut Vec<u8>, seed: u32, kind: Kind, room: &str, head: &[u8], bytes: &[u8]) -> usize {
    let name = u8::try_from(room.len()).expect("room names are at most 64 bytes");
    let length = 2 + room.len() + head.len() + bytes.len();
    let start = out.len();
    out.reserve(HEAD + length);
    out.extend_from_slice(&u32::try_from(length).expect("a record is below 4 GiB").to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[kind as u8, name]);
    out.extend_from_slice(room.as_bytes());
    out.extend_from_slice(head);
    out.extend_from_slice(bytes);
    let crc = crc_of(seed, &out[start + HEAD..]);
    out[start + 4..start + HEAD].copy_from_slice(&crc.to_le_bytes());
    HEAD + length
}

/// What a base record says: the room's generation, and the base.
pub(super) fn base_of(kind: Kind, content: &[u8]) -> (u64, Vec<u8>) {
    match content.split_first_chunk() {
        Some((generation, base)) if kind == Kind::Owned => (u64::from_le_bytes(*generation), base.to_vec()),
        _ => (0, content.to_vec()),
    }
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    Short,
    Crc,
    Form,
}

impl Bad {
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Short => "the record is cut short",
            Self::Crc => "the checksum does not match",
            Self::Form => "the record has no sense",
        }
    }
}

/// The record that `bytes` begin with: kind, room, content, and the length of all of it.
pub(super) fn record(bytes: &[u8], seed: u32) -> Result<(Kind, &str, &[u8], usize), Bad> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or(Bad::Short)?;
    let [l0, l1, l2, l3, c0, c1, c2, c3] = *head;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let body = rest.get(..length).ok_or(Bad::Short)?;
    if crc_of(seed, body) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(Bad::Crc);
    }
    let [kind, name, rest @ ..] = body else { return Err(Bad::Form) };
    let (name, content) = rest.split_at_checked(usize::from(*name)).ok_or(Bad::Form)?;
    let room = std::str::from_utf8(name).map_err(|_| Bad::Form)?;
    Ok((Kind::of(*kind).ok_or(Bad::Form)?, room, content, HEAD + length))
}

/// Where in `bytes`, behind their first byte, the next whole record begins.
pub(super) fn next_record(bytes: &[u8], seed: u32) -> Option<usize> {
    (1..bytes.len().saturating_sub(HEAD + 1)).find(|at| {
        let rest = &bytes[*at..];
        // Most places are told by a look at a few bytes: only where a record could begin its checksum is taken.
        let name = usize::from(rest[HEAD + 1]);
        let length = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        Kind::of(rest[HEAD]).is_some()
            && (1..=NAME_MAX).contains(&name)
            && length >= 2 + name
            && length <= rest.len() - HEAD
            && record(rest, seed).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_behind_rubbish_and_only_with_its_seed() {
        let mut bytes = vec![0; 50];
        bytes.extend([7; 13]);
        // What a player sent looks like a record of a file without a seed.
        let mut sent = Vec::new();
        write_record(&mut sent, 0, Kind::Base, "home/1", b"forged");
        bytes.extend(&sent);
        assert_eq!(next_record(&bytes, 0), Some(63));
        assert_eq!(next_record(&bytes, 9), None);
        let at = bytes.len();
        write_record(&mut bytes, 9, Kind::Inputs, "a", &sent);
        assert_eq!(next_record(&bytes, 9), Some(at));
        assert!(matches!(record(&bytes[at..], 9), Ok((Kind::Inputs, "a", content, _)) if content == sent));
        for end in at..bytes.len() {
            assert_eq!(record(&bytes[at..end], 9).unwrap_err(), Bad::Short);
            assert_eq!(next_record(&bytes[at..end], 9), None, "{end}");
        }
    }
}
