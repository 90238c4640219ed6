//! The last rules in a file of this machine, for a start while the store is away.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tempfile::NamedTempFile;

use super::kills::{Kills, LocalKill};
use super::missing::BackupDefinitions;
use super::seen::SeenFlags;
use crate::document::{Definition, Document, Flag, Problem};
use crate::error::{Error, ErrorKind, without_values};
use crate::store::{check_owner, is_mounted, open_itself, overwrite};

/// A file that holds what was in force last. Written whole beside the old one and renamed over it, readable for
/// its owner alone. A file that is mounted alone is written in place, and what a crash leaves of that is no JSON.
#[derive(Clone, Debug)]
pub(super) struct Backup {
    path: PathBuf,
}

/// One writing of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    number: u64,
    len: u64,
    modified: Option<SystemTime>,
}

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupContent {
    /// The form of the file.
    format: u32,
    pub(super) revision: String,
    pub(super) seen: SeenFlags,
    /// What was switched off in this process alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) kills: Vec<LocalKill>,
    /// The definitions, as stores keep them.
    flags: BTreeMap<String, Box<RawValue>>,
    /// The last definitions of the flags that the store has lost.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    missing: BTreeMap<String, Box<RawValue>>,
}

const FORMAT: u32 = 1;
/// Most bytes of a backup.
const MAX_SIZE: u64 = 64 * 1024 * 1024;

fn check_size(bytes: u64) -> io::Result<()> {
    if bytes > MAX_SIZE {
        return Err(io::Error::other(format!("larger than {MAX_SIZE} bytes")));
    }
    Ok(())
}

impl BackupContent {
    pub(super) fn new(document: &Document, revision: &str, seen: SeenFlags, kills: &Kills, missing: &Document) -> Self {
        let text = |flag: &Flag| RawValue::from_string(flag.to_stored()).ok();
        let flags =
            document.flags.iter().filter_map(|(name, definition)| match kills.instead(name).unwrap_or(definition) {
                Definition::Good(flag) => Some((name.as_ref().to_owned(), text(flag)?)),
                // All that is legible of it.
                Definition::Refused { is_killed: true, .. } => {
                    Some((name.as_ref().to_owned(), RawValue::from_string("false".to_owned()).ok()?))
                }
                Definition::Refused { .. } => None,
            });
        let missing = missing.flags.iter().filter_map(|(name, definition)| match definition {
            Definition::Good(flag) => Some((name.as_ref().to_owned(), text(flag)?)),
            Definition::Refused { .. } => None,
        });
        Self {
            format: FORMAT,
            revision: revision.to_owned(),
            seen,
            kills: kills.list(),
            flags: flags.collect(),
            missing: missing.collect(),
        }
    }

    pub(super) fn document(&self) -> Result<Document, Problem> {
        document_of(&self.flags)
    }

    /// What a store may have lost since it was written, or before.
    pub(super) fn recalled(&self) -> BackupDefinitions {
        let document = |texts| document_of(texts).unwrap_or_default();
        BackupDefinitions { flags: document(&self.flags), missing: document(&self.missing) }
    }
}

fn document_of(texts: &BTreeMap<String, Box<RawValue>>) -> Result<Document, Problem> {
    Document::from_texts(texts.iter().map(|(name, text)| (&**name, text.get().as_bytes())))
}

impl Backup {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> impl std::fmt::Display {
        self.path.display()
    }

    /// `None` where there is no file yet.
    pub(super) fn read(&self) -> Result<Option<BackupContent>, Error> {
        let bytes = match self.bytes() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.error("cannot be read").caused_by(error)),
        };
        let saved: BackupContent = serde_json::from_slice(&bytes)
            .map_err(|error| self.error("is no backup").caused_by(without_values(&error)))?;
        if saved.format == FORMAT {
            Ok(Some(saved))
        } else {
            Err(self.error(&format!("is of the form {}, and this version reads {FORMAT}", saved.format)))
        }
    }

    /// The content, unless another user may have written it: it switches flags on and off.
    fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = open_itself(&self.path, OpenOptions::new().read(true))?;
        let found = file.metadata()?;
        check_owner(&found)?;
        check_size(found.len())?;
        file.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
        check_size(bytes.len() as u64)?;
        Ok(bytes)
    }

    pub(super) fn write(&self, saved: &BackupContent) -> io::Result<()> {
        let content = serde_json::to_vec(saved)?;
        check_size(content.len() as u64)?;
        // What is not ours is left alone: the path may be a wrong one.
        match std::fs::symlink_metadata(&self.path) {
            Ok(found) if found.is_symlink() => return Err(io::Error::other("a link, not a regular file")),
            Ok(found) if found.is_file() => check_owner(&found)?,
            Ok(_) => return Err(io::Error::other("not a regular file")),
            Err(_) => {}
        }
        let is_mounted = || self.path.canonicalize().is_ok_and(|path| is_mounted(&path));
        match self.replace(&content) {
            // Beside a file that is mounted alone there may be nothing that can be written.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy || is_mounted() => {
                overwrite(&self.path, &content)
            }
            replaced => replaced,
        }
    }

    fn replace(&self, content: &[u8]) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Readable by its owner alone from the beginning.
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        // Without this, a power cut can undo the rename.
        if cfg!(unix) { std::fs::File::open(folder)?.sync_all() } else { Ok(()) }
    }

    /// Tells one writing of the file from another; `None` if there is no file.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        let found = std::fs::metadata(&self.path).ok()?;
        #[cfg(unix)]
        let number = std::os::unix::fs::MetadataExt::ino(&found);
        #[cfg(not(unix))]
        let number = 0;
        Some(Stamp { number, len: found.len(), modified: found.modified().ok() })
    }

    /// The problem that another process writes the file, too.
    pub(super) fn is_shared(&self) -> Problem {
        let found = format!("{}, which another process has written too", self.path.display());
        Problem::new("a backup file of its own for each process", found).with_help(
            "name another one in LiveBuilder::backup: after a restart, a process has the kills of whichever wrote last",
        )
    }

    /// The problem that the process started without what the file holds, with its cause.
    pub(super) fn is_unreadable(&self, because: impl std::fmt::Display) -> Problem {
        Problem::new("a backup file that can be read", because.to_string())
            .with_help("the process started without it; a file that this user or root has not written is left alone")
    }

    /// The problem that the file cannot be written, with its cause.
    pub(super) fn problem(&self, because: impl std::fmt::Display) -> Problem {
        let found = format!("{}: {because}", self.path.display());
        Problem::new("a backup file that can be written", found).with_help(
            "it is tried again; until then a kill in this process alone does not survive a restart, and neither do \
             the rules if the store is down",
        )
    }

    fn error(&self, what: &str) -> Error {
        Error::new(ErrorKind::Unavailable, format!("the backup file {} {what}", self.path.display()))
    }
}
