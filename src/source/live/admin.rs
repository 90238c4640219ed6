//! What the admin API asks of a source.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};

use super::Live;
use crate::document::Problem;
use crate::engine::FlagSet;
use crate::source::kills::{LocalKill, Obstacle};
use crate::source::missing::MissingFlag;
use crate::store::FeedContent;

impl Live {
    /// Whether the store is known to have lost the flag.
    pub(crate) fn has_missing(&self, flag: &str) -> bool {
        self.shared.missing().has(flag)
    }

    /// The flags that the store has lost, if it holds this.
    pub(crate) fn missing_from(&self, loaded: &FeedContent) -> Vec<MissingFlag> {
        let (in_force, missing) = (self.shared.board.document(), self.shared.missing().clone());
        let versions = self.shared.seen().versions().clone();
        let recalled = self.shared.recalled().clone();
        missing.after(loaded, &in_force, &versions, &recalled, self.shared.allow_shrink).1.list()
    }

    /// Whether there is a backup file.
    pub(crate) fn has_backup(&self) -> bool {
        #[cfg(feature = "file")]
        return self.shared.backup.is_some();
        #[cfg(not(feature = "file"))]
        false
    }

    /// Why the backup file does not hold what is in force, where there is one.
    pub(crate) fn backup_problem(&self) -> Option<Problem> {
        #[cfg(feature = "file")]
        return self.shared.backup.as_ref()?.problem();
        #[cfg(not(feature = "file"))]
        None
    }

    /// The rules in force.
    pub(crate) fn set(&self) -> Arc<FlagSet> {
        self.shared.board.set()
    }

    /// The number of clones of this source.
    pub(crate) fn holders(&self) -> usize {
        Arc::strong_count(&self.stop)
    }

    /// The version that the store said last, where it knows the flag.
    pub(crate) fn version_of(&self, flag: &str) -> Option<u64> {
        self.shared.seen().versions().get(flag).copied()
    }

    /// How often the local kills and the missing flags changed. With the same number, they are those of before; the
    /// same kills do not say so, since another one may have come and gone meanwhile.
    pub(crate) fn exceptions(&self) -> u64 {
        self.shared.exceptions.load(Relaxed)
    }

    /// Asks the store now, for who has just edited it: notices may be lost, or a while in coming.
    pub(crate) fn look_now(&self) {
        self.shared.look_now.notify_one();
    }

    /// Whether the flag stays off here whatever the store says of it now: it was killed in this process, or seen off
    /// before the store came back older.
    pub(crate) fn holds_off(&self, flag: &str) -> bool {
        self.shared.seen().holds_off(flag) || self.shared.kills().has(flag)
    }

    /// Whether this process alone has switched the flag off.
    pub(crate) fn has_kill_of(&self, flag: &str) -> bool {
        self.shared.kills().has(flag)
    }

    /// Whether this kill is still in effect.
    pub(crate) fn has_kill(&self, kill: &LocalKill) -> bool {
        self.shared.kills().holds(kill)
    }

    /// Remembers why a kill of this process is not in the store yet.
    pub(crate) fn kill_waits(&self, flag: &str, waits: Obstacle) {
        self.shared.kills().wait(flag, waits);
    }

    /// Why a kill of this process is not in the store yet, if it was tried.
    pub(crate) fn waits_of(&self, flag: &str) -> Option<Obstacle> {
        self.shared.kills().waits(flag)
    }

    /// The problems that the store reported about itself.
    pub(crate) fn condition(&self) -> Vec<Problem> {
        self.shared.condition.lock().unwrap_or_else(PoisonError::into_inner).problems.clone()
    }

    /// Whether the last attempt to load succeeded.
    pub(crate) fn loads_well(&self) -> bool {
        self.shared.health.now().last_error.is_none()
    }

    /// Whether requests go by this version of a flag, or a later one.
    pub(crate) fn has_reached(&self, flag: &str, version: u64) -> bool {
        let is_known = self.version_of(flag).is_some_and(|known| known >= version);
        if is_known {
            // The version is known before the swap, which goes on under this lock.
            drop(self.shared.board.document());
        }
        is_known
    }
}
