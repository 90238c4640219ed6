//! Writes the backup file without holding up its callers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::backup::{Backup, Saved};
use super::kills::LocalKill;
use crate::engine::Problem;

/// How long callers wait for a write. A disk that hangs holds up neither loading nor kills.
const LONGEST: Duration = Duration::from_secs(5);

/// The backup file of a source, and its content.
#[derive(Debug)]
pub(super) struct BackupWriter {
    source: String,
    pub(super) backup: Backup,
    /// Held while the file is written.
    turn: Arc<tokio::sync::Mutex<()>>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// The version in the file.
    version: u64,
    kills: Vec<LocalKill>,
    /// Why the file does not hold the rules in effect.
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

    /// Why the file does not hold the rules in effect.
    pub(super) fn problem(&self) -> Option<Problem> {
        self.held().problem.clone()
    }

    /// Writes the rules in effect with their version, unless the file holds that version. A write that takes too long
    /// continues in the background, and is a problem until it ends.
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
