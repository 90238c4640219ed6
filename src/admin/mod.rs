//! Watching and editing flags over HTTP: a router over any [`Store`](crate::store::Store), and a page for people
//! who do not deploy.
//!
//! ```
//! use axum::Router;
//! use tower_flags::admin::{Admin, Tokens};
//! use tower_flags::source::{Env, Layered, Live};
//! use tower_flags::store::MemoryStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//! let live = Live::connect(store.clone()).await?;
//! let source = Layered::over(live.clone()).with(Env::process()); // for `FlagLayer::new`
//!
//! // From a secret of the deployment: `Tokens::from_env("FLAGS_ADMIN_TOKENS")?`.
//! let tokens: Tokens = "alice:editor:9b1c1e63a54f4c5c8a0d2b7e6f3a1c94".parse()?;
//! // To serve at an address of its own, beside the application's.
//! let admin: Router = Admin::new(store, live, tokens).effective_in(source.clone()).router();
//! # let _ = (admin, source);
//! # Ok(())
//! # }
//! ```
//!
//! `curl -X PATCH https://…/flags/new-checkout -H "Authorization: Bearer $TOKEN" -d '{"enabled": false}'` is
//! then the rollback.
//!
//! # Rules
//!
//! 1. Nobody gets in whom the [authorizer](Authorize) does not know: without credentials every path and method is
//!    401, with too small a role 403; but for the page's own files, which hold no data, and `POST login`. A request for a
//!    host that is not [allowed](AllowedHosts) is 421 before that, the page's files included. With [`Tokens`] any host is
//!    allowed unless configured; an [`Authorizer`] that trusts the network has to name its hosts.
//! 2. A token comes as `Authorization: Bearer`; then bodies are read as JSON whatever their type. With anything else
//!    that a browser sends along by itself (the page's cookie, a login of the application's) every request that is
//!    not `GET`, `HEAD` or `OPTIONS` needs `content-type: application/json` and to come from the same origin, and
//!    those are rejected too where `Sec-Fetch-Site` says that a page of another site asks. An unknown bearer, such as
//!    one that a proxy adds, neither ends the session of a cookie beside it nor replaces these checks. With the
//!    application's own login, a bearer beside a cookie changes nothing.
//! 3. An edit is made onto what it was made for: `If-Match` with the flag's `ETag`, else 412 with the current flag.
//!    The tag names a version: its weak form is accepted, and so are the forms that compressing proxies make of it.
//!    `PUT` and `DELETE` need it; `PATCH` and the actions may go without, and go onto the newest.
//! 4. `PATCH` is a JSON merge patch over the canonical object. Keys that it does not name stay as they are and as
//!    they are spelt, those of other services too. It makes no flag; `enabled` cannot be taken away, nor `percentage`
//!    where that would raise the share.
//! 5. Reverting and importing never switch on a flag that is off, was off when it was removed, or is held off in this
//!    process; its plan stays where it stood. `restore` does, and so do `PUT` and `PATCH` with `"enabled": true`; a waiting
//!    kill is then forgotten, and a pause in the future becomes now, since only a process whose clock runs ahead writes one.
//!    After a `PUT` without `enabled` a flag that is off stays off. `notes` say so in both cases.
//! 6. The reason of an edit is a query parameter, `?reason=`, of up to 1 000 characters. An unknown parameter is rejected,
//!    so that a misspelt `dry_run` is no edit.
//! 7. A kill (`kill`, `roll-back`, and a `PATCH` with `"enabled": false`) is in effect in this process within 200 ms,
//!    whatever the store does. If the store has not taken it after 2 s, the answer is 202 with `"stored": false`. It is
//!    written when the store is back, with its author and reason, unless somebody has edited the flag meanwhile: then it
//!    is a question, which `kill`, `restore` or `forget-kill` answers. With
//!    [`LiveBuilder::backup`](crate::source::LiveBuilder::backup) it outlives a restart. `warning` says if it does not:
//!    because there is no backup file, or it cannot be written, or it is not written yet. A kill waits for the disk of
//!    that file for 200 ms at most. Nothing that is wrong with the stored text prevents a kill: the kill alone is then
//!    taken, and `not_taken` names the other keys of the patch.
//! 8. A flag that the store has lost, without an edit that removed it, is listed with `missing` and its definition. A kill
//!    of it is 202, in effect in this process at once, and written with `?write_back=true`. `DELETE` with `If-Match: *`
//!    removes it for good; `PUT` with `If-None-Match: *` and `import` put a definition in its place. Every other edit is 409
//!    `urn:tower-flags:missing` until it is written back. Writing back and importing never switch on a flag that is off
//!    here, or was off in the history. `urn:tower-flags:removed` is for names that an edit removed, or that somebody took
//!    out of a file by hand.
//! 9. Errors are problem documents (RFC 9457) whose `type` never changes. `urn:tower-flags:in-doubt` says that an edit may
//!    have been made; the history tells. `urn:tower-flags:store-rejected` says that the store itself rejected the edit, or
//!    did not let it read the flag: nothing was changed, and `permanent` is `true` if the same edit fails until the store's
//!    set-up or permissions change. `urn:tower-flags:store-unavailable` says that the store cannot be reached now, and
//!    `Retry-After` when to ask again; for an edit, `detail` adds that nothing was changed.
//! 10. Bodies are at most 1 MiB, a document to import 4 MiB, a question to `explain` 128 KiB, and 127 levels deep, each key
//!     once. Numbers keep their digits.
//!
//! # Roles
//!
//! | | viewer | responder | editor |
//! |---|---|---|---|
//! | for | people who watch | people on call, programs that roll back | people who release |
//! | reads flags, history, status, events; asks `explain` | yes | yes | yes |
//! | sees whom `allowed_users` names | their number | their number | yes |
//! | `kill`, also without the store and of a lost flag (`write_back=true`); `restore`; `forget-kill` | no | yes | yes |
//! | every other edit, also if it only sets `enabled`: `PUT`, `PATCH`, plans, `revert`, `import`, `write-back` | no | no | yes |
//!
//! **Users** are hidden from viewers and responders unless [`Admin::viewers_see_users`] is called. In place of a list they get the
//! number of its users, in flags, texts, history, events and exports; such an export cannot be imported. A stored text that is
//! not a valid flag is hidden from them entirely, and left out of exports. For them, digests in the history are `null`, and an
//! `ETag` is that of the text without users. `explain` leaves out flags that name users and flags that require one of these, because
//! the answer would reveal whether a user is named; `hidden` lists them. Rules are shown unchanged: a rule that compares `user_id`
//! reveals the users that it names. `revision` is a digest of everything in the store.
//!
//! **Tokens** may expire: `alice:editor-until-2027-01-01:TOKEN` is good until the end of that day in UTC, and so are its sessions.
//! After that, requests with it get 401, and `detail` says that the token has expired. `status` names tokens that expire within 14
//! days.
//!
//! # Routes
//!
//! All are relative to where the router is nested. `GET` also answers `HEAD`, and every path `OPTIONS`.
//! `openapi.json` describes them in full.
//!
//! | | role | |
//! |---|---|---|
//! | `GET` (the root), `app.js` and its modules, `style.css` | | the page |
//! | `POST login` | | `{"token": …}` for a cookie that lasts 10 hours: 200 `{"expires_in": seconds}`, 401, 429 with `Retry-After` |
//! | `POST logout` | viewer | 204; ends the session, in this process |
//! | `GET flags` | viewer | `{from, store, revision, etag, flags: [flag, …], problems, error}` |
//! | `GET flags/{name}` | viewer | a flag |
//! | `PUT flags/{name}` | editor | the body is the definition, kept as it is written but for `enabled` and `percentage` where they are left out; `If-Match`, or `If-None-Match: *` for a new one (201); `?create_again=true` for a name that was removed (409 without) |
//! | `PATCH flags/{name}` | editor | merge patch |
//! | `DELETE flags/{name}` | editor | `If-Match`; 422 while others require it |
//! | `POST flags/{name}/kill`, `…/restore` | responder | no body; `kill?write_back=true` writes a lost flag back, switched off |
//! | `POST write-back`, `POST flags/{name}/write-back` | editor | no body; writes back all flags that the store has lost, or one |
//! | `POST flags/{name}/forget-kill` | responder | lets the store decide again; 404 `no-local-kill` |
//! | `POST flags/{name}/rollout/start` | editor | a [plan](crate::operate::rollout#plans) |
//! | `POST flags/{name}/rollout/pause`, `…/resume`, `…/advance`, `…/back`, `…/roll-back` | editor | no body |
//! | `GET flags/{name}/history`, `GET history` | viewer | `?before=number&limit=1..1000` (50): `{entries, next}`; fewer where they are large |
//! | `POST flags/{name}/revert` | editor | `{"to": version}`; `?create_again=true` for a removed flag |
//! | `POST explain` | viewer | a context: what it gets of every flag, and why |
//! | `GET status` | viewer | who asks, the rules, the store, kills that wait |
//! | `GET events` | viewer | server-sent events |
//! | `POST import` | editor | a document; `?dry_run=true`, `?remove=true`, `?create_again=true`; `If-Match` with the `ETag` of the dry run |
//! | `GET export` | viewer | the document with every flag, see below |
//! | `GET history/verify` | viewer | what the last check of the whole history has found; `?fresh=true` checks it now |
//! | `GET history/export` | viewer | `?format=csv` for people and spreadsheets, with control characters as `\u{…}` and an apostrophe before formulas; `jsonl` for programs, with all as it was; newest first |
//! | `GET openapi.json` | viewer | this, for programs |
//!
//! **A flag** in answers:
//!
//! ```json
//! {
//!   "name": "search", "version": 3,
//!   "flag": {"enabled": true, "percentage": 12.5},
//!   "problems": [],
//!   "percentage": 12.5, "rollout": null, "expired": false,
//!   "in_force": {"version": 3, "enabled": true, "percentage": 12.5},
//!   "effective": true, "shadowed_by": null, "local_kill": null, "missing": null,
//!   "from": "store", "text": "{\"on\": true, \"rollout_percentage\": 12.5}", "etag": "\"3-1f0c…\"",
//!   "changed_outside": false
//! }
//! ```
//!
//! `flag` is the canonical object, `null` where the stored text is refused (`problems` say why, and what else is wrong with it among the others) or the flag was
//! removed. `percentage` is its share now, by its plan; `rollout` is the plan, as [`Rollout`](crate::operate::rollout::Rollout).
//! `in_force` is what requests of this process get, from whichever layer; `null`
//! where there is nothing usable. `shadowed_by` names the layer that hides the store's flag. `missing` is
//! `{since, in_force}` for a flag that the store has lost, else `null`. `local_kill` is
//! `{flag, version, at, by, reason, question, survives_restart, missing, error, permanent}`: `error` says why it is not in
//! the store yet, and `permanent` that the store keeps answering so until its set-up, or the kill, is changed. The last
//! three are not in lists. `from` is `"this process"` if the store cannot be read or has lost the flag. It is the name of
//! a layer, such as `"env"`, if that layer defines the flag and the store does not have it: change the flag there. `text`
//! and `etag` are `null` in both cases.
//! `changed_outside`: another program wrote it past the history. Answers to edits add `"stored": true`, `changed` (`false` where
//! there was nothing to change) and `notes`, sentences about side effects of the edit. A kill that is in effect here alone
//! (202) has `"stored": false`, `"scope": "this process"`, `in_doubt`, `error`, `permanent`, `not_taken` and `warning`: the
//! reason why it does not survive a restart, or `null`.
//!
//! **An entry** of the history: `{number, flag, version, at, actor, reason, before, after, previous, digest, breaks, changes}`;
//! `before` and `after` are texts, `changes` is `[{key, before, after}, …]` over the canonical objects; under the
//! empty key where a text is no flag. `next` is the `before` of the next page, `null` at the end.
//!
//! Each entry is verified when it is served, together with its neighbours. `breaks` is empty if that succeeds. Otherwise it has one
//! `{number, through, by, words}` for each break. `by` is `missing`, `changed`, `head`, `unkeyed`, `unknown-key`, `replaced` or
//! `cut-off`, as in [`BreakKind`](crate::store::BreakKind). A break that is not on the page is shown with the entry after it.
//! `digest` is `null` where it needs a [key](crate::store::HistoryKeys) that this process does not have. `revert` does not
//! go back to a changed entry.
//!
//! **history/verify**: `{verified: {at, took_ms, entries, head, keyed_from, broken, breaks}, found_since, running, error, next}`;
//! `verified` is `null` before the first check, `found_since` are breaks that served pages have shown since it, and `next` is
//! when the next check begins. The first one begins 1 to 5 minutes after the start, and further ones once a day. Checks read
//! page by page, at most 64 entries at a time, and end with the router. With `?fresh=true` the answer waits up to 30 s for the
//! end of a check, and is 202 if it is still running. One check runs at a time; concurrent requests share its result. A break
//! is a problem in the status, a banner on the page, and an event of `tracing` with the target `tower_flags::security`, at
//! `ERROR`, when it is found for the first time. The head is read every 5 minutes: a history that ends before what this process has
//! seen is `cut-off`, until the process ends.
//!
//! **explain** takes `{"user_id": "u", "groups": ["g"], "attributes": {"plan": "pro"}, "visitor": "v",
//! "at": "2026-12-01T09:00:00Z"}`, all optional, and answers `{at, version, revision, flags: [{name, enabled, variant,
//! value, reason, words, bucket, percentage, shadowed_by}, …], hidden: [name, …]}`; `bucket` in percent with three decimals.
//!
//! **status**: `{now, you: {name, role}, library, rules, source, store: {name, is_shared, is_durable, has_notices,
//! has_foreign_writers, head: {number, digest}, error, problems}, history, local_kills, missing: {count, flags}, failed_logins,
//! failed_bearers, expiring_tokens: [{name, expires_on}, …]}`; `history` is the answer of `history/verify`; `rules` and `source` are
//! [`Status`](crate::source::Status), of all layers and of the store's alone. The last three are of this process and its tokens.
//!
//! **events**: `status` first and whenever it changes, `{freshness, last_error, problems, store_problems, local_kills, missing}`; `change` with
//! `{flag, version, rules, before, after}` (canonical objects or `null`); `missed` with `{count}`: load everything
//! anew. A comment every 15 s. 256 may listen, 32 of one name, others get 503; the stream ends when whoever listens may
//! no longer, or reads nothing for 30 s, and when the application [shuts down](Admin::with_shutdown).
//!
//! **login** takes at most 4 KiB within 5 s, from at most 8 clients at once and 4 of one address. The first four failures
//! cause no wait; then the address waits for 1 s, and twice as long after each further failure, up to 30 s. After 15
//! minutes failures are forgotten. The address comes from `into_make_service_with_connect_info::<SocketAddr>()`, and behind
//! a proxy it is that of the proxy. If the application does not use it, all wait for one another's failures, at most 2 s.
//! Bearer tokens never wait. `status` counts logins that failed, and requests with an unknown or expired bearer token. A bearer of
//! a proxy beside a session is no failure.
//!
//! **export** is a document with every flag of the store: accepted flags in their canonical form with the percentage
//! written out, but without keys of other services and bookkeeping that is a warning; rejected flags as their texts. A text
//! that cannot stand in a document (not JSON, a key twice, too deep) is in quotes, as a JSON string. Entries without a text
//! of at most 1 MiB, or with a name that no flag can have, are left out; `X-Left-Out` names them. Flags that the store has
//! lost are not in it, even while they are in effect: write them back first.
//!
//! **import** takes a document of at most 4 MiB and answers `{dry_run, complete, etag, flags: [{name, action, version,
//! kept_off, changes}, …]}`; `action` is `none`, `create`, `change`, `remove`, or `refused` with `error`, a problem. If one
//! flag is rejected, the whole document is (422, or 409 for a removed name); a dry run gives the outcome for each flag. A
//! flag that means the same as the stored one is not written: its text stays byte for byte, even a rejected text that the
//! document repeats. `remove=true` removes the flags that the document lacks, except those that an export leaves out, which
//! `DELETE` removes. So an export changes nothing in the store that it came from, even with `remove=true`. An import is
//! finished even if the client disconnects. One that got stuck is 503 `incomplete`, with the same `flags`.
//!
//! # Security events
//!
//! They are events of `tracing` with the target `tower_flags::security`. They hold names and versions, and nothing that is in a
//! flag, a reason or a token. `from` is the client's address if the application uses
//! `into_make_service_with_connect_info::<SocketAddr>()`; an IPv6 address is shortened to its network of 64 bits.
//!
//! | `event` | level | when | fields |
//! |---|---|---|---|
//! | `login` | info | a login succeeded | `from`, `name` |
//! | `login_failed` | warn | a login with an unknown or expired token | `from`, `failures` in a row, `name` if it has expired |
//! | `bearer` | warn | a request with an unknown or expired bearer token, and no session | `from`, `reason` (`unknown`, `expired`), `name` if it has expired, `count` since the start, `suppressed` |
//! | `refused` | warn | 403 by role or origin, 421 by host | `from`, `kind` (`forbidden`, `cross-origin`, `wrong-host`), `name` if known, `method`, `path`, `host`, `suppressed` |
//! | `login_wait` | warn | a login that has to wait: after failures, or since too many are under way | `from`, `seconds`, `suppressed` |
//! | `broken` | error | a break of the history was found for the first time | `store`, `number`, `through`, `by` |
//! | `edit` | info | an edit was made; a waiting kill was written or forgotten | `flag`, `action` (`put`, `patch`, `delete`, `kill`, `rollout/start`, `import`, …), `actor`, `version`, `stored` |
//!
//! An edit in this process alone has `stored=false` and no `version`. At most 60 `bearer` events, 60 `login_wait` events, and 60
//! `refused` events of each kind, are logged per minute. The next event gives the number of events that were not, in `suppressed`.
//!
//! # What it does not do
//!
//! It has no accounts, and does not slow down bearer tokens: a token has 32 bytes or more and cannot be guessed. It keeps no session;
//! the cookie is signed with the token's digest and good in every process that has the same tokens, but logging out
//! is known to the process that was asked.
//!
//! # Deployment
//!
//! Serve it at an address of its own, which only operators reach, with a second listener: `examples/shop` does. The page is then
//! another origin than the application's pages, and no script in those can use an operator's session. Another port of the same
//! host is another origin, but cookies go to all ports: a host name of its own is better.
//!
//! Nested in the application (`Router::nest_service("/admin", admin.router())`, which also answers below `/admin/`), the page has the
//! application's origin: a script that gets into any page of the application (cross-site scripting, a library, a tag manager) can
//! read and edit flags as the operator who opens that page. Nest it only where every script of that origin is trusted like an
//! editor, or where operators use tokens in programs alone. Nested or not, serve it with TLS: the cookie is `Secure` unless [`Admin::insecure_cookie`]. A proxy that changes
//! paths has to change the cookie's too (`proxy_cookie_path`). The page finds its files, and everything it asks
//! for, from where it is.

mod access;
mod auth;
mod call;
mod definition;
mod edits;
mod events;
mod exchange;
mod explain;
mod flags;
mod history;
mod host;
mod links;
mod local_kill;
mod login;
mod logins;
mod merge;
mod missing;
mod neutral;
mod page;
mod peer;
mod problem;
mod reply;
mod rollout;
mod route;
mod router;
mod seats;
mod security;
mod session;
mod shown;
mod shutdown;
mod state;
mod status;
mod tokens;
mod users;
mod verification;
mod verifier;
mod write_back;

pub use access::Access;
pub use auth::{Authorize, Authorizer};
pub use host::AllowedHosts;
pub use router::{Admin, router};
pub use tokens::{Token, Tokens};
