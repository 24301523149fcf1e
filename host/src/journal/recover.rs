//! Recover: what a journal says of each room.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};

use tracing::warn;

use super::JournalError;
use super::segment::{HEAD, Kind, MAGIC, Segments, at};

/// What a room left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Its last base.
    pub base: Vec<u8>,
    /// Its inputs since, in order.
    pub inputs: Vec<u8>,
}

/// Reads all segments.
pub(super) fn read(segments: &Segments) -> Result<BTreeMap<String, Past>, JournalError> {
    let mut pasts = BTreeMap::new();
    let numbers = segments.numbers()?;
    for number in &numbers {
        let path = segments.path(*number);
        let bytes = fs::read(&path).map_err(at(&path))?;
        let last = Some(number) == numbers.last();
        let mut rest = match bytes.strip_prefix(MAGIC) {
            Some(rest) => rest,
            // The process died while it began the segment.
            None if last && MAGIC.starts_with(&bytes) => {
                fs::remove_file(&path).map_err(at(&path))?;
                continue;
            }
            None => {
                return Err(JournalError::Damaged {
                    path,
                    offset: 0,
                    what: "it is no segment of this version",
                });
            }
        };
        while !rest.is_empty() {
            let offset = (bytes.len() - rest.len()) as u64;
            match record(rest) {
                Ok((kind, room, content, length)) => {
                    apply(&mut pasts, kind, room, content);
                    rest = &rest[length..];
                }
                // A crash leaves a record cut short at the very end; anything else is damage.
                Err(Bad::Short) if last => {
                    let (segment, dropped) = (path.display(), rest.len());
                    warn!(%segment, offset, dropped, "journal ends in a record cut short, dropped");
                    // Other segments will follow, and then this would be damage in the middle.
                    let file = OpenOptions::new().write(true).open(&path).map_err(at(&path))?;
                    file.set_len(offset).and_then(|()| file.sync_all()).map_err(at(&path))?;
                    break;
                }
                Err(bad) => return Err(JournalError::Damaged { path, offset, what: bad.what() }),
            }
        }
    }
    Ok(pasts)
}

pub(super) fn apply(pasts: &mut BTreeMap<String, Past>, kind: Kind, room: &str, content: &[u8]) {
    match kind {
        Kind::Base => {
            pasts.insert(room.to_owned(), Past { base: content.to_vec(), inputs: Vec::new() });
        }
        Kind::Inputs => {
            if let Some(past) = pasts.get_mut(room) {
                past.inputs.extend_from_slice(content);
            }
        }
        Kind::Ended => {
            pasts.remove(room);
        }
        Kind::Letter => {}
    }
}

#[derive(Debug, Clone, Copy)]
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

pub(super) fn record(bytes: &[u8]) -> Result<(Kind, &str, &[u8], usize), Bad> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or(Bad::Short)?;
    let [l0, l1, l2, l3, c0, c1, c2, c3] = *head;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let body = rest.get(..length).ok_or(Bad::Short)?;
    if crc32fast::hash(body) != u32::from_le_bytes([c0, c1, c2, c3]) {
        // Space that was given to the file but never written reads as zeros after a power cut.
        let never_written = head.iter().chain(rest).all(|byte| *byte == 0);
        return Err(if never_written { Bad::Short } else { Bad::Crc });
    }
    let [kind, name, rest @ ..] = body else {
        let never_written = bytes.iter().all(|byte| *byte == 0);
        return Err(if never_written { Bad::Short } else { Bad::Form });
    };
    let (name, content) = rest.split_at_checked(usize::from(*name)).ok_or(Bad::Form)?;
    let room = std::str::from_utf8(name).map_err(|_| Bad::Form)?;
    Ok((Kind::of(*kind).ok_or(Bad::Form)?, room, content, HEAD + length))
}
