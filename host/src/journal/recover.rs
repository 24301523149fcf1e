//! Recover: what a node finds in its journal when it starts.

use std::path::Path;

use tracing::{error, warn};

use super::JournalError;
use super::disk::{Disk, write_whole};
use super::segment::{Segments, at};
use super::survey::{Survey, Torn, survey};

/// Reads all segments.
///
/// # Errors
/// [`JournalError`], also for damage: nothing has been changed then.
pub(super) fn read(segments: &Segments) -> Result<Survey, JournalError> {
    let (disk, dir) = (&*segments.disk, &*segments.dir);
    let found = survey(disk, dir).map_err(|(path, error)| at(&path)(error))?;
    if let Some(first) = found.damage.first() {
        return Err(JournalError::Damaged {
            path: first.path.clone(),
            offset: first.offset,
            what: first.what.clone(),
            more: found.damage.len() - 1,
            dir: dir.to_owned(),
        });
    }
    if let Some(torn) = &found.torn {
        keep_tail(disk, dir, torn);
    }
    Ok(found)
}

/// Keeps what a crash cut short: it may be all that there is of something. The segment itself is removed some day.
fn keep_tail(disk: &dyn Disk, dir: &Path, torn: &Torn) {
    let Torn { path, offset, tail } = torn;
    let (segment, bytes) = (path.display(), tail.len());
    if tail.iter().all(|byte| *byte == 0) {
        return warn!(%segment, offset, bytes, "journal ends in zeros, as a power cut leaves them; they do not count");
    }
    let aside = dir.join("aside");
    let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let file = aside.join(format!("{stem}-{offset}.tail"));
    match disk.create_dir(&aside).and_then(|()| write_whole(disk, &file, tail)) {
        Ok(()) => {
            let kept = file.display();
            warn!(%segment, offset, bytes, %kept, "journal ends in a record cut short, which does not count");
        }
        // It stands in the segment as well, for as long as that is needed: no reason not to start.
        Err(error) => {
            error!(%segment, offset, bytes, %error, "journal ends in a record cut short, which cannot be kept");
        }
    }
}
