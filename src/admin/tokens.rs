//! Tokens with names, roles and days on which they expire.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request::Parts;

use super::access::{MAX_NAME, Role};
use super::session::{Session, Sessions, is_same};
use crate::document::{Day, Timestamp};
use crate::error::Error;
use crate::store::digest_of;

/// Tokens with names and roles, as `Authorization: Bearer` or, from the page's form, behind a cookie.
///
/// Written as text, for configuration and environment, it is one entry or several with white space between
/// them, each a name, a role and a token with `:` between: `alice:editor:TOKEN bob:viewer:TOKEN`. The roles are `viewer`,
/// `responder` and `editor`. `alice:editor-until-2027-01-01:TOKEN` expires at the end of that day in UTC. A name may have
/// several entries, while one takes the place of another.
///
/// ```
/// use tower_flags::admin::{Token, Tokens};
///
/// let tokens = Tokens::new().editor("alice", "9b1c1e63a54f4c5c8a0d2b7e6f3a1c94")?;
/// let robot = Token::responder("deploy-robot", "f8b7d1c09e2a4d6f8c3b5a7e9d1f0c2b").expires_on("2027-01-01".parse().unwrap());
/// let tokens = tokens.with(robot)?;
/// assert_eq!(format!("{tokens:?}"), "Tokens { names: [\"alice\", \"deploy-robot\"] }");
///
/// let tokens: Tokens = "deploy-robot:responder-until-2027-01-01:f8b7d1c09e2a4d6f8c3b5a7e9d1f0c2b".parse()?;
/// assert!("alice:editor:secret".parse::<Tokens>().is_err());
/// # Ok::<(), tower_flags::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Tokens {
    entries: Vec<Entry>,
    sessions: Arc<Sessions>,
}

/// One token with its name and role, for [`Tokens::with`].
#[derive(Clone)]
#[must_use = "it has no effect until it is among the tokens"]
pub struct Token {
    name: String,
    role: Role,
    text: String,
    expires_on: Option<Day>,
}

impl Token {
    /// For a user who may read and change nothing.
    pub fn viewer(name: impl Into<String>, token: impl Into<String>) -> Self {
        Self::new(name.into(), Role::Viewer, token.into())
    }

    /// For a user or a program that may read, kill and restore.
    pub fn responder(name: impl Into<String>, token: impl Into<String>) -> Self {
        Self::new(name.into(), Role::Responder, token.into())
    }

    /// For a user who may change flags.
    pub fn editor(name: impl Into<String>, token: impl Into<String>) -> Self {
        Self::new(name.into(), Role::Editor, token.into())
    }

    fn new(name: String, role: Role, text: String) -> Self {
        Self { name, role, text, expires_on: None }
    }

    /// Good until the end of this day in UTC; so are its sessions. A day that has passed is no error: the token is
    /// rejected, and the status names it.
    pub fn expires_on(mut self, day: Day) -> Self {
        self.expires_on = Some(day);
        self
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Token");
        debug.field("name", &self.name).field("role", &self.role.name());
        debug.field("expires_on", &self.expires_on).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Entry {
    name: String,
    role: Role,
    /// SHA-256 of the token.
    digest: String,
    expires_on: Option<Day>,
}

impl Entry {
    fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_on.is_some_and(|day| day.is_over_at(now))
    }
}

/// Who a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identification<'a> {
    /// A caller with a token, or a session of one.
    Current { name: &'a str, role: Role },
    /// A caller whose token was good until this day.
    Expired { name: &'a str, day: Day },
    /// A caller with a token that is none of these, and no session beside it.
    Unknown,
    /// Neither a token nor a session.
    Nobody,
}

/// Fewest bytes of a token: what `openssl rand -hex 16` gives.
const MIN_LEN: usize = 32;
/// How long before it expires the status names a token.
const EXPIRES_SOON: std::time::Duration = std::time::Duration::from_secs(14 * 24 * 60 * 60);
/// Between a role and the day.
const UNTIL: &str = "-until-";

impl Tokens {
    /// No tokens yet: every caller is unknown.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a user who may read and change nothing.
    ///
    /// # Errors
    ///
    /// As for [`with`](Self::with).
    pub fn viewer(self, name: impl Into<String>, token: impl AsRef<str>) -> Result<Self, Error> {
        self.with(Token::viewer(name, token.as_ref()))
    }

    /// Adds a user or a program that may read, kill and restore.
    ///
    /// # Errors
    ///
    /// As for [`with`](Self::with).
    pub fn responder(self, name: impl Into<String>, token: impl AsRef<str>) -> Result<Self, Error> {
        self.with(Token::responder(name, token.as_ref()))
    }

    /// Adds a user who may change flags.
    ///
    /// # Errors
    ///
    /// As for [`with`](Self::with).
    pub fn editor(self, name: impl Into<String>, token: impl AsRef<str>) -> Result<Self, Error> {
        self.with(Token::editor(name, token.as_ref()))
    }

    /// Adds a token.
    ///
    /// # Errors
    ///
    /// A token of fewer than 32 bytes, of other characters than visible ASCII, or that stands twice; a name that
    /// is empty, has white space or `:`, or is longer than 200 characters.
    pub fn with(mut self, token: Token) -> Result<Self, Error> {
        let Token { name, role, text, expires_on } = token;
        let refuse = |expected: &str| Err(Error::configuration(format!("token of {name:?}: expected {expected}")));
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == ':') {
            return Err(Error::configuration(format!("expected a name without white space and ':', found {name:?}")));
        }
        if name.chars().count() > MAX_NAME {
            let message = format!("expected a name of at most {MAX_NAME} characters, found {}", name.chars().count());
            return Err(Error::configuration(message));
        }
        if text.len() < MIN_LEN {
            let found = text.len();
            return refuse(&format!("at least {MIN_LEN} bytes, found {found}; `openssl rand -hex 16` makes one"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse("visible ASCII characters alone");
        }
        let digest = digest_of(text.as_bytes());
        if self.entries.iter().any(|entry| entry.digest == digest) {
            return refuse("one that nobody else has");
        }
        self.entries.push(Entry { name, role, digest, expires_on });
        Ok(self)
    }

    /// Reads the text form from an environment variable.
    ///
    /// # Errors
    ///
    /// The variable is not set, or its value is not in that form.
    pub fn from_env(variable: &str) -> Result<Self, Error> {
        let text = std::env::var(variable)
            .map_err(|error| Error::configuration(format!("the environment variable {variable}: {error}")))?;
        text.parse().map_err(|error| Error::configuration(format!("{variable}: {error}")))
    }

    /// Whose token it is. The time it takes tells nothing of the tokens: digests are compared, and all of them.
    fn entry_of(&self, token: &[u8]) -> Option<&Entry> {
        let digest = digest_of(token);
        self.entry_where(|entry| is_same(entry.digest.as_bytes(), digest.as_bytes()))
    }

    fn entry_by_bearer(&self, request: &Parts) -> Option<&Entry> {
        self.entry_of(bearer(request)?)
    }

    /// Whether a token names the user. Unlike the cookie, no page of another site can send one along.
    pub(super) fn is_by_bearer(&self, request: &Parts, now: Timestamp) -> bool {
        self.entry_by_bearer(request).is_some_and(|entry| !entry.has_expired(now))
    }

    /// Looks at all of them.
    fn entry_where(&self, is_it: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        self.entries.iter().fold(None, |found, entry| if is_it(entry) { Some(entry) } else { found })
    }

    /// Who asks. An unknown bearer may be a proxy's own, and a session beside it decides.
    pub(super) fn known(&self, request: &Parts, now: Timestamp) -> Identification<'_> {
        let by_bearer = self.entry_by_bearer(request);
        let sessions: Vec<&Entry> = self.sessions_of(request).map(|(_, entry)| entry).collect();
        let entries = || by_bearer.into_iter().chain(sessions.iter().copied());
        if let Some(Entry { name, role, .. }) = entries().find(|entry| !entry.has_expired(now)) {
            return Identification::Current { name, role: *role };
        }
        match entries().find_map(|entry| Some((&entry.name, entry.expires_on?))) {
            Some((name, day)) => Identification::Expired { name, day },
            None if bearer(request).is_some() => Identification::Unknown,
            None => Identification::Nobody,
        }
    }

    /// Whose token it is, the value of a cookie that stands for it, and for how many seconds.
    pub(super) fn log_in(&self, token: &str, now: Timestamp) -> Result<(&str, String, u64), Identification<'_>> {
        let Some(entry) = self.entry_of(token.as_bytes()) else { return Err(Identification::Unknown) };
        match entry.expires_on {
            Some(day) if day.is_over_at(now) => Err(Identification::Expired { name: &entry.name, day }),
            day => {
                let (value, seconds) = Sessions::seal(&entry.digest, now, day.map(Day::end));
                Ok((&entry.name, value, seconds))
            }
        }
    }

    pub(super) fn log_out(&self, request: &Parts) {
        for (session, entry) in self.sessions_of(request) {
            self.sessions.end(&session, &entry.digest);
        }
    }

    /// The sessions of a request that go on, with whose they are.
    fn sessions_of<'a, 'r>(&'a self, request: &'r Parts) -> impl Iterator<Item = (Session<'r>, &'a Entry)> {
        Session::all_of(request).filter_map(|session| {
            let entry = self.entry_where(|entry| self.sessions.is_open(&session, &entry.digest))?;
            Some((session, entry))
        })
    }

    /// The names whose tokens expire within 14 days, or have expired, with the day; the first to expire first.
    pub(super) fn expiring(&self, now: Timestamp) -> Vec<(&str, Day)> {
        let soon = now.checked_add(EXPIRES_SOON).unwrap_or(Timestamp::MAX);
        let dated = self.entries.iter().filter_map(|entry| Some((entry.name.as_str(), entry.expires_on?)));
        let mut expiring: Vec<(&str, Day)> = dated.filter(|(_, day)| day.is_over_at(soon)).collect();
        expiring.sort_by_key(|(name, day)| (*day, *name));
        expiring
    }
}

/// The token of a bearer, where there is one. Another scheme is none.
pub(super) fn bearer(request: &Parts) -> Option<&[u8]> {
    let mut lines = request.headers.get_all(AUTHORIZATION).iter();
    let value = lines.next()?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    (lines.next().is_none() && scheme.eq_ignore_ascii_case(b"bearer ")).then(|| token.trim_ascii())
}

impl FromStr for Tokens {
    type Err = Error;

    /// # Errors
    ///
    /// Not in that form, or no token at all.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut tokens = Self::new();
        for (number, entry) in text.split_whitespace().enumerate() {
            let bad = |message: String| Error::configuration(format!("entry {}: {message}", number + 1));
            let mut parts = entry.splitn(3, ':');
            // The text itself may be a token and is not repeated.
            let (Some(name), Some(role), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
                return Err(bad("expected a name, a role and a token with ':' between".to_owned()));
            };
            if has_an_entry_in(text) {
                return Err(bad("expected white space between entries, found none".to_owned()));
            }
            let (role, day) = role.split_once(UNTIL).map_or((role, None), |(role, day)| (role, Some(day)));
            let Some(role) = Role::ALL.into_iter().find(|known| known.name() == role) else {
                let expected =
                    "expected the role viewer, responder or editor, such as editor or editor-until-2027-01-01";
                return Err(bad(expected.to_owned()));
            };
            let expires_on = day.map(str::parse::<Day>).transpose();
            let expires_on = expires_on.map_err(|error| bad(format!("after {}{UNTIL}: {error}", role.name())))?;
            tokens = tokens.with(Token { name: name.to_owned(), role, text: text.to_owned(), expires_on })?;
        }
        if tokens.entries.is_empty() {
            return Err(Error::configuration("expected at least one token, found none"));
        }
        Ok(tokens)
    }
}

/// Whether another entry is in a token, since a comma or nothing stands between them.
fn has_an_entry_in(token: &str) -> bool {
    let is_role = |part: &str| Role::ALL.iter().any(|role| part.split(UNTIL).next() == Some(role.name()));
    let parts: Vec<&str> = token.split(':').collect();
    parts.len() > 2 && parts[1..parts.len() - 1].iter().any(|part| is_role(part))
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.entries.iter().map(|entry| entry.name.as_str()).collect();
        f.debug_struct("Tokens").field("names", &names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn weak_and_odd_tokens_are_refused_without_being_shown() {
        let message = |text: &str| text.parse::<Tokens>().unwrap_err().to_string();
        assert_eq!(
            message("alice:editor:hunter2"),
            "token of \"alice\": expected at least 32 bytes, found 7; `openssl rand -hex 16` makes one"
        );
        assert_eq!(message(" "), "expected at least one token, found none");
        assert_eq!(message(TOKEN), "entry 1: expected a name, a role and a token with ':' between");
        let roles = "entry 1: expected the role viewer, responder or editor, such as editor or editor-until-2027-01-01";
        for role in ["admin", "", "Editor", "editor-until", "editor-2027-01-01", "until-2027-01-01"] {
            assert_eq!(message(&format!("a:{role}:{TOKEN}")), roles, "{role}");
        }
        for day in ["", "2027", "2027-02-29", "2027-01-01T00:00:00Z", "2027-01-01-until-2028-01-01", TOKEN] {
            let found = message(&format!("a:editor-until-{day}:{TOKEN}"));
            assert_eq!(
                found, "entry 1: after editor-until-: expected a day of the calendar, such as 2027-03-01",
                "{day}"
            );
        }
        for (between, role) in [(",", "viewer"), ("", "responder"), (",", "editor-until-2027-01-01")] {
            let commas = format!("a:editor:{TOKEN}{between}b:{role}:{TOKEN}2");
            assert_eq!(message(&commas), "entry 1: expected white space between entries, found none");
        }
        let twice = format!("a:editor:{TOKEN}\nb:viewer-until-2027-01-01:{TOKEN}");
        assert_eq!(message(&twice), "token of \"b\": expected one that nobody else has");
        assert!(Tokens::new().viewer("a", "ü".repeat(32)).is_err());
        assert!(Tokens::new().viewer("", TOKEN).is_err());
        assert!(!format!("{:?}", Token::viewer("a", TOKEN)).contains(TOKEN));
    }

    #[test]
    fn a_token_may_have_colons_and_look_like_a_day() {
        for token in [format!("{TOKEN}:x"), format!("until-2027-01-01:{TOKEN}"), format!("-until-2027-01-01{TOKEN}")] {
            let tokens: Tokens = format!("a:viewer:{token}").parse().unwrap();
            assert!(tokens.entry_of(token.as_bytes()).is_some_and(|entry| entry.expires_on.is_none()));
            assert!(!format!("{tokens:?}").contains(TOKEN));
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn request(header: &str, value: &str) -> Parts {
        http::Request::get("/").header(header, value).body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_token_and_its_sessions_end_with_its_day() {
        let tokens: Tokens = format!("a:responder-until-2027-01-01:{TOKEN}").parse().unwrap();
        let bearer = request("authorization", &format!("Bearer {TOKEN}"));
        let (last, over) = (at("2027-01-01T23:59:59.999Z"), at("2027-01-02T00:00:00Z"));
        let current = Identification::Current { name: "a", role: Role::Responder };
        let expired = Identification::Expired { name: "a", day: "2027-01-01".parse().unwrap() };
        assert_eq!((tokens.known(&bearer, last), tokens.known(&bearer, over)), (current, expired));
        assert!(tokens.is_by_bearer(&bearer, last) && !tokens.is_by_bearer(&bearer, over));
        let seconds = |now| tokens.log_in(TOKEN, now).map(|(.., seconds)| seconds);
        assert_eq!(seconds(at("2027-01-01T00:00:00Z")), Ok(10 * 60 * 60));
        assert_eq!(seconds(at("2027-01-01T23:00:00Z")), Ok(60 * 60));
        assert_eq!(seconds(over), Err(expired));
        assert_eq!(tokens.log_in("x", last).unwrap_err(), Identification::Unknown);
        // A cookie that was sealed before the day was set.
        let (value, _) = Sessions::seal(&tokens.entries[0].digest, Timestamp::now(), None);
        let session = request("cookie", &format!("tower_flags_admin={value}"));
        assert_eq!((tokens.known(&session, last), tokens.known(&session, over)), (current, expired));
    }

    #[test]
    fn tokens_that_expire_soon_are_named() {
        let entry = |name: &str, day: &str| format!("{name}:editor{day}:{TOKEN}{name} ");
        let text = entry("d", "")
            + &entry("c", "-until-2027-01-16")
            + &entry("b", "-until-2027-01-15")
            + &entry("a", "-until-2026-12-31");
        let tokens: Tokens = text.parse().unwrap();
        let day = |text: &str| text.parse::<Day>().unwrap();
        let now = at("2027-01-02T08:00:00Z");
        assert_eq!(tokens.expiring(now), [("a", day("2026-12-31")), ("b", day("2027-01-15"))]);
    }
}
