//! File: what of a table outlives the process.
//!
//! Written whole, beside the old one, and put in its place: a few numbers that change seldom. Eight bytes of name, the
//! CRC-32 of the rest, and the entries.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::discovery::{DiscoveryError, Entry};
use crate::files;

const NAME: &str = "discovery.table";
const MAGIC: &[u8; 8] = b"HSTABLE1";
const HEADER: usize = MAGIC.len() + 4;

#[derive(Debug)]
pub(super) struct File {
    dir: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    key: &'a str,
    revision: u64,
    value: &'a [u8],
}

impl File {
    /// The file of `dir`, and what it holds.
    pub(super) fn open(dir: &Path) -> Result<(Self, BTreeMap<String, Entry>), DiscoveryError> {
        let file = Self { dir: dir.to_owned() };
        let path = file.path();
        let failed = |source| DiscoveryError::Disk { path: path.clone(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        let entries = match fs::read(&path) {
            Ok(bytes) => decode(&bytes).map_err(|why| DiscoveryError::Damaged { path, why })?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(failed(error)),
        };
        Ok((file, entries))
    }

    /// On disk when it returns. If it fails, the old one or the new one is there.
    pub(super) fn write(&self, entries: &BTreeMap<String, Entry>) -> Result<(), DiscoveryError> {
        let path = self.path();
        files::write_whole(&path, &encode(entries)).map_err(|source| DiscoveryError::Disk { path, source })
    }

    fn path(&self) -> PathBuf {
        self.dir.join(NAME)
    }
}

fn encode(entries: &BTreeMap<String, Entry>) -> Vec<u8> {
    let lines: Vec<_> = entries
        .iter()
        .map(|(key, entry)| Line { key, revision: entry.revision, value: &entry.value })
        .collect();
    let body = postcard::to_stdvec(&lines).expect("texts and numbers can be written to memory");
    let mut bytes = MAGIC.to_vec();
    bytes.extend(crc32fast::hash(&body).to_le_bytes());
    bytes.extend(body);
    bytes
}

fn decode(bytes: &[u8]) -> Result<BTreeMap<String, Entry>, String> {
    let (header, body) = bytes.split_at_checked(HEADER).ok_or("it has no header")?;
    let (magic, crc) = header.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err("it does not begin as a table does".into());
    }
    if crc != crc32fast::hash(body).to_le_bytes() {
        return Err("its checksum is another".into());
    }
    let lines: Vec<Line<'_>> = postcard::from_bytes(body).map_err(|e| e.to_string())?;
    let entry = |line: Line<'_>| {
        (line.key.to_owned(), Entry { value: Bytes::copy_from_slice(line.value), revision: line.revision })
    };
    Ok(lines.into_iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_table_is_told_and_left() {
        let dir = tempfile::tempdir().unwrap();
        let (file, empty) = File::open(dir.path()).unwrap();
        assert!(empty.is_empty());
        let entry = Entry { value: Bytes::from_static(b"\0\xffx"), revision: 7 };
        let entries: BTreeMap<_, _> = [("seqs/userid".to_owned(), entry)].into();
        file.write(&entries).unwrap();
        assert_eq!(File::open(dir.path()).unwrap().1, entries);
        let good = fs::read(file.path()).unwrap();
        for end in 0..good.len() {
            fs::write(file.path(), &good[..end]).unwrap();
            assert!(matches!(File::open(dir.path()), Err(DiscoveryError::Damaged { .. })), "{end}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(file.path(), &bad).unwrap();
            assert!(matches!(File::open(dir.path()), Err(DiscoveryError::Damaged { .. })), "{at}");
            assert_eq!(fs::read(file.path()).unwrap(), bad);
        }
    }
}
