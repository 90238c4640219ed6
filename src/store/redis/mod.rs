//! Flags in Redis: one key for each, for services that already have a Redis and share their flags there.
//!
//! ```no_run
//! use tower_flags::FlagLayer;
//! use tower_flags::source::Live;
//! use tower_flags::store::{Author, Change, RedisStore, StoreExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = RedisStore::new("rediss://shop:secret@redis.example.com:6379/0")?;
//! let source = Live::connect(store.clone()).await?;
//! let layer = FlagLayer::new(source);
//!
//! let alice = Author::new("alice").because("errors at checkout");
//! store.change("new_checkout", Change::kill(), &alice).await?;
//! # let _ = layer;
//! # Ok(())
//! # }
//! ```
//!
//! # What is where
//!
//! | key | type | holds |
//! |---|---|---|
//! | `ff:{name}` | string | the definition of a flag, in JSON; other services may read and write it |
//! | `feature:{name}` | string | a plain switch, `true` or `false`, that other services may read and write |
//! | `tower-flags:{ff:}:versions` | hash | by name: the version of the flag and the digest of the text that the last edit left |
//! | `tower-flags:{ff:}:head` | string | number and digest of the last entry of the history |
//! | `tower-flags:{ff:}:history` | stream | one entry an edit, its number as id, in JSON in the field `entry` |
//! | `tower-flags:{ff:}:entries` | sorted set | name and number of each entry, to find those of one flag |
//! | `tower-flags:{ff:}:changes` | channel | `{name} {version}` for each edit, for whoever wants to listen |
//!
//! Both prefixes are settings of the [builder](RedisStore::builder); `{ff:}` stands for the one that is set. Nothing
//! else is below the prefixes, so that services which list those keys go on working.
//!
//! # Rules
//!
//! 1. An edit is one script on the server: it compares the texts, the version and the head, and writes all or
//!    nothing. Without an expiry: one that somebody has set on a key ends with the edit, and a key that expires is a
//!    flag that somebody took away.
//! 2. Where a flag has both keys, the definition decides, but a `false` in either is off, and a warning says so.
//!    A switch alone is a flag that is on or off for everybody. `true` is exactly that; `false` in any case of
//!    letters and with white space around; anything else is a problem of the flag.
//! 3. An edit writes the definition, and brings a switch that is there into line: `false` where the flag is off now;
//!    `true` where it is on for everybody; where it is on for some, a `true` stays and anything else goes. So a
//!    restore takes effect whichever key was off, and services that know only switches are switched off with
//!    the flag, but never on for more people than meant. Removing removes both. No switch is made where there is none.
//! 4. Changes by anybody are heard of: edits, `SET` and `DEL` from redis-cli, `RENAME`, expiry, eviction,
//!    `FLUSHDB`. The server tells by client tracking in broadcast mode, which needs no setting of the server.
//! 5. `SET ff:x '{"enabled": false}'` replaces the whole definition: percentage, rules and all. To switch off and
//!    keep them use an edit, or `SET feature:x false` beside it.
//!
//! # Freshness and trouble
//!
//! - A change is there after milliseconds, and after 30 s ± 10 % where a notice was lost. A server that is frozen or
//!   cut off shows in the status of the source within 10 s: every connection is asked every 2 s, and no answer is
//!   waited for longer than 2 s, a part of everything 5 s.
//! - Without the server at the start, [`Live`](crate::source::Live) goes on without rules or with its backup file,
//!   and keeps trying. Nothing is connected before it is needed. After the connection was lost everything is read
//!   again, and only what changed takes effect.
//! - A replica that its primary does not reach is stale, and the status says since when. So is a replica that receives
//!   nothing from its primary for 5 s longer than `repl-ping-replica-period` (10 s unless configured). The role is asked
//!   when connecting and at each resync; a replica of a replica does not know the state of its primary's primary.
//! - An edit that the server rejects ends at once with "nothing was changed, because …": the server is out of memory, is a
//!   replica, has too few replicas, or cannot write to its disk. An edit whose answer is lost is tried again, and made once.
//! - A value that is no flag, of another type or longer than 1 MiB (it is not even fetched) is a problem of that flag
//!   alone. An edit of a key of another type is refused, since it would destroy what is there. Keys
//!   below the prefixes that name no flag are left alone, and are a warning.
//! - All definitions are read at one moment, as long as they are less than 4 MiB together; else in several parts. Where
//!   an edit comes between, they are read again.
//!
//! # What the server needs
//!
//! - **Redis 6.0 or newer**, or what is compatible with it, as one server with its replicas: Redis Cluster is not
//!   supported, as an edit writes keys of several slots. Reading works on a replica; edits have to go to the primary.
//! - **Persistence.** `appendonly yes`, and one of two: Redis 7.2 or newer, or `appendfsync always`. Everything else is a
//!   problem in the status, with the line to set; a user who may neither call `CONFIG GET` nor edit is not told of
//!   `appendfsync`:
//!
//!   | server | an acknowledged edit |
//!   |---|---|
//!   | Redis 7.2, Valkey or newer, `appendfsync everysec` | is acknowledged when `WAITAOF` says that the server has synced it to its disk: usually at once, up to a second later if edits come fast. If that takes longer than 4 s, the edit is in doubt |
//!   | any, `appendfsync always` | is on the disk |
//!   | before 7.2, `appendfsync everysec` | can be lost when the server is killed: while a slow disk syncs, Redis holds back up to 2 s of edits |
//!   | any, `appendfsync no` | survives the server's process, and not its machine. Where the user may not call `CONFIG GET`, this shows when the first edit has waited for 4 s and is in doubt; later edits do not wait |
//!   | any, `appendonly no` | is lost unless a snapshot has it |
//!
//! - **Edits that are lost all the same**, in a crash or in a failover to a replica that did not have them, are written
//!   again by the process that made them, if it has still a handle of the store: those that were acknowledged within 10 s
//!   before the server was lost, where it is back within a minute and nothing newer is there. The history gets the same
//!   entries, or new ones that say so. Values that `SET` and `DEL` have changed since the loss stay; a lost kill alone
//!   switches them off. An edit that is not written again is logged and named in the status: all kills first, then the
//!   last 100 others. An editor compares each second, for at most a minute without an answer, and whenever it loads or
//!   edits. A server that rejects its password is asked again by the next load or edit alone.
//!   Other processes wait up to 2 s for that before they go back to older rules. See [`RecentEdits`](super::RecentEdits).
//!
//!   To restore a server from an older copy, stop editing 10 s before. Keys that are flushed from a running server are not
//!   written again. A user who may not call `INFO` cannot tell a flush from a loss: an edit of the last 10 s before the
//!   flush is then written again.
//! - **Memory.** With a `maxmemory-policy` other than `noeviction` a full server may evict flags, which is a problem in the
//!   status if the user may call `INFO`. With `noeviction` a full server rejects edits, even kills: leave it room. The
//!   history grows with every edit by twice the length of its definition; trimming it breaks the chain.
//! - **Lost flags.** A flag whose key is deleted, expires or is evicted is off, and counts as
//!   [lost](crate::source::Live::missing) until it is written back or an edit removes it. After `FLUSHALL` all flags stay
//!   in effect in running processes.
//! - **A database of its own**, where there are many other keys: each load walks over the names of all keys of the
//!   database, in steps of about a millisecond.
//! - **Permissions.** Nothing else is needed than
//!
//!   ```text
//!   # reads flags
//!   ACL SETUSER app on >secret %R~ff:* %R~feature:* %R~tower-flags:{ff:}:* resetchannels
//!       +ping +select +info +time +client|tracking +scan +type +strlen +get +mget +hgetall
//!   # edits them too
//!   ACL SETUSER editor on >secret ~ff:* ~feature:* ~tower-flags:{ff:}:* resetchannels &tower-flags:{ff:}:changes
//!       +ping +select +info +time +client|tracking +scan +type +strlen +get +mget +hgetall
//!       +getrange +hget +xrange +xrevrange +zrevrangebylex
//!       +eval +evalsha +set +del +hset +xadd +zadd +publish
//!   ```
//!
//!   (with Redis 6 `~` in place of `%R~`; with Redis 7.2 or newer also `+waitaof` for editors). `+config|get` lets the status
//!   name `appendfsync`, but lets the user read passwords of the configuration too. A missing permission is an error of the kind
//!   [`Denied`](super::ErrorKind::Denied) that names it.
//!
//! # TLS
//!
//! `rediss://` checks the server's certificate, always. It has to come from an authority that this machine trusts (or
//! that `SSL_CERT_FILE` names), or from one of those given to the [builder](RedisStoreBuilder::authorities), which then
//! are the only ones. The cryptography is the one that the application has installed as rustls's default before it makes
//! the store, else `ring`; nothing is installed for the process.
//!
//! `redis://` sends the password and all flags in plain text. With a password, and to a host other than `localhost`,
//! 127.0.0.0/8 and `::1`, that is a warning at the start and a problem in the status, until the URL says `rediss://` or the
//! builder [`allow_plaintext`](RedisStoreBuilder::allow_plaintext).

mod condition;
mod connection;
mod key_content;
mod keys;
mod load;
mod notices;
mod server;
mod store;

pub use store::{RedisStore, RedisStoreBuilder};
