//! Rules in PostgreSQL and SQLite: a [`Store`](super::Store) with tables of its own, or a read-only
//! [`Feed`](super::Feed) of a table that the application has.
//!
//! SQLite is for one process or one machine, PostgreSQL for a fleet. Both take a URL, or the pool that the
//! application holds: `sqlx` 0.9, which needs Rust 1.94.
//!
#![cfg_attr(feature = "sqlite", doc = "```")]
#![cfg_attr(not(feature = "sqlite"), doc = "```text")]
//! use tower_flags::source::{Live, Source};
//! use tower_flags::store::{Author, Change, SqliteStore, StoreExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("flags.db");
//! let store = SqliteStore::at(path); // or PostgresStore::new("postgres://shop@db.example.com/shop")?
//! let source = Live::connect(store.clone()).await?; // for `FlagLayer::new`
//!
//! let alice = Author::new("alice").because("launch");
//! store.change("new_checkout", Change::put_text(r#"{"percentage": 10}"#), &alice).await?;
//! let killed = store.change("new_checkout", Change::kill(), &alice).await?;
//! assert_eq!(killed.version, 2);
//! # drop(source);
//! # Ok(())
//! # }
//! ```
//!
//! # Rules
//!
//! 1. The tables are made when they are first needed, by statements that many processes may run at once and that
//!    change nothing the second time; they are shipped as `PostgresStore::MIGRATION` and `SqliteStore::MIGRATION`.
//!    After `without_migration()` missing tables are an error.
//! 2. People may edit `tower_flags` by hand, or by a job, and need to know no versions: every process hears of it,
//!    and the next edit through this crate puts it into the history as somebody's unknown. The other tables are the
//!    store's alone. A row that is deleted by hand counts as [lost](crate::source::Live::missing): remove flags by an edit.
//! 3. An edit is one transaction: it locks the head of the history first, and replaces a text only if that is still
//!    the one it was made for. What was written by hand meanwhile is never lost silently.
//! 4. One load is one statement, so that all of it is of one moment. Its revision is a digest of everything, so that a
//!    restored copy is another one, and older versions and numbers tell that it is older.
//! 5. A connection that does not answer in time, or whose caller gives up, is closed and never used again. Until the
//!    server has answered, or has answered others for 30 s, it keeps its place among the connections of the store: a
//!    locked or frozen server gets no more of them.
//!
//! # What is stored where
//!
//! | table | columns | holds |
//! |---|---|---|
//! | `tower_flags` | `name`, `definition` | the flags, one a row, each in JSON |
//! | `tower_flags_versions` | `name`, `version`, `content` | what the last edit left, also of removed flags: the version, and the SHA-256 of the definition |
//! | `tower_flags_history` | `number`, `flag`, `version`, `at`, `actor`, `reason`, `before`, `after`, `previous` | every edit; `at` in milliseconds since 1970 |
//! | `tower_flags_head` | `number`, `digest` | the end of the history |
//!
//! `UPDATE tower_flags SET definition = '{"enabled": false}' WHERE name = 'x'` replaces all settings of the flag. To
//! kill it and keep them, in PostgreSQL and in SQLite:
//!
//! ```sql
//! UPDATE tower_flags SET definition = jsonb_set(definition::jsonb, '{enabled}', 'false')::text WHERE name = 'x';
//! UPDATE tower_flags SET definition = json_set(definition, '$.enabled', json('false')) WHERE name = 'x';
//! ```
//!
//! # When things happen
//!
//! | | PostgreSQL | SQLite |
//! |---|---|---|
//! | a change is seen | at once: a trigger notifies, once a statement, nothing per request | about 50 ms later, by asking for SQLite's counter of changes 20 times a second |
//! | a notice is lost | with its connection, which means a full load; else within 30 s | within 30 s |
//! | server frozen, file locked | [stale](crate::source::Freshness) within 10 s: a silent connection has to answer every 2 s | stale after 2 s, once something is to be loaded |
//! | start without it | nothing waits: [`Live`](crate::source::Live) serves what it has and goes on trying | the file is made; a folder is not |
//! | reconnect | subscribe, then load everything | the same, also where another file was put in its place |
//!
//! * A row that is no flag (half a JSON, another type, above 1 MiB, no UTF-8) costs that flag alone, and is named as a
//!   problem with the name it has. More than 10 000 rows refuse the load as a whole.
//! * Any answer is waited for 2 s, reading everything 5 s. PostgreSQL itself ends statements a little earlier, by
//!   `statement_timeout` and `lock_timeout`. Both hold within the store's transactions alone, so the connections of a
//!   pool or a pooler keep their settings.
//!
//! # When an edit fails
//!
//! An edit is in doubt only if the answer to `COMMIT` was lost, or had not arrived when the time of the edit ended. Any
//! other failure means that nothing was changed, and the error says so, with the reason. An edit reads first: what the
//! database answers to that counts the same.
//!
//! | the database | [`ErrorKind`](super::ErrorKind) |
//! |---|---|
//! | is locked, and no other edit is made meanwhile; is full; ends the statement | `Rejected` |
//! | is read-only, or a replica; has a constraint or trigger that forbids the edit; cannot hold one of its characters | `Rejected`, [permanent](super::Error::is_permanent) |
//! | rejects the role's login, or does not let it write | `Denied` |
//! | has no such table, schema or database | `Configuration` |
//! | closes the connection before `COMMIT`, or has none to give | tried again until the time of the edit ends, then `Unavailable` and [unchanged](super::Error::is_unchanged) |
//!
//! PostgreSQL cannot hold the character U+0000. A database in LATIN1 cannot hold emoji: choose UTF8.
//!
//! # What the status reports
//!
//! The store asks the database about its settings after connecting and at each resync. These are problems in the
//! status, each with its remedy: in PostgreSQL `fsync` or `full_page_writes` that are off, a version before 14, tables
//! that are `UNLOGGED`, a trigger that is missing or disabled, and a clock that differs by more than 30 s; in SQLite a
//! journal mode other than `wal`, and a pool whose connections are not `synchronous = FULL`.
//!
//! # PostgreSQL in production
//!
//! Version 14 or later. `fsync` has to be on, as it is by default; where the database has switched
//! `synchronous_commit` off, edits switch it on for themselves. Each store holds at most four connections and one
//! that listens, also where the server is locked or frozen. The fourth is opened once the others have been silent for
//! 30 s, in case the server has moved to another host. From a pool that is handed in a store takes at most four, and the
//! connection that listens stands beside it.
//!
//! **A schema of its own** for the flags, of the role that makes the tables, as a superuser or the owner of the database:
//!
//! ```sql
//! CREATE SCHEMA flags AUTHORIZATION shop;
//! REVOKE ALL ON SCHEMA flags FROM PUBLIC;
//! ```
//!
//! The URL names it: `postgres://shop@db.example.com/shop?sslmode=verify-full&options=-csearch_path%3Dflags`. In a schema
//! where others may make objects (`public` in databases from before PostgreSQL 15), another role can make the tables first,
//! with a trigger that would run with the rights of this role. The store therefore checks in each transaction who owns
//! the tables, and the functions, types and operators of their triggers, rules, policies, constraints, defaults and
//! indexes. The store trusts its own role, the owners of the schema and of the database, and every role that can act as
//! one of these, such as a superuser. It does not trust a role merely because its own role is a member of that role. If
//! an owner is not trusted, nothing is read or changed, and the error names the object, its owner and the remedy. The
//! store's own statements name the schema, and use only functions and operators of `pg_catalog`. The query of a
//! `PostgresTable` runs as it is written: name the schemas in it.
//!
//! **Roles.** Making the tables needs `CREATE` on the schema, once. Then a service that only reads needs the first two of
//! these, one that edits the next three, and whoever edits by hand the last:
//!
//! ```sql
//! GRANT SELECT ON tower_flags, tower_flags_versions, tower_flags_head TO flags_reader;
//! GRANT USAGE ON SCHEMA public TO flags_reader, flags_editor, flags_by_hand;
//! GRANT SELECT, INSERT, UPDATE, DELETE ON tower_flags TO flags_editor;
//! GRANT SELECT, INSERT, UPDATE ON tower_flags_versions, tower_flags_head TO flags_editor;
//! GRANT SELECT, INSERT ON tower_flags_history TO flags_editor;
//! GRANT SELECT, INSERT, UPDATE, DELETE ON tower_flags TO flags_by_hand;
//! ```
//!
//! **Environments** in one database are schemas: `?options=-csearch_path%3Dstaging` in the URL. The schema has to be
//! there. All four tables are in one schema. By PostgreSQL's own rule the tables are the first that the path leads to: name one schema alone, so that
//! staging never finds production's. Notices wake the processes of all of them, which then find nothing new.
//!
//! **TLS**: `?sslmode=verify-full&sslrootcert=/etc/ssl/db.pem` encrypts and checks who answers. Without `sslmode` TLS is
//! used if the server offers it, but its certificate is not checked; otherwise password and flags cross the network in plain
//! text. This is a warning at the start and a problem in the status until the URL or `PGSSLMODE` has an `sslmode`, or
//! `allow_plaintext()` is called. Nothing is reported for Unix sockets, `localhost`, 127.0.0.0/8 and `::1`, nor for the
//! application's pool. Passwords are best in `PGPASSWORD` or `~/.pgpass`; messages and `Debug` never show them.
//!
//! **Parameters** of the URL are those of `sqlx`: `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, `host`, `hostaddr`, `port`,
//! `dbname`, `user`, `password`, `application_name`, `options`, `options[name]` and `statement-cache-capacity`. Another one
//! is an error, since `sqlx` would log it with its value; so are an unescaped `#`, and an `@` after the host.
//!
//! **PgBouncer** that pools transactions drops `LISTEN`, so that changes come by the 30 s alone, and has to be 1.21 or
//! later, with `max_prepared_statements` set. Give the store a direct URL.
//!
//! **Replicas** lag and cannot be listened to: a feed of one reads every 30 s, and its status says why. Edits on one are
//! rejected. At each resync the store asks the replica whether it follows its primary. It does not if replay is paused, if
//! it receives nothing, or if it has not replayed all that it received and its last transaction is older than 10 s. The
//! source is then [stale](crate::source::Freshness) since the replica last had everything. An unprivileged role sees a
//! silent primary when `wal_receiver_timeout` ends (60 s); a member of `pg_read_all_stats` sees it after half of that. After
//! a failover to a server that lacks edits, the flags that were seen killed stay off, as
//! [`Live`](crate::source::Live) says. Logical replication fires no trigger on the subscriber, unless it is
//! `ENABLE ALWAYS`.
//!
//! # SQLite in production
//!
//! The file is on a disk of this machine, never on a network file system, and its folder can be written: beside it stand
//! `-wal` and `-shm`. It is switched to write-ahead logging when the tables are made, so that readers and the one writer
//! do not wait for each other. An edit that waits for another writer for 1.8 s is rejected, unless other edits were made
//! meanwhile; [`StoreExt::change`](super::StoreExt::change) then tries again. Asking 20 times a second costs a process
//! well below 1 % of a core.
//!
//! A file that the store makes is readable for its owner alone (mode 600), and so are those beside it. To share it with
//! another user, run `chmod` once: an existing file keeps its permissions, and SQLite gives them to the files beside it.
//! A pool that is handed in makes its own file.
//!
//! Keep copies by `sqlite3 flags.db ".backup copy.db"`, and restore by `".restore copy.db"`: that is a change like any
//! other. A file that is renamed over it is noticed within a second, but `-wal` of the old one must not be beside it. Where
//! the file is removed the rules stay in force, the status says so, and no empty one is made in its place. Pools of the
//! application have to be made anew then. Databases in memory are none that can be shared:
//! [`MemoryStore`](super::MemoryStore).
//!
//! # A table of yours
//!
//! `PostgresTable` and `SqliteTable` read what a query gives as `name` and `definition`, and write nothing. Most tables need
//! an object with [the keys they have](crate::document); `rollout_percentage`, `enabled_for_users` and `metadata` are read as
//! they are, and `null` is the same as no key. Mind that an empty list of users restricts a flag to nobody where
//! there is no percentage: `nullif(allowed_users, '{}')`.
//!
//! PostgreSQL, users as an array (`text[]`), which `jsonb_build_object` takes as it is:
//!
//! ```sql
//! SELECT name, jsonb_build_object(
//!     'enabled', enabled,
//!     'rollout_percentage', rollout_percentage,
//!     'allowed_users', allowed_users,
//!     'metadata', metadata
//! ) AS definition
//! FROM feature_flags
//! ```
//!
//! PostgreSQL, users as JSON (`json` or `jsonb`; a `text` column needs `::jsonb`):
//!
//! ```sql
//! SELECT key AS name, json_build_object(
//!     'enabled', enabled,
//!     'rollout_percentage', rollout_percentage,
//!     'enabled_for_users', enabled_for_users,
//!     'metadata', metadata
//! ) AS definition
//! FROM feature_flags
//! ```
//!
//! SQLite, users as JSON; it has neither booleans nor a type for JSON, so that both are said:
//!
//! ```sql
//! SELECT name, json_object(
//!     'enabled', json(iif(enabled, 'true', 'false')),
//!     'rollout_percentage', rollout_percentage,
//!     'allowed_users', json(allowed_users),
//!     'metadata', json(metadata)
//! ) AS definition
//! FROM feature_flags
//! ```
//!
//! In SQLite `json` refuses the whole query for one text that is none; `iif(json_valid(metadata), json(metadata), NULL)`
//! leaves it out.
//!
//! A table in SQLite is watched like the store's own. One in PostgreSQL is read every 5 s, unless the application has
//! something to `listen` to. Its own trigger can tell of every change:
//!
//! ```sql
//! CREATE FUNCTION feature_flags_notify() RETURNS trigger LANGUAGE plpgsql AS $$
//! BEGIN
//!     NOTIFY feature_flags;
//!     RETURN NULL;
//! END
//! $$;
//! CREATE TRIGGER feature_flags_notify
//!     AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON feature_flags
//!     FOR EACH STATEMENT EXECUTE FUNCTION feature_flags_notify();
//! ```
//!
//! Such a table has no versions, so that a copy of it that came back older switches on again what that copy has on.

mod lease;
#[cfg(feature = "postgres")]
mod listen;
mod notifications;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_codes;
#[cfg(feature = "postgres")]
mod postgres_condition;
#[cfg(feature = "postgres")]
mod postgres_server;
#[cfg(feature = "postgres")]
mod postgres_tables;
#[cfg(feature = "postgres")]
mod postgres_url;
mod rows;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqlite")]
mod sqlite_codes;
mod table;
#[cfg(feature = "postgres")]
mod transaction;
mod trouble;
#[cfg(feature = "sqlite")]
mod watch;

#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use postgres::PostgresStore;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use sqlite::SqliteStore;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use table::PostgresTable;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use table::SqliteTable;
