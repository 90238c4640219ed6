//! Files and disks that are mounted for a test and unmounted with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tower_flags::store::{Author, Change, ChangeError, Error, FileStore, HistoryEntry, HistoryPage, Store, StoreExt};

pub(crate) fn alice() -> Author {
    Author::new("alice")
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}.{ending}", path.display()))
}

/// The names in a folder, in ascending order.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn mounted<const N: usize>(arguments: [&str; N]) -> bool {
    Command::new("mount").args(arguments).output().unwrap().status.success()
}

pub(crate) fn mount<const N: usize>(arguments: [&str; N]) {
    assert!(mounted(arguments), "mount {arguments:?}");
}

fn unmount(path: &Path) {
    let _ = Command::new("umount").arg("-l").arg(path).output();
}

/// A file of elsewhere at a place where there is none yet.
pub(crate) struct Bound(PathBuf);

impl Bound {
    pub(crate) fn new(outside: &Path, path: PathBuf) -> Self {
        std::fs::write(&path, "").unwrap();
        mount(["--bind", outside.to_str().unwrap(), path.to_str().unwrap()]);
        Self(path)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// A file that is mounted alone, as containers do.
pub(crate) struct Mounted {
    folder: TempDir,
    /// Where it is mounted.
    pub(crate) path: PathBuf,
    /// Where it is mounted from.
    pub(crate) outside: PathBuf,
}

impl Mounted {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = folder.path().join("host");
        std::fs::create_dir(&host).unwrap();
        std::fs::write(host.join(name), text).unwrap();
        Self::of(folder, &host.join(name))
    }

    /// A file that is somewhere else.
    pub(crate) fn from(outside: &Path) -> Self {
        Self::of(tempfile::tempdir().unwrap(), outside)
    }

    fn of(folder: TempDir, outside: &Path) -> Self {
        std::fs::create_dir(folder.path().join("app")).unwrap();
        let path = folder.path().join("app").join(outside.file_name().unwrap());
        std::fs::write(&path, "").unwrap();
        mount(["--bind", outside.to_str().unwrap(), path.to_str().unwrap()]);
        Self { folder, path, outside: outside.to_owned() }
    }

    pub(crate) fn store(&self) -> FileStore {
        FileStore::new(&self.path).unwrap()
    }

    /// The folder that it is mounted in.
    pub(crate) fn app(&self) -> PathBuf {
        self.folder.path().join("app")
    }

    /// Nothing more can be written beside the file.
    pub(crate) fn app_becomes_read_only(&self) {
        let app = self.app();
        let app = app.to_str().unwrap();
        // The mount of the file would be below the new one: it goes along.
        mount(["--rbind", app, app]);
        mount(["-o", "remount,bind,ro", app]);
    }

    pub(crate) fn history_path(&self) -> PathBuf {
        beside(&self.path, "history")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.path);
        // Where it was made read-only.
        unmount(&self.app());
    }
}

/// A small disk in memory.
pub(crate) struct Disk {
    pub(crate) folder: TempDir,
}

impl Disk {
    pub(crate) fn new(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let is_there = mounted(["-t", "tmpfs", "-o", options, "tmpfs", folder.path().to_str().unwrap()]);
        is_there.then(|| Self { folder })
    }

    pub(crate) fn of_64_kib() -> Self {
        Self::new("size=64k").expect("there is memory for a disk")
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Takes all space that is left.
    pub(crate) fn fill(&self) {
        use std::io::Write;

        let mut filler = std::fs::File::create(self.at("filler")).unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
        let full = std::fs::write(self.at("probe"), "x").unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        std::fs::remove_file(self.at("probe")).unwrap();
    }

    pub(crate) fn free(&self) {
        std::fs::remove_file(self.at("filler")).unwrap();
    }

    pub(crate) fn become_read_only(&self) {
        mount(["-o", "remount,ro", self.folder.path().to_str().unwrap()]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(self.folder.path());
    }
}

/// A disk in a file, which can be frozen.
pub(crate) struct Freezer {
    _image: TempDir,
    folder: TempDir,
}

impl Freezer {
    pub(crate) fn new() -> Option<Self> {
        let (image, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let disk = image.path().join("disk");
        std::fs::File::create(&disk).unwrap().set_len(8 * 1024 * 1024).unwrap();
        let is_made = Command::new("mkfs.ext4").arg("-q").arg(&disk).output().is_ok_and(|made| made.status.success());
        let is_there = is_made && mounted(["-o", "loop", disk.to_str().unwrap(), folder.path().to_str().unwrap()]);
        is_there.then(|| Self { _image: image, folder })
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn freeze(&self) {
        assert!(Command::new("fsfreeze").arg("--freeze").arg(self.folder.path()).status().unwrap().success());
    }

    pub(crate) fn thaw(&self) {
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(self.folder.path()).output();
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.thaw();
        unmount(self.folder.path());
    }
}

pub(crate) async fn change(store: &FileStore, flag: &str, change: Change) -> u64 {
    store.change(flag, change, &alice()).await.unwrap().version
}

/// The error of an edit that cannot be made.
pub(crate) async fn rejected(store: &FileStore, flag: &str, change: Change) -> Error {
    match store.change(flag, change, &alice()).await.unwrap_err() {
        ChangeError::Store(error) => *error,
        other => panic!("{other}"),
    }
}

pub(crate) async fn version(store: &FileStore, flag: &str) -> u64 {
    store.read(flag).await.unwrap().version
}

pub(crate) async fn history(store: &FileStore, flag: &str) -> Vec<HistoryEntry> {
    store.history(&HistoryPage::newest().of(flag).limit(1000)).await.unwrap()
}

pub(crate) async fn assert_chain(store: &FileStore) {
    assert!(store.verify_history().await.unwrap().is_ok());
}
