//! Roles.

/// Most characters of a caller's name.
pub(super) const MAX_NAME: usize = 200;

/// The permissions of a caller. Each role includes the roles before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Viewer,
    Responder,
    Editor,
}

impl Role {
    pub(super) const ALL: [Self; 3] = [Self::Viewer, Self::Responder, Self::Editor];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Responder => "responder",
            Self::Editor => "editor",
        }
    }

    /// The name with its article.
    pub(super) fn one(self) -> &'static str {
        match self {
            Self::Viewer => "a viewer",
            Self::Responder => "a responder",
            Self::Editor => "an editor",
        }
    }
}

/// The caller's permissions, and their name in the history. The name has 1 to 200 characters and no control characters;
/// a caller with any other name gets 403.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// An unknown caller: 401.
    None,
    /// A known caller who may not see flags: 403.
    Denied,
    /// May read, and change nothing. Does not see whom `allowed_users` names, only how many, unless
    /// [`Admin::viewers_see_users`](super::Admin::viewers_see_users) is called.
    Viewer(String),
    /// May read like a viewer, and kill and restore flags: for people on call, and for programs that roll back.
    Responder(String),
    /// May read everything and change flags.
    Editor(String),
}
