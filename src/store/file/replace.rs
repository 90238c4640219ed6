//! Files that change as a whole, and the lock of those who change them.

use std::fs::{File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::guarded;
use super::watch::folder_of;
use crate::store::for_owner::ForOwner as _;
use crate::store::random::random_share;

/// A file whose name is that of another one and something more, in the same folder.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

/// A new content that waits beside the file it is for. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct PreparedFile {
    path: PathBuf,
    is_kept: bool,
}

impl PreparedFile {
    /// Writes and syncs the next content, with the owner and permissions of the file it is for.
    pub(super) fn for_file(target: &Path, ending: &str, like: &Metadata, bytes: &[u8]) -> io::Result<Self> {
        Self::written(target, ending, like, like.permissions(), bytes)
    }

    /// Writes and syncs a copy that stays beside the file.
    pub(super) fn copy(target: &Path, ending: &str, like: &Metadata, bytes: &[u8]) -> io::Result<Self> {
        Self::written(target, ending, like, beside_permissions(like), bytes)
    }

    /// Only the holder of the lock may: what is there already was left by one that was killed.
    fn written(
        target: &Path,
        ending: &str,
        like: &Metadata,
        permissions: Permissions,
        bytes: &[u8],
    ) -> io::Result<Self> {
        let prepared = Self { path: beside(target, ending), is_kept: false };
        let _ = std::fs::remove_file(&prepared.path);
        let mut file = OpenOptions::new().write(true).for_owner().open(&prepared.path)?;
        file.write_all(bytes)?;
        keep_owner(&file, like)?;
        file.set_permissions(permissions)?;
        file.sync_all()?;
        Ok(prepared)
    }

    /// Puts it in place of the file, at once and for good.
    pub(super) fn persist(mut self, target: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, target)?;
        self.is_kept = true;
        Ok(())
    }

    /// Leaves it beside the file.
    pub(super) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for PreparedFile {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The permissions of files beside a file of flags: for the owner alone, and for those who may write the flags. Who edits
/// has to read and write them.
fn beside_permissions(like: &Metadata) -> Permissions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        let writers = like.permissions().mode() & 0o022;
        Permissions::from_mode(0o600 | writers | writers << 1)
    }
    #[cfg(not(unix))]
    like.permissions()
}

/// Opens a file beside the file of flags, which all who edit read and append to; makes it if it is missing. `true` if it
/// was made here.
pub(super) fn open_beside(path: &Path, like: &Metadata) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    match guarded::open_itself(path, &options) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened.map(|file| (file, false)),
    }
    match guarded::open_itself(path, options.clone().for_owner()) {
        Ok(file) => {
            keep_owner(&file, like)?;
            file.set_permissions(beside_permissions(like))?;
            Ok((file, true))
        }
        // Another process has made it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            guarded::open_itself(path, &options).map(|file| (file, false))
        }
        Err(error) => Err(error),
    }
}

/// Only root may give files away; for others the file becomes theirs, as with every editor, and of the same group if they
/// are in it.
#[cfg(unix)]
fn keep_owner(file: &File, like: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};

    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) && fchown(file, Some(like.uid()), Some(like.gid())).is_err() {
        let _ = fchown(file, None, Some(like.gid()));
    }
    Ok(())
}

#[cfg(not(unix))]
fn keep_owner(_: &File, _: &Metadata) -> io::Result<()> {
    Ok(())
}

/// Without this a rename itself may be lost with the machine's power.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder_of(path))?.sync_all() } else { Ok(()) }
}

/// Tries to take the lock of those who edit; it is given back when the file is closed, also by a kill. `None` where
/// somebody has it for the whole time.
pub(super) fn lock(path: &Path, like: &Metadata, within: Duration) -> io::Result<Option<File>> {
    locked(open_beside(path, like)?.0, within)
}

/// The same lock on the file itself, for processes that have it mounted in other folders. Some file systems have no locks
/// on mounts; there only the lock beside the file counts.
pub(super) fn lock_itself(path: &Path, within: Duration) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).append(true).open(path)?;
    match locked(file.try_clone()?, within) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(Some(file)),
        locked => locked,
    }
}

fn locked(file: File, within: Duration) -> io::Result<Option<File>> {
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if start.elapsed() < within => {
                std::thread::sleep(Duration::from_micros(200).mul_f64(1.0 + 4.0 * random_share()));
            }
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}
