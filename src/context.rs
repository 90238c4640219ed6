//! What is known about the caller.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderValue;
use serde_json::Value;

/// What is known about the caller of a request: a user id, groups, and attributes that rules ask.
///
/// The field's term is *evaluation context*. A context is built once and frozen with the answers.
/// Ids, groups and attributes compare byte for byte: nothing is trimmed, folded or normalised. An
/// empty user id is the same as none.
///
/// ```
/// use tower_flags::Context;
///
/// let context = Context::user("alice").in_groups(["employees", "beta"]).with_attribute("plan", "pro");
/// assert_eq!(context.user_id(), Some("alice"));
/// assert_eq!(context.groups().collect::<Vec<_>>(), ["employees", "beta"]);
/// assert_eq!(context.attribute("plan").unwrap(), "pro");
/// assert!(Context::user("").is_anonymous());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Context {
    user: User,
    groups: Groups,
    attributes: Option<Arc<BTreeMap<String, Value>>>,
    visitor: Option<Arc<str>>,
}

/// The user id's bytes: UTF-8, empty for anonymous callers.
#[derive(Clone, Debug, Default)]
enum User {
    #[default]
    None,
    /// A header's value as it came.
    Header(HeaderValue),
    Text(Arc<str>),
}

#[derive(Clone, Debug, Default)]
enum Groups {
    #[default]
    None,
    /// A header's value as it came: UTF-8, comma separated.
    Header(HeaderValue),
    List(Arc<[String]>),
}

impl Context {
    /// A caller nobody knows: in no partial rollout, in no allow-list of users.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// The caller with this user id: a text, a number, a UUID.
    ///
    /// ```
    /// use tower_flags::Context;
    ///
    /// assert_eq!(Context::user(42), Context::user("42"));
    /// ```
    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "a number is written as it is, without a reference")]
    pub fn user(user_id: impl ToString) -> Self {
        Self { user: User::Text(user_id.to_string().into()), ..Self::default() }
    }

    /// Sets the groups the caller belongs to, in place of any set before.
    #[must_use]
    pub fn in_groups<G: Into<String>>(mut self, groups: impl IntoIterator<Item = G>) -> Self {
        self.groups = Groups::List(groups.into_iter().map(Into::into).collect());
        self
    }

    /// Adds a group that the caller belongs to. An empty one is left out.
    ///
    /// ```
    /// use tower_flags::Context;
    ///
    /// let context = Context::user("alice").group("employees").group("beta");
    /// assert_eq!(context, Context::user("alice").in_groups(["employees", "beta"]));
    /// ```
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        let groups = self.groups().map(str::to_owned).chain([group.into()]).collect();
        self.groups = Groups::List(groups);
        self
    }

    /// Adds an attribute for rules and `bucket_by`, in place of one of the same name.
    ///
    /// Rules compare integers exactly, from `i64::MIN` to `u64::MAX`. Give ids as integers or texts: a float rounds an id
    /// above 2⁵³.
    ///
    /// `user_id` and `groups` can be asked like attributes but not set as such: setting them here
    /// changes nothing.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let name = name.into();
        if !matches!(name.as_str(), "user_id" | "groups") {
            Arc::make_mut(self.attributes.get_or_insert_default()).insert(name, value.into());
        }
        self
    }

    /// A context over header values; both are UTF-8, which the caller has checked.
    pub(crate) fn from_headers(user: Option<HeaderValue>, groups: Option<HeaderValue>) -> Self {
        Self {
            user: user.map_or(User::None, User::Header),
            groups: groups.map_or(Groups::None, Groups::Header),
            attributes: None,
            visitor: None,
        }
    }

    /// Sets what an anonymous caller is bucketed by: the random id of a browser or a device. It keeps
    /// partial rollouts and variants sticky, and is nothing else: no allow-list and no rule sees it, and
    /// a user id takes its place where there is one. An empty one is the same as none.
    ///
    /// ```
    /// use tower_flags::Context;
    ///
    /// let visitor = Context::anonymous().with_visitor("5f0c0a3e9d1b4c7f8a6e2d3b1c0f9e8d");
    /// assert!(visitor.is_anonymous());
    /// assert_eq!(visitor.user_id(), None);
    /// ```
    #[must_use]
    pub fn with_visitor(mut self, visitor: impl Into<Arc<str>>) -> Self {
        self.visitor = Some(visitor.into()).filter(|visitor| !visitor.is_empty());
        self
    }

    /// What an anonymous caller is bucketed by, from [`with_visitor`](Self::with_visitor).
    #[must_use]
    pub fn visitor(&self) -> Option<&str> {
        self.visitor.as_deref()
    }

    /// What partial rollouts hash: the user id, else the visitor; empty where there is neither.
    pub(crate) fn bucketed_bytes(&self) -> &[u8] {
        match (self.user_bytes(), &self.visitor) {
            (b"", Some(visitor)) => visitor.as_bytes(),
            (user, _) => user,
        }
    }

    /// The user id, if there is one.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        match std::str::from_utf8(self.user_bytes()) {
            Ok("") | Err(_) => None,
            Ok(user) => Some(user),
        }
    }

    /// The user id's bytes; empty for anonymous callers.
    pub(crate) fn user_bytes(&self) -> &[u8] {
        match &self.user {
            User::None => b"",
            User::Header(value) => value.as_bytes(),
            User::Text(text) => text.as_bytes(),
        }
    }

    /// Whether there is no user id.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.user_bytes().is_empty()
    }

    /// The groups, in the order given. Empty ones are left out.
    pub fn groups(&self) -> impl Iterator<Item = &str> + Clone {
        let (line, list): (&str, &[String]) = match &self.groups {
            Groups::None => ("", &[]),
            Groups::Header(line) => (std::str::from_utf8(line.as_bytes()).unwrap_or_default(), &[]),
            Groups::List(list) => ("", list),
        };
        line.split(',')
            .map(|group| group.trim_matches([' ', '\t']))
            .chain(list.iter().map(String::as_str))
            .filter(|group| !group.is_empty())
    }

    /// The attribute of that name. `user_id` and `groups` are not among them.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Value> {
        self.attributes.as_ref()?.get(name)
    }
}

/// User ids are equal when their bytes are, however they came.
impl PartialEq for Context {
    fn eq(&self, other: &Self) -> bool {
        self.user_bytes() == other.user_bytes()
            && self.attributes == other.attributes
            && self.visitor == other.visitor
            && match (&self.groups, &other.groups) {
                (Groups::Header(a), Groups::Header(b)) if a == b => true,
                _ => self.groups().eq(other.groups()),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_line_and_a_list_are_the_same_groups() {
        let line =
            Context::from_headers(Some(HeaderValue::from_static("a")), Some(HeaderValue::from_static(" x , y y,,\tz")));
        assert_eq!(line.groups().collect::<Vec<_>>(), ["x", "y y", "z"]);
        assert_eq!(line, Context::user("a").in_groups(["x", "y y", "z"]));
        assert_ne!(line, Context::user("a").in_groups(["x"]));
    }

    #[test]
    fn reserved_attributes_cannot_be_set() {
        let context = Context::user("a").with_attribute("user_id", "b").with_attribute("groups", "c");
        assert_eq!(context, Context::user("a"));
    }
}
