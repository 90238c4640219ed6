//! Hearing that a file was changed, whichever way.

use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::mounted::is_mounted;
use crate::error::{Error, ErrorKind};
use crate::store::feed::{BoxFuture, Notices};

/// A watch on the folder of the file: a watch on the file itself is deaf after it was replaced.
pub(super) struct Watch {
    events: mpsc::Receiver<()>,
    /// Stops watching when dropped.
    _watcher: notify::RecommendedWatcher,
}

impl Watch {
    pub(super) fn start(path: &Path) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        // One waiting notice stands for any number of changes.
        let (sender, events) = mpsc::channel(1);
        let target = std::fs::canonicalize(path).ok();
        let names: Vec<_> = [Some(path), target.as_deref()]
            .into_iter()
            .flatten()
            .filter_map(|path| path.file_name().map(ToOwned::to_owned))
            .collect();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| concerns(&event, &names)) {
                // Full means that a notice is waiting already.
                let _ = sender.try_send(());
            }
        })?;
        let folder = folder_of(path);
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        if let Some(target_folder) = target.as_deref().map(folder_of)
            && std::fs::canonicalize(folder).ok().as_deref() != Some(target_folder)
        {
            watcher.watch(target_folder, RecursiveMode::NonRecursive)?;
        }
        if let Some(target) = target.as_deref().filter(|target| is_mounted(target)) {
            // The folder that it is mounted in gets no notices of writes elsewhere.
            watcher.watch(target, RecursiveMode::NonRecursive)?;
        }
        Ok(Self { events, _watcher: watcher })
    }
}

/// Whether an event may be about the file. Kubernetes swaps a link named `..data` beside it.
fn concerns(event: &notify::Event, names: &[std::ffi::OsString]) -> bool {
    // Reading the file is an event too and must not lead to reading it.
    let is_read = matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
    let is_near = |path: &PathBuf| match path.file_name() {
        Some(name) => names.iter().any(|known| known == name) || name.to_string_lossy().starts_with(".."),
        None => true,
    };
    !is_read && (event.paths.is_empty() || event.paths.iter().any(is_near))
}

pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Notices for Watch {
    fn next(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.events
                .recv()
                .await
                .ok_or_else(|| Error::new(ErrorKind::Unavailable, "the watch on the file's folder has ended"))
        })
    }
}
