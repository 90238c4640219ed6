//! Opens files safely if another user may have put a pipe, a device, a link or another file in their place.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// Opens a regular file. A pipe does not hold this up, and what is no regular file is an error.
pub(crate) fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    open_with(path, options, Links::Followed)
}

/// Like [`open`], but a symbolic link is an error. It is for files that only this crate makes.
pub(crate) fn open_itself(path: &Path, options: &OpenOptions) -> io::Result<File> {
    open_with(path, options, Links::Refused)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    Followed,
    Refused,
}

fn open_with(path: &Path, options: &OpenOptions, links: Links) -> io::Result<File> {
    let mut options = options.clone();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        use rustix::fs::OFlags;

        let no_links = if links == Links::Refused { OFlags::NOFOLLOW } else { OFlags::empty() };
        options.custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY | no_links).bits().cast_signed());
    }
    #[cfg(not(unix))]
    let _ = links;
    let file = options.open(path).map_err(|error| match error.raw_os_error() {
        #[cfg(unix)]
        Some(code) if links == Links::Refused && code == rustix::io::Errno::LOOP.raw_os_error() => {
            io::Error::other("a link, not a regular file")
        }
        _ => error,
    })?;
    // Looked at after opening: it may have been another file before.
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

/// Whether nobody else may have written a file: it is ours or root's, and not writable by everybody.
pub(crate) fn check_owner(found: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;

        let us = rustix::process::geteuid().as_raw();
        if found.uid() != us && found.uid() != 0 {
            let message = format!("of the user {}, and this process runs as {us}", found.uid());
            return Err(io::Error::other(message));
        }
        if found.mode() & 0o002 != 0 {
            return Err(io::Error::other("writable by everybody: chmod o-w"));
        }
    }
    #[cfg(not(unix))]
    let _ = found;
    Ok(())
}
