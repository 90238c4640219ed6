//! Writes files in place that no rename can replace, since they are mounted by themselves.
//!
//! 1. The old and the new content are written beside the file and synced. The history then gets the edit with the digest
//!    of each.
//! 2. If the file has to grow, spaces are added at its end, which change no document. If the disk has no space for them,
//!    the edit ends here.
//! 3. The first byte becomes [`UNFINISHED`], then the rest becomes the new content, then the first byte does. Each of the
//!    three steps is synced before the next, so that every reader rejects the file in between.
//! 4. After a crash the file may hold any mixture of both contents. It is recognised by this, and finished.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use super::replace::{PreparedFile, beside};
use crate::store::history::digest_of;

/// The first byte of a file while it is written: neither JSON nor TOML may have it.
pub(super) const UNFINISHED: u8 = 0x01;

/// Names of the copies beside the file.
const BEFORE: &str = "old";
const AFTER: &str = "new";

/// The contents before and after an edit, beside the file that is written in place.
#[derive(Debug)]
pub(super) struct Copies {
    before: PreparedFile,
    after: PreparedFile,
}

/// The outcome of writing a file in place.
#[derive(Debug)]
pub(super) enum WriteOutcome {
    Whole,
    /// It is as it was before.
    Undone(io::Error),
    /// It is half written, and the copies stay beside it.
    Broken(io::Error),
}

impl Copies {
    /// Writes and syncs both. They are removed on drop.
    pub(super) fn new(target: &Path, like: &Metadata, before: &[u8], after: &[u8]) -> io::Result<Self> {
        Ok(Self {
            before: PreparedFile::copy(target, BEFORE, like, before)?,
            after: PreparedFile::copy(target, AFTER, like, after)?,
        })
    }

    /// Writes the file, which holds `before`.
    pub(super) fn persist(self, target: &Path, before: &[u8], after: &[u8]) -> WriteOutcome {
        let written = write(target, before, before, after);
        if matches!(written, WriteOutcome::Broken(_)) {
            self.before.keep();
            self.after.keep();
        }
        written
    }
}

/// Writes a file that has no copies beside it. After a crash it may be anything in between, which neither JSON nor TOML
/// allows; after an error, such as a disk without space, it is as it was before.
pub(crate) fn overwrite(path: &Path, content: &[u8]) -> io::Result<()> {
    let before = std::fs::read(path)?;
    match write(path, &before, &before, content) {
        WriteOutcome::Whole => Ok(()),
        WriteOutcome::Undone(error) | WriteOutcome::Broken(error) => Err(error),
    }
}

/// Makes `after` of the file, which holds `found` and held `before`, or else `before` again.
fn write(target: &Path, found: &[u8], before: &[u8], after: &[u8]) -> WriteOutcome {
    let mut file = match OpenOptions::new().read(true).write(true).open(target) {
        Ok(file) => file,
        Err(error) if found == before => return WriteOutcome::Undone(error),
        Err(error) => return WriteOutcome::Broken(error),
    };
    let written = match grow(&mut file, found, after) {
        Err(error) if found == before && file.set_len(found.len() as u64).is_ok() => {
            return WriteOutcome::Undone(error);
        }
        Err(error) => Err(error),
        Ok(()) => fill(&mut file, after),
    };
    let Err(error) = written else { return WriteOutcome::Whole };
    match fill(&mut file, before) {
        Ok(()) => WriteOutcome::Undone(error),
        Err(_) => WriteOutcome::Broken(error),
    }
}

/// Reserves the space that is needed, before anything is overwritten.
fn grow(file: &mut File, found: &[u8], after: &[u8]) -> io::Result<()> {
    let missing = after.len().saturating_sub(found.len());
    if missing > 0 {
        file.seek(SeekFrom::Start(found.len() as u64))?;
        file.write_all(&vec![b' '; missing])?;
        file.sync_all()?;
    }
    Ok(())
}

fn fill(file: &mut File, content: &[u8]) -> io::Result<()> {
    let Some((first, rest)) = content.split_first() else {
        file.set_len(0)?;
        return file.sync_all();
    };
    put_first(file, UNFINISHED)?;
    file.write_all(rest)?;
    file.set_len(content.len() as u64)?;
    file.sync_all()?;
    put_first(file, *first)
}

fn put_first(file: &mut File, byte: u8) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&[byte])?;
    file.sync_all()
}

/// Finishes an edit during which a process was killed, if the file is half written, and otherwise leaves it alone. The
/// digests are those of the contents before and after the edit.
pub(super) fn finish(target: &Path, found: &[u8], file_before: &str, file_after: &str) -> io::Result<()> {
    let copy = |ending, digest: &str| {
        let content = std::fs::read(beside(target, ending)).ok();
        content.filter(|content| digest_of(content) == digest)
    };
    let (Some(before), Some(after)) = (copy(BEFORE, file_before), copy(AFTER, file_after)) else { return Ok(()) };
    if !is_in_between(found, &before, &after) {
        return Ok(());
    }
    match write(target, found, &before, &after) {
        WriteOutcome::Whole | WriteOutcome::Undone(_) => Ok(()),
        WriteOutcome::Broken(error) => Err(error),
    }
}

/// Removes the copies that a killed process has left. Only the holder of the lock may call this.
pub(super) fn remove_copies(target: &Path) {
    for ending in [BEFORE, AFTER] {
        let _ = std::fs::remove_file(beside(target, ending));
    }
}

/// Whether [`write`] may leave this content when it is interrupted. Content that a person has written does not count: it
/// differs from both contents somewhere, or lacks the end of both.
fn is_in_between(found: &[u8], before: &[u8], after: &[u8]) -> bool {
    let is_as_long = (before.len().min(after.len())..=before.len().max(after.len())).contains(&found.len());
    let is_possible = |(at, byte): (usize, &u8)| {
        let is_of = |content: &[u8]| content.get(at) == Some(byte);
        let is_space = *byte == b' ' && at >= before.len();
        // After a power cut, a file system fills unwritten space with zeros.
        is_of(before) || is_of(after) || is_space || *byte == 0 || (at == 0 && *byte == UNFINISHED)
    };
    is_as_long && found.iter().enumerate().all(is_possible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn copies_are_for_those_alone_who_may_write_the_file() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};

        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("flags.json");
        std::fs::write(&target, "{}").unwrap();
        for (file, expected) in [(0o644, 0o600), (0o664, 0o660), (0o666, 0o666)] {
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(file)).unwrap();
            let like = std::fs::metadata(&target).unwrap();
            let copies = Copies::new(&target, &like, b"{}", b"{ }").unwrap();
            for ending in [BEFORE, AFTER] {
                let found = std::fs::metadata(beside(&target, ending)).unwrap().mode() & 0o7777;
                assert_eq!(found, expected, "{ending} beside {file:o}");
            }
            drop(copies);
        }
    }

    #[test]
    fn only_mixtures_of_both_contents_are_in_between() {
        let (before, after) = (b"{\"a\": 1}".as_slice(), b"{\"a\": 23, \"b\": 4}".as_slice());
        for (found, expected) in [
            (before, true),
            (after, true),
            (b"{\"a\": 1}   ".as_slice(), true),
            (b"\x01\"a\": 23, \"\0\0\0 ".as_slice(), true),
            (b"{\"a\": 9}".as_slice(), false),
            (b"{\"a\": 1".as_slice(), false),
            (b"".as_slice(), false),
            (b"{\"a\": 23, \"b\": 4} ".as_slice(), false),
            (b"\x01{\"a\": 1}".as_slice(), false),
        ] {
            assert_eq!(is_in_between(found, before, after), expected, "{}", String::from_utf8_lossy(found));
        }
    }
}
