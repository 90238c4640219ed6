//! New files that only their owner may read and write.

use std::fs::OpenOptions;

pub(super) trait ForOwner {
    /// Makes a new file for its owner alone (mode 600). It neither opens an existing file nor follows a link.
    fn for_owner(&mut self) -> &mut Self;
}

impl ForOwner for OpenOptions {
    fn for_owner(&mut self) -> &mut Self {
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(self, 0o600);
        self.create_new(true)
    }
}
