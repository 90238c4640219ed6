//! Who asks, and what they may do.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request::Parts;

use super::session::{Session, Sessions, is_same};
use crate::store::digest_of;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Viewer,
    Editor,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
        }
    }
}

/// Whoever asks: by this name they stand in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Nobody known: 401.
    None,
    /// Somebody known who may not see flags: 403.
    Denied,
    /// May see everything and change nothing.
    Viewer(String),
    /// May change flags.
    Editor(String),
}

/// Says who asks, from the head of a request. [`Tokens`], or a closure for applications with a login of their
/// own.
///
/// ```
/// use http::request::Parts;
/// use tower_flags::admin::{Access, Authorize};
///
/// /// What the application's own login has put into the request.
/// #[derive(Clone)]
/// struct Employee {
///     name: String,
///     is_operator: bool,
/// }
///
/// fn who(request: &Parts) -> Access {
///     match request.extensions.get::<Employee>() {
///         Some(employee) if employee.is_operator => Access::Editor(employee.name.clone()),
///         Some(employee) => Access::Viewer(employee.name.clone()),
///         None => Access::None,
///     }
/// }
///
/// fn authorizer() -> impl Authorize {
///     who
/// }
/// ```
pub trait Authorize: Send + Sync + 'static {
    /// Who asks. Called for every request except for the page itself, and again from time to time while
    /// somebody listens to events.
    fn authorize(&self, request: &Parts) -> Access;

    /// The tokens that the page's form takes; none unless the page has to ask for one.
    fn tokens(&self) -> Option<&Tokens> {
        None
    }
}

impl<F: Fn(&Parts) -> Access + Send + Sync + 'static> Authorize for F {
    fn authorize(&self, request: &Parts) -> Access {
        self(request)
    }
}

/// Tokens with names and roles, as `Authorization: Bearer` or, from the page's form, behind a cookie.
///
/// Written as text, for configuration and environment, it is one entry or several with white space between
/// them, each a name, a role and a token with `:` between: `alice:editor:TOKEN bob:viewer:TOKEN`. Of a name
/// several may stand, while one takes the place of another.
///
/// ```
/// use tower_flags::admin::Tokens;
///
/// let tokens = Tokens::new().editor("alice", "9b1c1e63a54f4c5c8a0d2b7e6f3a1c94")?;
/// assert_eq!(format!("{tokens:?}"), "Tokens { names: [\"alice\"] }");
///
/// let tokens: Tokens = "alice:editor:9b1c1e63a54f4c5c8a0d2b7e6f3a1c94".parse()?;
/// assert!("alice:editor:secret".parse::<Tokens>().is_err());
/// # Ok::<(), tower_flags::admin::BadTokens>(())
/// ```
#[derive(Clone, Default)]
pub struct Tokens {
    entries: Vec<Entry>,
    sessions: Arc<Sessions>,
}

#[derive(Clone)]
struct Entry {
    name: String,
    role: Role,
    /// SHA-256 of the token.
    digest: String,
}

/// Fewest bytes of a token: what `openssl rand -hex 16` gives.
const MIN_LEN: usize = 32;

impl Tokens {
    /// No tokens yet: nobody gets in.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds somebody who may see everything and change nothing.
    ///
    /// # Errors
    ///
    /// A token of fewer than 32 bytes, of other characters than visible ASCII, or that stands twice; a name that
    /// is empty or has white space or `:`.
    pub fn viewer(self, name: impl Into<String>, token: impl AsRef<str>) -> Result<Self, BadTokens> {
        self.with(name.into(), Role::Viewer, token.as_ref())
    }

    /// Adds somebody who may change flags.
    ///
    /// # Errors
    ///
    /// As for [`viewer`](Self::viewer).
    pub fn editor(self, name: impl Into<String>, token: impl AsRef<str>) -> Result<Self, BadTokens> {
        self.with(name.into(), Role::Editor, token.as_ref())
    }

    /// Reads the text form from an environment variable.
    ///
    /// # Errors
    ///
    /// The variable is not set, or its value is not in that form.
    pub fn from_env(variable: &str) -> Result<Self, BadTokens> {
        let text = std::env::var(variable)
            .map_err(|error| BadTokens { message: format!("the environment variable {variable}: {error}") })?;
        text.parse().map_err(|BadTokens { message }| BadTokens { message: format!("{variable}: {message}") })
    }

    fn with(mut self, name: String, role: Role, token: &str) -> Result<Self, BadTokens> {
        let refuse = |expected: &str| Err(BadTokens { message: format!("token of {name:?}: expected {expected}") });
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == ':') {
            return Err(BadTokens { message: format!("expected a name without white space and ':', found {name:?}") });
        }
        if token.len() < MIN_LEN {
            let found = token.len();
            return refuse(&format!("at least {MIN_LEN} bytes, found {found}; `openssl rand -hex 16` makes one"));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse("visible ASCII characters alone");
        }
        let digest = digest_of(token.as_bytes());
        if self.entries.iter().any(|entry| entry.digest == digest) {
            return refuse("one that nobody else has");
        }
        self.entries.push(Entry { name, role, digest });
        Ok(self)
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
    pub(super) fn is_by_bearer(&self, request: &Parts) -> bool {
        self.entry_by_bearer(request).is_some()
    }

    /// Looks at all of them.
    fn entry_where(&self, is_it: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        self.entries.iter().fold(None, |found, entry| if is_it(entry) { Some(entry) } else { found })
    }

    /// Whose token it is, the value of a cookie that stands for it, and for how many seconds.
    pub(super) fn log_in(&self, token: &str) -> Option<(&str, String, u64)> {
        let entry = self.entry_of(token.as_bytes())?;
        let (value, seconds) = Sessions::seal(&entry.digest);
        Some((&entry.name, value, seconds))
    }

    pub(super) fn log_out(&self, request: &Parts) {
        for (session, entry) in self.sessions_of(request) {
            self.sessions.end(&session, &entry.digest);
        }
    }

    /// The sessions of a request that go on, with whose they are.
    fn sessions_of<'a>(&'a self, request: &'a Parts) -> impl Iterator<Item = (Session<'a>, &'a Entry)> {
        Session::all_of(request).filter_map(|session| {
            let entry = self.entry_where(|entry| self.sessions.is_open(&session, &entry.digest))?;
            Some((session, entry))
        })
    }
}

/// The token of a bearer, where there is one. Another scheme is none.
pub(super) fn bearer(request: &Parts) -> Option<&[u8]> {
    let mut lines = request.headers.get_all(AUTHORIZATION).iter();
    let value = lines.next()?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    (lines.next().is_none() && scheme.eq_ignore_ascii_case(b"bearer ")).then(|| token.trim_ascii())
}

impl Authorize for Tokens {
    fn authorize(&self, request: &Parts) -> Access {
        // An unknown bearer may be a proxy's own.
        let entry = self.entry_by_bearer(request);
        let entry = entry.or_else(|| self.sessions_of(request).next().map(|(_, entry)| entry));
        match entry {
            None => Access::None,
            Some(Entry { name, role: Role::Viewer, .. }) => Access::Viewer(name.clone()),
            Some(Entry { name, role: Role::Editor, .. }) => Access::Editor(name.clone()),
        }
    }

    fn tokens(&self) -> Option<&Tokens> {
        Some(self)
    }
}

impl FromStr for Tokens {
    type Err = BadTokens;

    /// # Errors
    ///
    /// Not in that form, or no token at all.
    fn from_str(text: &str) -> Result<Self, BadTokens> {
        let mut tokens = Self::new();
        for (number, entry) in text.split_whitespace().enumerate() {
            let mut parts = entry.splitn(3, ':');
            // The text itself may be a token and is not repeated.
            let (Some(name), Some(role), Some(token)) = (parts.next(), parts.next(), parts.next()) else {
                let message = format!("entry {}: expected a name, a role and a token with ':' between", number + 1);
                return Err(BadTokens { message });
            };
            if token.contains(":viewer:") || token.contains(":editor:") {
                let message = format!("entry {}: expected white space between entries, found none", number + 1);
                return Err(BadTokens { message });
            }
            tokens = match role {
                "viewer" => tokens.viewer(name, token)?,
                "editor" => tokens.editor(name, token)?,
                _ => {
                    let message = format!("entry {}: expected the role viewer or editor", number + 1);
                    return Err(BadTokens { message });
                }
            };
        }
        if tokens.entries.is_empty() {
            return Err(BadTokens { message: "expected at least one token, found none".into() });
        }
        Ok(tokens)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.entries.iter().map(|entry| entry.name.as_str()).collect();
        f.debug_struct("Tokens").field("names", &names).finish()
    }
}

/// Tokens that cannot be used; the message repeats none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTokens {
    message: String,
}

impl fmt::Display for BadTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for BadTokens {}

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
        assert_eq!(message(&format!("a:admin:{TOKEN}")), "entry 1: expected the role viewer or editor");
        let commas = format!("a:editor:{TOKEN},b:viewer:{TOKEN}2");
        assert_eq!(message(&commas), "entry 1: expected white space between entries, found none");
        let twice = format!("a:editor:{TOKEN}\nb:viewer:{TOKEN}");
        assert_eq!(message(&twice), "token of \"b\": expected one that nobody else has");
        assert!(Tokens::new().viewer("a", "ü".repeat(32)).is_err());
        assert!(Tokens::new().viewer("", TOKEN).is_err());
    }

    #[test]
    fn a_token_may_have_colons() {
        let tokens: Tokens = format!("a:viewer:{TOKEN}:x").parse().unwrap();
        assert!(tokens.entry_of(format!("{TOKEN}:x").as_bytes()).is_some());
        assert!(!format!("{tokens:?}").contains(TOKEN));
    }
}
