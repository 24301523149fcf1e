//! Segments: the form that the host writes (`host/src/journal/segment.rs`), without its bookkeeping.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::{Store, Tally};

const MAGIC: &[u8; 8] = b"hotseat\x02";
const SEGMENT: u64 = 64 << 20;
const HEAD: usize = 8;

pub(super) struct Segments {
    dir: PathBuf,
    file: File,
    number: u64,
    length: u64,
    buffer: Vec<u8>,
}

impl Segments {
    pub(super) fn create(dir: &Path) -> Result<Self> {
        let file = begin(dir, 1)?;
        Ok(Self { dir: dir.to_owned(), file, number: 1, length: 0, buffer: Vec::new() })
    }
}

fn begin(dir: &Path, number: u64) -> Result<File> {
    let path = dir.join(format!("{number:016x}.seg"));
    let mut file = OpenOptions::new().create_new(true).append(true).open(path)?;
    file.write_all(MAGIC)?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

impl Store for Segments {
    fn append(&mut self, room: &str, inputs: &[u8]) -> Result<()> {
        let start = self.buffer.len();
        let length = u32::try_from(2 + room.len() + inputs.len())?;
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.extend_from_slice(&[2, u8::try_from(room.len())?]);
        self.buffer.extend_from_slice(room.as_bytes());
        self.buffer.extend_from_slice(inputs);
        let crc = crc32fast::hash(&self.buffer[start + HEAD..]);
        self.buffer[start + 4..start + HEAD].copy_from_slice(&crc.to_le_bytes());
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer)?;
        self.length += self.buffer.len() as u64;
        self.buffer.clear();
        if self.length >= SEGMENT {
            self.file.sync_data()?;
            self.number += 1;
            self.length = 0;
            self.file = begin(&self.dir, self.number)?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.write()?;
        Ok(self.file.sync_data()?)
    }
}

pub(super) fn read(dir: &Path) -> Result<Tally> {
    let mut paths: Vec<_> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    let mut tally = Tally::default();
    for path in paths {
        let bytes = fs::read(&path)?;
        let mut rest = bytes.strip_prefix(MAGIC).context("no segment")?;
        while let Some((head, after)) = rest.split_first_chunk::<HEAD>() {
            let [l0, l1, l2, l3, c0, c1, c2, c3] = *head;
            let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
            let (body, after) = after.split_at_checked(length).context("cut short")?;
            ensure!(crc32fast::hash(body) == u32::from_le_bytes([c0, c1, c2, c3]), "damaged");
            let inputs = body.get(2 + usize::from(body[1])..).context("no sense")?;
            tally.bytes += inputs.len() as u64;
            rest = after;
        }
    }
    Ok(tally)
}
