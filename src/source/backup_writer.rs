//! Writing the backup file, without holding up what it is written for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::backup::{Backup, BackupContent, Stamp};
use super::kills::LocalKill;
use crate::document::Problem;
use crate::store::Error;

/// How long a start waits for what the file holds.
const LONGEST_READ: Duration = Duration::from_secs(1);
/// How long writing takes before the status says that the disk hangs.
const LONGEST: Duration = Duration::from_secs(5);

/// The backup file of a source, and what it holds. It is written by tasks of its own, one at a time: each writes what
/// is in effect when its turn comes, so that one more is enough, whatever has changed since.
#[derive(Debug)]
pub(super) struct BackupWriter {
    source: String,
    backup: Backup,
    /// The file as this process has read or written it last.
    stamp: Mutex<Option<Stamp>>,
    /// The task that waits for its turn.
    waiting: Mutex<Option<JoinHandle<()>>>,
    /// Held by the one that writes.
    turn: tokio::sync::Mutex<()>,
    held: watch::Sender<FileState>,
}

#[derive(Debug, Default)]
struct FileState {
    /// The version in effect.
    version: u64,
    /// By their flags.
    kills: BTreeMap<String, LocalKill>,
    /// The newest version that was written, or was to be.
    tried: u64,
    /// Why it is not what is in effect.
    problem: Option<Problem>,
}

/// What was written, and whether another process had written the file since this one did.
struct WriteReport {
    saved: BackupContent,
    is_shared: bool,
}

impl BackupWriter {
    pub(super) fn new(source: &str, backup: Backup) -> Arc<Self> {
        let (waiting, turn, held) = (Mutex::default(), tokio::sync::Mutex::default(), watch::Sender::default());
        Arc::new(Self { source: source.to_owned(), backup, stamp: Mutex::default(), waiting, turn, held })
    }

    /// What the file holds at a start; `None` if there is no file yet. What cannot be read is a problem until the file is
    /// written. If it is not read in time, nothing is written until it is, and then `late` gets it.
    pub(super) async fn read(
        self: &Arc<Self>,
        late: impl FnOnce(BackupContent) + Send + 'static,
    ) -> Option<BackupContent> {
        let reading = Arc::clone(self);
        let read = move || {
            *reading.stamp() = reading.backup.stamp();
            reading.backup.read()
        };
        self.read_by(read, late).await
    }

    async fn read_by(
        self: &Arc<Self>,
        read: impl FnOnce() -> Result<Option<BackupContent>, Error> + Send + 'static,
        late: impl FnOnce(BackupContent) + Send + 'static,
    ) -> Option<BackupContent> {
        let (writer, (sender, receiver)) = (Arc::clone(self), oneshot::channel());
        tokio::spawn(async move {
            let _turn = writer.turn.lock().await;
            let read = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string());
            let read = read.and_then(|read| read.map_err(|error| error.chain()));
            match sender.send(read) {
                Ok(()) | Err(Ok(None)) => {}
                Err(Ok(Some(saved))) => {
                    let taken = tokio::task::spawn_blocking(move || late(saved)).await;
                    tracing::info!(source = writer.source, is_taken = taken.is_ok(), "the backup file was read late");
                }
                Err(Err(because)) => writer.failed(writer.backup.is_unreadable(because)),
            }
        });
        let because = match tokio::time::timeout(LONGEST_READ, receiver).await {
            Ok(Ok(Ok(saved))) => return saved,
            Ok(Ok(Err(because))) => because,
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                format!("{}: not read within {LONGEST_READ:?}, and not written until it is read", self.backup.path())
            }
        };
        self.failed(self.backup.is_unreadable(because));
        None
    }

    pub(super) fn holds(&self, kill: &LocalKill) -> bool {
        self.held.borrow().kills.get(&kill.flag) == Some(kill)
    }

    /// Why the file does not hold what is in effect.
    pub(super) fn problem(&self) -> Option<Problem> {
        self.held.borrow().problem.clone()
    }

    /// Waits until this version or a later one was written, or could not be.
    pub(super) async fn tried(&self, version: u64) {
        // It ends with the sender, which is here.
        let _ = self.held.subscribe().wait_for(|held| held.tried >= version).await;
    }

    /// Starts to write what is in effect, with its version, unless the file holds that version. Where it takes too
    /// long there is a problem until it is done.
    pub(super) fn save(self: &Arc<Self>, in_effect: impl FnOnce(u64) -> Option<(u64, BackupContent)> + Send + 'static) {
        let mut waiting = self.waiting();
        // That one has not yet looked at what is in effect.
        if waiting.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let writer = Arc::clone(self);
        *waiting = Some(tokio::spawn(async move {
            let _turn = writer.turn.lock().await;
            drop(writer.waiting().take());
            let writing = Arc::clone(&writer);
            let mut writing = tokio::task::spawn_blocking(move || writing.write(in_effect));
            let written = match tokio::time::timeout(LONGEST, &mut writing).await {
                Ok(written) => written,
                Err(_) => {
                    writer.failed(writer.backup.problem(format!("not written within {LONGEST:?}")));
                    writing.await
                }
            };
            match written {
                Ok(None) => {}
                Ok(Some((version, Ok(saved)))) => writer.written(version, saved),
                Ok(Some((version, Err(problem)))) => {
                    writer.failed(problem);
                    writer.held.send_modify(|held| held.tried = version);
                }
                Err(error) => writer.failed(writer.backup.problem(error)),
            }
        }));
    }

    fn stamp(&self) -> MutexGuard<'_, Option<Stamp>> {
        self.stamp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version that was to be written, and what came of it; `None` where the file holds it already.
    fn write(
        &self,
        in_effect: impl FnOnce(u64) -> Option<(u64, BackupContent)>,
    ) -> Option<(u64, Result<WriteReport, Problem>)> {
        let held = self.held.borrow().version;
        let (version, saved) = in_effect(held)?;
        let mut stamp = self.stamp();
        let found = self.backup.stamp();
        let is_shared = found.is_some() && found != *stamp;
        let written = self.backup.write(&saved);
        *stamp = self.backup.stamp();
        Some((version, written.map(|()| WriteReport { saved, is_shared }).map_err(|error| self.backup.problem(error))))
    }

    fn written(&self, version: u64, WriteReport { saved, is_shared }: WriteReport) {
        let before = self.problem();
        let problem = is_shared.then(|| self.backup.is_shared().in_source(&self.source));
        match &problem {
            Some(problem) if before.as_ref() != Some(problem) => tracing::warn!("{problem}"),
            None if before.is_some() => tracing::info!(source = self.source, "the backup file is written again"),
            _ => {}
        }
        let kills = saved.kills.into_iter().map(|kill| (kill.flag.clone(), kill)).collect();
        self.held.send_replace(FileState { version, kills, tried: version, problem });
    }

    fn failed(&self, problem: Problem) {
        let problem = Some(problem.in_source(&self.source));
        let is_new = self.problem() != problem;
        if let Some(problem) = problem.as_ref().filter(|_| is_new) {
            tracing::warn!("{problem}");
        }
        self.held.send_modify(|held| held.problem = problem);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::document::Document;
    use crate::source::kills::Kills;
    use crate::source::seen::SeenFlags;

    fn saved(revision: &str) -> BackupContent {
        BackupContent::new(&Document::new(), revision, SeenFlags::default(), &Kills::default(), &Document::new())
    }

    #[tokio::test]
    async fn what_is_read_late_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flags.backup");
        let writer = BackupWriter::new("a source", Backup::at(path.clone()));
        let (release, released) = mpsc::channel::<()>();
        let (late, mut is_late) = oneshot::channel();
        let there = path.clone();
        let read = move || {
            released.recv().unwrap();
            Ok(Some(saved("there")))
        };
        let take = move |saved: BackupContent| {
            assert!(!there.exists(), "nothing was written before");
            late.send(saved.revision).unwrap();
        };
        assert!(writer.read_by(read, take).await.is_none());
        let said = writer.problem().unwrap().to_string();
        assert!(said.contains("not read within 1s, and not written until it is read"), "{said}");
        writer.save(|_| Some((1, saved("new"))));
        assert!(is_late.try_recv().is_err() && !path.exists());
        release.send(()).unwrap();
        writer.tried(1).await;
        assert_eq!(is_late.await.unwrap(), "there");
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"new\"") && writer.problem().is_none());
    }
}
