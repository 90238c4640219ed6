//! Writing the backup file, without holding up what waits for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::backup::{Backup, Saved};
use super::kills::LocalKill;
use crate::engine::Problem;

/// How long writing holds up what waits for it. A disk that hangs holds up neither loading nor kills.
const LONGEST: Duration = Duration::from_secs(5);

/// The backup file of a source, and what it holds.
#[derive(Debug)]
pub(super) struct BackupWriter {
    source: String,
    pub(super) backup: Backup,
    /// Held by the one that writes.
    turn: Arc<tokio::sync::Mutex<()>>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// The version in force.
    version: u64,
    kills: Vec<LocalKill>,
    /// Why it is not what is in force.
    problem: Option<Problem>,
}

impl BackupWriter {
    pub(super) fn new(source: &str, backup: Backup) -> Arc<Self> {
        Arc::new(Self { source: source.to_owned(), backup, turn: Arc::default(), held: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn holds(&self, kill: &LocalKill) -> bool {
        self.held().kills.contains(kill)
    }

    /// Why the file does not hold what is in force.
    pub(super) fn problem(&self) -> Option<Problem> {
        self.held().problem.clone()
    }

    /// Writes what is in force, with its version, unless the file holds that version. Where it takes too long it goes
    /// on by itself, and there is a problem until it is done.
    pub(super) async fn save(self: &Arc<Self>, in_force: impl FnOnce(u64) -> Option<(u64, Saved)> + Send + 'static) {
        let (writer, turn) = (Arc::clone(self), Arc::clone(&self.turn));
        let saving = async move {
            let turn = turn.lock_owned().await;
            let writing = tokio::task::spawn_blocking(move || {
                writer.write(in_force);
                drop(turn);
            });
            writing.await
        };
        match tokio::time::timeout(LONGEST, saving).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.failed(self.backup.problem(error)),
            Err(_) => self.failed(self.backup.problem(format!("not written within {LONGEST:?}"))),
        }
    }

    fn write(&self, in_force: impl FnOnce(u64) -> Option<(u64, Saved)>) {
        let held = self.held().version;
        let Some((version, saved)) = in_force(held) else { return };
        match self.backup.write(&saved) {
            Ok(()) => {
                let now = Held { version, kills: saved.kills, problem: None };
                if std::mem::replace(&mut *self.held(), now).problem.is_some() {
                    tracing::info!(source = self.source, "the backup file is written again");
                }
            }
            Err(error) => self.failed(self.backup.problem(error)),
        }
    }

    fn failed(&self, problem: Problem) {
        let problem = Some(problem.in_source(&self.source));
        let mut held = self.held();
        if let Some(problem) = problem.as_ref().filter(|_| held.problem != problem) {
            tracing::warn!("{problem}");
        }
        held.problem = problem;
    }
}
