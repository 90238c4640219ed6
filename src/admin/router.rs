//! From a request to its handler: who may ask what, how, and with which headers the answer goes out.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, REFERRER_POLICY};
use http::header::{X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tokio::sync::{Semaphore, watch};

use super::access::{Access, Role};
use super::auth::Authorize;
use super::call::{Answer, BODY_WITHIN, Call, MAX_BODY, Principal, Query, decoded, read_body};
use super::host::AllowedHosts;
use super::logins::Logins;
use super::problem::{Failure, Kind};
use super::reply;
use super::route::{Route, route};
use super::seats::Seats;
use super::security::Security;
use super::shutdown::Shutdown;
use super::state::{State, WORK_AT_ONCE};
use super::tokens::bearer;
use super::{
    events, exchange, explain, flags, history, local_kill, login, page, rollout, status, verification, write_back,
};
use crate::document::{MAX_DOCUMENT, Timestamp};
use crate::source::{Layered, Live};
use crate::store::Store;

/// How many may listen to events at a time, and how many of one name: a user with many windows keeps no other out.
const MAX_LISTENERS: usize = 256;
const MAX_LISTENERS_OF_ONE: usize = 32;
/// How many may fetch the whole history at a time, and how many of one name: a user who does not read keeps no other out.
const MAX_EXPORTS: usize = 4;
const MAX_EXPORTS_OF_ONE: usize = 1;
/// The bytes of a body from which an edit is worked out off the workers.
const LARGE: usize = 16 * 1024;
/// How many such edits are worked out at once. Each may wait for the store.
const MAX_LARGE: usize = 8;

/// Nothing but what comes from here, and nothing inline.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                              img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The API and the page over a store, to be nested in an application: see the [module](crate::admin).
#[must_use = "it does nothing until its router serves"]
pub struct Admin {
    state: State,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("store", &self.state.store.name())
            .field("effective_in", &self.state.effective)
            .finish_non_exhaustive()
    }
}

impl Admin {
    /// Over a store, and the source that this process keeps current from it. Nobody gets in whom the authorizer
    /// does not know: [`Tokens`](super::Tokens), or a closure over the head of a request, in an
    /// [`Authorizer`](super::Authorizer).
    pub fn new(store: impl Store, source: Live, authorizer: impl Authorize) -> Self {
        let hosts = vec![authorizer.allowed_hosts()];
        let state = State {
            store: Arc::new(store),
            source,
            effective: None,
            authorizer: Box::new(authorizer),
            hosts,
            security: Security::default(),
            viewers_see_users: false,
            has_insecure_cookie: false,
            listeners: Seats::new(MAX_LISTENERS, MAX_LISTENERS_OF_ONE),
            exports: Seats::new(MAX_EXPORTS, MAX_EXPORTS_OF_ONE),
            editing: Arc::new(Semaphore::new(MAX_LARGE)),
            compiling: Arc::new(Semaphore::new(WORK_AT_ONCE)),
            explaining: Arc::new(Semaphore::new(WORK_AT_ONCE)),
            verifying: Arc::new(Semaphore::new(WORK_AT_ONCE)),
            answering: Arc::new(Semaphore::new(WORK_AT_ONCE)),
            verifier: Arc::default(),
            logins: Logins::default(),
            turn: tokio::sync::Mutex::default(),
            overtaken: tokio::sync::Mutex::default(),
            has_written: AtomicBool::new(false),
            loaded: Mutex::default(),
            shutdown: Shutdown::default(),
            end: watch::Sender::new(()),
        };
        Self { state }
    }

    /// Says that requests are answered by these layers, of which the source is one: answers to edits then tell
    /// where another part hides the flag, and [`explain`](super) goes by all of them.
    pub fn effective_in(mut self, layered: Layered) -> Self {
        self.state.effective = Some(layered);
        self
    }

    /// Rejects requests for other hosts, the page's included, beside what the authorizer itself asks for. With
    /// [`Tokens`](super::Tokens) any host is allowed unless configured: no page of another site has a token.
    ///
    /// ```
    /// use tower_flags::admin::{Admin, AllowedHosts, Tokens};
    /// # use tower_flags::source::Live;
    /// # use tower_flags::store::MemoryStore;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = MemoryStore::new();
    /// # let live = Live::connect(store.clone()).await?;
    /// # let tokens: Tokens = "alice:editor:9b1c1e63a54f4c5c8a0d2b7e6f3a1c94".parse()?;
    /// let admin = Admin::new(store, live, tokens).allowed_hosts(AllowedHosts::new(["flags.internal"])?);
    /// # let _ = admin;
    /// # Ok(())
    /// # }
    /// ```
    pub fn allowed_hosts(mut self, hosts: AllowedHosts) -> Self {
        self.state.hosts.truncate(1);
        self.state.hosts.push(hosts);
        self
    }

    /// Shows viewers and responders whom `allowed_users` names. Unless configured they see the number of users in place
    /// of the list, and only editors see the list.
    pub fn viewers_see_users(mut self) -> Self {
        self.state.viewers_see_users = true;
        self
    }

    /// Lets the cookie go over plain HTTP too, for development on a machine of one's own.
    pub fn insecure_cookie(mut self) -> Self {
        self.state.has_insecure_cookie = true;
        self
    }

    /// Ends the streams of events when `signal` completes, so that a graceful shutdown does not wait for open dashboards.
    /// Give it the same signal as the server:
    ///
    /// ```no_run
    /// use axum::Router;
    /// use tower_flags::admin::{Admin, Tokens};
    /// use tower_flags::source::Live;
    /// use tower_flags::store::MemoryStore;
    ///
    /// # async fn serve(listener: tokio::net::TcpListener, tokens: Tokens) -> Result<(), Box<dyn std::error::Error>> {
    /// async fn stopped() {
    ///     let _ = tokio::signal::ctrl_c().await;
    /// }
    ///
    /// let store = MemoryStore::new();
    /// let live = Live::connect(store.clone()).await?;
    /// let admin = Admin::new(store, live, tokens).with_shutdown(stopped());
    /// let app: Router = Router::new().nest_service("/admin", admin.router());
    /// axum::serve(listener, app).with_graceful_shutdown(stopped()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Unless configured, a stream ends within a second after every other holder of the [`Live`] has dropped it: a layer
    /// does so when its server ends. This never happens within one server, since the stream's connection holds the layer.
    pub fn with_shutdown(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.state.shutdown = Shutdown::on(signal);
        self
    }

    /// The router, to be nested: `Router::nest_service("/admin", router)`.
    pub fn router(self) -> Router {
        let state = Arc::new(self.state);
        local_kill::watch(&state);
        state.shutdown.watch(state.end.subscribe());
        verification::watch(&state);
        let answer = {
            let state = Arc::clone(&state);
            any(move |request: Request| async move { serve(state, request).await })
        };
        // In here there is one path only: the routes are a table, which tests enumerate.
        Router::new().route("/", answer.clone()).route("/{*path}", answer.clone()).fallback(answer)
    }
}

/// [`Admin::new`] with everything at its default, as a router.
pub fn router(store: impl Store, source: Live, authorizer: impl Authorize) -> Router {
    Admin::new(store, source, authorizer).router()
}

/// What asks for credentials. The rest is the page, and logging in.
pub(super) const ROUTES: &[Route] = &[
    route!("GET", "flags", Viewer, [], flags::list),
    route!("GET", "flags/{name}", Viewer, [], flags::get),
    route!("PUT", "flags/{name}", Editor, ["reason", "create_again"], flags::put),
    route!("PATCH", "flags/{name}", Editor, ["reason"], flags::patch),
    route!("DELETE", "flags/{name}", Editor, ["reason"], flags::delete),
    route!("POST", "flags/{name}/kill", Responder, ["reason", "write_back"], flags::kill),
    route!("POST", "flags/{name}/write-back", Editor, ["reason"], write_back::write_back),
    route!("POST", "write-back", Editor, ["reason"], write_back::write_back_all),
    route!("POST", "flags/{name}/restore", Responder, ["reason"], flags::restore),
    route!("POST", "flags/{name}/forget-kill", Responder, [], flags::forget_kill),
    route!("GET", "flags/{name}/history", Viewer, ["before", "limit"], history::of_flag),
    route!("POST", "flags/{name}/revert", Editor, ["reason", "create_again"], history::revert),
    route!("GET", "history", Viewer, ["before", "limit"], history::of_all),
    route!("GET", "history/export", Viewer, ["format"], exchange::history),
    route!("GET", "history/verify", Viewer, ["fresh"], verification::verify),
    route!("POST", "explain", Viewer, [], explain::explain),
    route!("GET", "status", Viewer, [], status::status),
    route!("GET", "events", Viewer, [], events::events),
    route!("POST", "import", Editor, ["reason", "dry_run", "remove", "create_again"], exchange::import),
    route!("GET", "export", Viewer, [], exchange::export),
    route!("GET", "openapi.json", Viewer, [], page::description),
    route!("POST", "logout", Viewer, [], page::log_out),
];

pub(super) fn routes() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().chain(rollout::ROUTES)
}

async fn serve(state: Arc<State>, request: Request) -> Response {
    local_kill::watch(&state);
    state.shutdown.watch(state.end.subscribe());
    verification::watch(&state);
    let (parts, body) = request.into_parts();
    let mut response = answer(state, parts, body).await.unwrap_or_else(Failure::into_response);
    let headers = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn answer(state: Arc<State>, parts: Parts, body: axum::body::Body) -> Answer {
    let path = parts.uri.path().trim_start_matches('/').to_owned();
    for hosts in &state.hosts {
        hosts.check(&parts).inspect_err(|failure| state.security.refused(&parts, failure, None))?;
    }
    let is_read = matches!(parts.method, Method::GET | Method::HEAD);
    if is_read && let Some(file) = page::file(&path, &parts) {
        return Ok(file);
    }
    if parts.method == Method::POST && path == page::LOGIN {
        check_origin(&parts).inspect_err(|failure| state.security.refused(&parts, failure, None))?;
        check_type(&parts)?;
        return Ok(reply::written(&state, login::log_in(&state, &parts, body).await?, false).await);
    }
    let who = who(&state, &parts)?;
    let hides = state.hides_users(who.role);
    match answer_to(Arc::clone(&state), who, parts, path, body).await {
        Ok(response) => Ok(reply::written(&state, response, hides).await),
        Err(failure) => Err(if hides { failure.without_users() } else { failure }),
    }
}

/// The caller, or why the request is rejected.
fn who(state: &State, parts: &Parts) -> Result<Principal, Failure> {
    let access = state.authorizer.authorize(parts);
    if access == Access::None
        && let Some(tokens) = state.authorizer.tokens()
    {
        let known = tokens.known(parts, Timestamp::now());
        state.security.unauthorized(parts, known);
        return Err(Failure::unauthorized(known));
    }
    Principal::of(access).inspect_err(|failure| state.security.refused(parts, failure, None))
}

/// Answers a known caller.
async fn answer_to(state: Arc<State>, who: Principal, parts: Parts, path: String, body: axum::body::Body) -> Answer {
    let is_read = matches!(parts.method, Method::GET | Method::HEAD);
    let is_safe = is_read || parts.method == Method::OPTIONS;
    // A browser may send any other credential along with a request of another site. An unknown bearer may stand beside
    // the cookie that names the user, and a login of the application cannot be told apart.
    let is_by_bearer = match state.authorizer.tokens() {
        Some(tokens) => tokens.is_by_bearer(&parts, Timestamp::now()),
        None => bearer(&parts).is_some() && !parts.headers.contains_key(http::header::COOKIE),
    };
    let refused = |failure: &Failure| state.security.refused(&parts, failure, Some(&who.name));
    if !is_by_bearer {
        if is_safe {
            check_not_foreign(&parts).inspect_err(refused)?;
        } else {
            check_origin(&parts).inspect_err(refused)?;
            check_type(&parts)?;
        }
    }
    let path = path.strip_suffix('/').unwrap_or(&path);
    let found: Vec<(&Route, &str)> = routes().filter_map(|route| Some((route, route.matched(path)?))).collect();
    let method = if parts.method == Method::HEAD { "GET" } else { parts.method.as_str() };
    let route = found.iter().find(|(route, _)| route.method == method);
    let needs = route.map_or(if is_safe { Role::Viewer } else { Role::Editor }, |(route, _)| route.needs);
    if who.role < needs {
        return Err(too_small(&who, needs)).inspect_err(refused);
    }
    let Some((route, name)) = route else { return no_route(&found, path, &parts.method) };
    let query = Query::parse(parts.uri.query().unwrap_or_default(), route.query)?;
    let Some(name) = decoded(name) else {
        return Err(Failure::new(Kind::NoSuchFlag, "the name is not UTF-8 in %-escapes"));
    };
    // An import has to accept the store's own export.
    let most = match route.path {
        "import" => MAX_DOCUMENT,
        "explain" => explain::MAX_BODY,
        _ => MAX_BODY,
    };
    let body = read_body(&parts, body, most, BODY_WITHIN).await?;
    let action = route.action();
    // A definition is parsed and compared several times, which takes seconds for one that is deeply nested. The limit
    // keeps callers who may only read from the places of those who edit.
    let is_heavy = body.len() > LARGE && route.needs >= Role::Editor;
    let (handler, editing) = (route.handler, Arc::clone(&state.editing));
    let call = Call { state, who, parts, action, name, query, body };
    if !is_heavy {
        return handler(call).await;
    }
    let runtime = tokio::runtime::Handle::current();
    State::off_workers(&editing, move || runtime.block_on(handler(call))).await
}

fn too_small(who: &Principal, needs: Role) -> Failure {
    let instead = match who.role {
        Role::Responder => "; a responder kills by POST flags/{name}/kill, and restores by POST flags/{name}/restore",
        _ => "",
    };
    let detail = format!(
        "nothing was changed, because {} is {}, and this takes {}{instead}",
        who.name,
        who.role.one(),
        needs.one()
    );
    Failure::new(Kind::Forbidden, detail)
}

fn no_route(found: &[(&Route, &str)], path: &str, method: &Method) -> Answer {
    let mut methods: Vec<&str> = found.iter().map(|(route, _)| route.method).collect();
    if page::is_file(path) {
        methods.push("GET");
    }
    if path == page::LOGIN {
        methods.push("POST");
    }
    if methods.is_empty() {
        return Err(Failure::new(Kind::NoSuchRoute, "openapi.json says what there is"));
    }
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.push("OPTIONS");
    let allow = HeaderValue::from_str(&methods.join(", ")).unwrap_or(HeaderValue::from_static(""));
    if method == Method::OPTIONS {
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response.headers_mut().insert(ALLOW, allow);
        return Ok(response);
    }
    let detail = format!("expected one of {}", methods.join(", "));
    Err(Failure::new(Kind::WrongMethod, detail).with_header(ALLOW, allow))
}

/// As tower-http's `csrf` and Go's `CrossOriginProtection`: browsers say where a request comes from in
/// `Sec-Fetch-Site`, older ones in `Origin`. A request with neither comes from no page.
fn check_origin(parts: &Parts) -> Result<(), Failure> {
    let refuse = |detail: &str| Err(Failure::new(Kind::CrossOrigin, detail));
    let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match text("sec-fetch-site") {
        Some("same-origin") => return Ok(()),
        Some(_) => return refuse("the page that sent it is not this one"),
        None => {}
    }
    let Some(origin) = text(ORIGIN.as_str()) else {
        return refuse(
            "expected Origin or Sec-Fetch-Site beside a cookie; programs send a token as Authorization: Bearer",
        );
    };
    // HTTP/2 has it in the target.
    let host = text(HOST.as_str()).or(parts.uri.authority().map(http::uri::Authority::as_str));
    let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    match (authority, host) {
        (Some(authority), Some(host)) if !host.is_empty() && authority.eq_ignore_ascii_case(host) => Ok(()),
        _ => refuse("its Origin is not this host"),
    }
}

/// For reading: what a page of another site asks for is refused, where the browser says that it does. What somebody
/// opens by hand comes from no page.
fn check_not_foreign(parts: &Parts) -> Result<(), Failure> {
    match parts.headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(Failure::new(Kind::CrossOrigin, "the page that asks is not this one")),
    }
}

/// A form of another site can send any content type but this one without asking first.
fn check_type(parts: &Parts) -> Result<(), Failure> {
    let value = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(Failure::new(Kind::MediaType, "expected content-type: application/json beside a cookie"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_has_every_route_and_no_other() {
        let description: serde_json::Value = serde_json::from_str(page::DESCRIPTION).unwrap();
        let mut described = Vec::new();
        for (path, methods) in description["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
                let mut query: Vec<String> = Vec::new();
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    let key = parameter["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
                    let parameter = &description["components"]["parameters"][key];
                    if parameter["in"] == "query" {
                        query.push(parameter["name"].as_str().unwrap().to_owned());
                    }
                }
                query.sort();
                let summary = operation["summary"].as_str().unwrap();
                let needs = Role::ALL.into_iter().find(|role| summary.ends_with(&format!(" Takes {}.", role.one())));
                let is_public = operation["security"] == serde_json::json!([]);
                assert_eq!(needs.is_none(), is_public, "{summary}");
                let needs = needs.map_or("nobody", Role::name);
                described.push((path[1..].to_owned(), method.to_uppercase(), needs.to_owned(), query));
            }
        }
        let mut table: Vec<_> = routes()
            .map(|route| {
                let mut query: Vec<String> = route.query.iter().map(|name| (*name).to_owned()).collect();
                query.sort();
                (route.path.to_owned(), route.method.to_owned(), route.needs.name().to_owned(), query)
            })
            .collect();
        table.extend(["", "app.js", "style.css"].map(|file| (file.into(), "GET".into(), "nobody".into(), Vec::new())));
        table.push((page::LOGIN.into(), "POST".into(), "nobody".into(), Vec::new()));
        described.sort();
        table.sort();
        assert_eq!(described, table);
    }

    #[test]
    fn the_description_has_every_kind_of_problem() {
        let description: serde_json::Value = serde_json::from_str(page::DESCRIPTION).unwrap();
        let kinds = &description["components"]["schemas"]["Problem"]["properties"]["type"]["enum"];
        let kinds: Vec<&str> = kinds.as_array().unwrap().iter().map(|kind| kind.as_str().unwrap()).collect();
        assert_eq!(kinds, Kind::ALL.map(Kind::uri));
    }
}
