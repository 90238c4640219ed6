//! Who may read the files that stores make.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(unix, feature = "file", feature = "sqlite"))]

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tower_flags::store::{Author, Change, ErrorKind, Feed, FileStore, SqliteStore, Store, StoreExt};

fn beside(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", path.display()))
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

async fn put(store: &impl Store, flag: &str) {
    store.change(flag, Change::put_text("true"), &Author::new("alice")).await.unwrap();
}

#[tokio::test]
async fn an_sqlite_file_and_those_beside_it_are_for_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flags.db");
    for store in [SqliteStore::at(&path), SqliteStore::new(&format!("sqlite://{}?mode=rwc", path.display())).unwrap()] {
        put(&store, "x").await;
        for file in [path.clone(), beside(&path, "-wal"), beside(&path, "-shm")] {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
        drop(store);
        let mut theirs = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
        sqlx::raw_sql("PRAGMA journal_mode = DELETE; BEGIN; DELETE FROM tower_flags")
            .execute(&mut theirs)
            .await
            .unwrap();
        assert_eq!(mode(&beside(&path, "-journal")), 0o600);
        theirs.close().await.unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn an_sqlite_file_that_is_there_keeps_its_permissions() {
    let folder = tempfile::tempdir().unwrap();
    for wanted in [0o644, 0o660, 0o666] {
        let path = folder.path().join(format!("{wanted:o}.db"));
        std::fs::write(&path, "").unwrap();
        set_mode(&path, wanted);
        let store = SqliteStore::at(&path);
        put(&store, "x").await;
        for file in [path.clone(), beside(&path, "-wal"), beside(&path, "-shm")] {
            assert_eq!(mode(&file), wanted, "{}", file.display());
        }
    }
}

#[tokio::test]
async fn no_sqlite_file_is_made_through_a_link_or_where_none_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let (path, target) = (folder.path().join("flags.db"), folder.path().join("target.db"));
    symlink(&target, &path).unwrap();
    let store = SqliteStore::at(&path);
    let error = store.load(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let expected = "expected a file, or none, found a link to a file that does not exist; nothing was changed; ";
    assert!(error.to_string().contains(expected), "{error}");
    assert!(!target.exists());
    // A link to a file that is there is followed.
    std::fs::write(&target, "").unwrap();
    put(&store, "x").await;
    assert!(std::fs::metadata(&target).unwrap().len() > 0 && path.is_symlink());

    for mode in ["ro", "rw"] {
        let path = folder.path().join(mode);
        let store = SqliteStore::new(&format!("sqlite://{}?mode={mode}", path.display())).unwrap();
        assert!(store.load(None).await.is_err() && !path.exists(), "{mode}");
    }
}

#[tokio::test]
async fn files_beside_the_flags_are_for_those_alone_who_may_write_these() {
    let folder = tempfile::tempdir().unwrap();
    for (flags, expected) in [
        (0o600, 0o600),
        (0o640, 0o600),
        (0o644, 0o600),
        (0o755, 0o600),
        (0o660, 0o660),
        (0o664, 0o660),
        (0o666, 0o666),
        (0o606, 0o606),
        (0o622, 0o666),
    ] {
        let path = folder.path().join(format!("{flags:o}.json"));
        std::fs::write(&path, r#"{"flags": {}}"#).unwrap();
        set_mode(&path, flags);
        let store = FileStore::new(&path).unwrap();
        put(&store, "x").await;
        assert_eq!(mode(&path), flags, "the file itself keeps its own");
        for file in [beside(&path, ".history"), beside(&path, ".lock")] {
            assert_eq!(mode(&file), expected, "{}", file.display());
            // Once there, they keep theirs.
            set_mode(&file, 0o640);
        }
        put(&FileStore::new(&path).unwrap(), "y").await;
        for file in [beside(&path, ".history"), beside(&path, ".lock")] {
            assert_eq!(mode(&file), 0o640, "{}", file.display());
        }
    }
}

#[tokio::test]
async fn what_root_edits_stays_usable_for_the_owner_of_the_flags() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flags.json");
    std::fs::write(&path, r#"{"flags": {}}"#).unwrap();
    set_mode(&path, 0o600);
    // Only root may give files away.
    if chown(&path, Some(65534), Some(65534)).is_err() {
        return;
    }
    put(&FileStore::new(&path).unwrap(), "x").await;
    for file in [path.clone(), beside(&path, ".history"), beside(&path, ".lock")] {
        let found = std::fs::metadata(&file).unwrap();
        assert_eq!((found.uid(), found.gid(), mode(&file)), (65534, 65534, 0o600), "{}", file.display());
    }
}
