//! Who asks: by tokens, or by the application's own login.

use http::request::Parts;

use super::access::{Access, Role};
use super::host::AllowedHosts;
use super::tokens::{Identification, Tokens};
use crate::document::Timestamp;

/// Says who asks, from the head of a request: [`Tokens`], or an [`Authorizer`] for applications with a login of their own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say where its credentials come from",
    note = "wrap a closure that reads credentials, such as a session, in `Authorizer::by_credentials(…)`",
    note = "wrap a closure that trusts the network in `Authorizer::by_network(hosts, …)`, with the names of this service"
)]
pub trait Authorize: Send + Sync + 'static {
    /// The caller. Called for every request except for the page itself, and again from time to time while a
    /// client receives events.
    fn authorize(&self, request: &Parts) -> Access;

    /// The names under which the router may be reached. [`AllowedHosts::any`] is safe if `authorize` lets no caller in
    /// without a credential that a browser sends to this service's own name alone: a cookie, a token. It is not if
    /// `authorize` trusts an address or the network, since a page of another site can give its own name this server's
    /// address.
    fn allowed_hosts(&self) -> AllowedHosts;

    /// The tokens that the page's form takes; none unless the page has to ask for one.
    fn tokens(&self) -> Option<&Tokens> {
        None
    }
}

/// A closure that says who asks, and where its knowledge comes from.
///
/// A closure alone is not accepted, since the second question decides whether a name in DNS can get past it:
///
/// ```
/// use http::request::Parts;
/// use tower_flags::admin::{Access, AllowedHosts, Authorize, Authorizer};
///
/// /// What the application's own login has put into the request.
/// #[derive(Clone)]
/// struct Employee {
///     name: String,
///     is_operator: bool,
/// }
///
/// /// Reads a session: a browser sends its cookie to this application's name alone.
/// fn by_login() -> impl Authorize {
///     Authorizer::by_credentials(|request: &Parts| match request.extensions.get::<Employee>() {
///         Some(employee) if employee.is_operator => Access::Editor(employee.name.clone()),
///         Some(employee) => Access::Viewer(employee.name.clone()),
///         None => Access::None,
///     })
/// }
///
/// /// Lets in every client that reaches this port, by one of these names.
/// fn by_network() -> impl Authorize {
///     Authorizer::by_network(AllowedHosts::loopback(), |_: &Parts| Access::Editor("developer".to_owned()))
/// }
/// # let _ = (by_login(), by_network());
/// ```
///
/// ```compile_fail
/// use http::request::Parts;
/// use tower_flags::admin::{Access, Authorize};
///
/// fn by_network() -> impl Authorize {
///     |_: &Parts| Access::Editor("developer".to_owned())
/// }
/// ```
#[derive(Clone)]
pub struct Authorizer<F> {
    who: F,
    hosts: AllowedHosts,
}

impl<F: Fn(&Parts) -> Access + Send + Sync + 'static> Authorizer<F> {
    /// For a closure that lets no caller in without a credential in the request, or one that a login or proxy before it has
    /// checked: a session's cookie, a header that programs set. The router may be reached under any name, unless
    /// [`Admin::allowed_hosts`](super::Admin::allowed_hosts) names some.
    #[must_use]
    pub fn by_credentials(who: F) -> Self {
        Self { who, hosts: AllowedHosts::any() }
    }

    /// For a closure that trusts the network: it lets in every client that reaches this port, or decides by the client's address. The
    /// router may be reached under these names alone. [`AllowedHosts::loopback`] is for development.
    #[must_use]
    pub fn by_network(hosts: AllowedHosts, who: F) -> Self {
        Self { who, hosts }
    }
}

impl<F> std::fmt::Debug for Authorizer<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorizer").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl<F: Fn(&Parts) -> Access + Send + Sync + 'static> Authorize for Authorizer<F> {
    fn authorize(&self, request: &Parts) -> Access {
        (self.who)(request)
    }

    fn allowed_hosts(&self) -> AllowedHosts {
        self.hosts.clone()
    }
}

impl Authorize for Tokens {
    fn authorize(&self, request: &Parts) -> Access {
        match self.known(request, Timestamp::now()) {
            Identification::Current { name, role: Role::Viewer } => Access::Viewer(name.to_owned()),
            Identification::Current { name, role: Role::Responder } => Access::Responder(name.to_owned()),
            Identification::Current { name, role: Role::Editor } => Access::Editor(name.to_owned()),
            Identification::Expired { .. } | Identification::Unknown | Identification::Nobody => Access::None,
        }
    }

    fn allowed_hosts(&self) -> AllowedHosts {
        AllowedHosts::any()
    }

    fn tokens(&self) -> Option<&Tokens> {
        Some(self)
    }
}
