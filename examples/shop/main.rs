//! A small shop with flags from a file: `cargo run --example shop`.
//!
//! It serves `ADDR` (127.0.0.1:3000) by the rules in `FLAGS_FILE` (examples/flags.json), prints
//! requests to try, and takes edits of the file while it runs. The dashboard has an address of its own, `ADMIN_ADDR`
//! (127.0.0.1:3001), so that no script in a page of the shop can use the session of an operator; its token is made at the
//! start. `STORE=sqlite:shop.db` keeps the rules in a store instead, which several shops may share,
//! filled from the file where it is new; `redis://…` and `postgres://…` need `--features redis` and `postgres`.
//! `BACKUP_FILE` keeps the last rules over a restart without the store, one file for each process.
//! `FF_NEW_CHECKOUT=off` in the environment goes before all of them. Links that switch a flag for a tester are
//! signed by `OVERRIDE_KEY` (32 random bytes, others at each start).

mod store;

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::{Stream, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_stream::wrappers::IntervalStream;
use tower_flags::admin::{Admin, Tokens};
use tower_flags::request::{OverrideToken, Overrides, SigningKey};
use tower_flags::store::{Author, Change, ChangeError, Feed, FileStore, Store, StoreExt};
use tower_flags::{Env, FlagLayer, Flags, Layered, Live, Source, Timestamp, flag};

const PRODUCTS: [(&str, u32); 3] = [("teapot", 3000), ("cup", 900), ("saucer", 400)];

/// How long requests may continue after ctrl-c or SIGTERM.
const PATIENCE: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let Err(error) = run().await else { return ExitCode::SUCCESS };
    eprint!("{error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
    ExitCode::FAILURE
}

async fn run() -> Result<(), Box<dyn Error>> {
    let address = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let admin_address = std::env::var("ADMIN_ADDR").unwrap_or_else(|_| "127.0.0.1:3001".into());
    let file = std::env::var("FLAGS_FILE").unwrap_or_else(|_| "examples/flags.json".into());

    let store = open(&file).await?;
    let mut live = Live::builder(Arc::clone(&store));
    if let Ok(path) = std::env::var("BACKUP_FILE") {
        live = live.backup(path);
    }
    let live = live.connect().await?;
    let source = Layered::over(live.clone()).with(Env::process());
    // The example has no TLS; a service leaves its cookies `Secure`, and takes its tokens from a secret.
    let admin_token = hex(&random()?);
    let admin = Admin::new(store, live, Tokens::new().editor("admin", &admin_token)?)
        .effective_in(source.clone())
        // Open dashboards do not hold up the shutdown.
        .with_shutdown(stopped());

    let listener = TcpListener::bind(&address)
        .await
        .map_err(|error| format!("the shop cannot listen on ADDR, {address}: {error}"))?;
    let admin_listener = TcpListener::bind(&admin_address)
        .await
        .map_err(|error| format!("the dashboard cannot listen on ADMIN_ADDR, {admin_address}: {error}"))?;
    let key = override_key()?;
    let until = Timestamp::from(SystemTime::now() + Duration::from_secs(60 * 60));
    let token = OverrideToken::until(until).on("new_search").sign(&key)?;
    let admin_url = format!("http://{}", admin_listener.local_addr()?);
    print_requests_to_try(&format!("http://{}", listener.local_addr()?), &admin_url, &admin_token, &token);
    let shop = axum::serve(listener, app(source, key)).with_graceful_shutdown(stopped());
    // With the clients' addresses, failed logins of one hold up no other.
    let admin = admin.insecure_cookie().router().into_make_service_with_connect_info::<SocketAddr>();
    let admin = axum::serve(admin_listener, admin).with_graceful_shutdown(stopped());
    // Whoever never sends the rest of a request does not hold up the end.
    let impatience = async {
        stopped().await;
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        ended = async { tokio::try_join!(shop.into_future(), admin.into_future()) } => {
            ended?;
        }
        () = impatience => tracing::warn!("requests were cut off"),
    }
    Ok(())
}

/// The store that `STORE` says, or the file itself. Without rules there is no shop.
async fn open(file: &str) -> Result<Arc<dyn Store>, Box<dyn Error>> {
    let file = FileStore::new(file)?;
    let Ok(url) = std::env::var("STORE") else {
        file.load(None).await?;
        return Ok(Arc::new(file));
    };
    let store = store::at(&url).map_err(|error| format!("STORE: {error}"))?;
    match fill(&store, &file).await {
        Err(error) if std::env::var_os("BACKUP_FILE").is_some() => tracing::warn!("started without the store: {error}"),
        filled => filled?,
    }
    Ok(store)
}

/// Puts the flags of a file into a store that never had one. What cannot be read stays behind, with a warning.
async fn fill(store: &Arc<dyn Store>, file: &FileStore) -> Result<(), Box<dyn Error>> {
    let has_history = store.read("").await?.head.number > 0;
    if has_history || store.load(None).await?.is_none_or(|loaded| loaded.document.flags().next().is_some()) {
        return Ok(());
    }
    let Some(loaded) = file.load(None).await? else { return Ok(()) };
    let author = Author::new("the shop").because(format!("the first rules, from {}", file.name()));
    for (name, _) in loaded.document.flags() {
        let Some(definition) = file.read(name).await?.definition else { continue };
        // Of several processes that start at once, one makes the flag.
        match store.change(name, Change::put_text(definition).at_version(0), &author).await {
            Ok(_) | Err(ChangeError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for problem in loaded.document.problems() {
        tracing::warn!("{problem}");
    }
    tracing::info!("{} holds the flags of {} now", store.name(), file.name());
    Ok(())
}

/// From the environment, so that all processes of a service take the links that one of them signs.
fn override_key() -> Result<SigningKey, Box<dyn Error>> {
    if let Ok(key) = std::env::var("OVERRIDE_KEY") {
        return Ok(SigningKey::new(key).map_err(|error| format!("OVERRIDE_KEY: {error}"))?);
    }
    Ok(SigningKey::new(random()?)?)
}

fn random() -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random bytes: {error}"))?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn app(source: Layered, key: SigningKey) -> Router {
    // Whoever can reach this port says who they are. An example on 127.0.0.1 may trust that. A
    // service may only behind a proxy that sets these headers; examples/auth.rs does without them.
    let layer = FlagLayer::new(source.clone())
        .trust_headers()
        // The example has no TLS; a service leaves its cookies `Secure`.
        .overrides(Overrides::new(key).insecure_cookie());
    let health = Health { source, layer: layer.clone() };
    Router::new()
        .route("/checkout", post(checkout))
        .route("/search", get(search))
        .route("/pricing", get(pricing))
        .route("/events", get(events))
        .route("/flags", get(all_flags))
        .route("/flags/{name}", get(one_flag))
        .fallback(|| async { Failure::new(StatusCode::NOT_FOUND, "no such page") })
        .method_not_allowed_fallback(wrong_method)
        // Around everything above it, the fallbacks too, and nothing below it.
        .layer(layer)
        .route("/health", get(Health::report).fallback(wrong_method).with_state(health))
}

async fn wrong_method() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "no such method here")
}

#[derive(Deserialize)]
struct Order {
    product: String,
}

/// Sells a product; a teapot where the request has no body. Any other body is read as JSON, whatever
/// its content type says.
async fn checkout(body: Result<Bytes, BytesRejection>) -> Result<Json<Value>, Failure> {
    let body = body.map_err(JsonRejection::from)?;
    let product = if body.is_empty() { "teapot".into() } else { Json::<Order>::from_bytes(&body)?.0.product };
    let Some((product, price)) = PRODUCTS.into_iter().find(|(name, _)| *name == product) else {
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, format!("no product {product:?}")));
    };
    Ok(Json(json!({ "product": product, "price": price, "checkout": pay() })))
}

/// Nothing is handed down to here: `flag` reads the answers of the request it runs in.
fn pay() -> &'static str {
    if flag("fraud_check") {
        tracing::info!("the order goes to the fraud check");
    }
    if flag("new_checkout") { "one page" } else { "three pages" }
}

async fn search() -> Json<Value> {
    let mut products = PRODUCTS;
    let engine = if flag("new_search") {
        products.sort_by_key(|(_, price)| *price);
        "new"
    } else {
        products.sort();
        "old"
    };
    Json(json!({ "engine": engine, "products": products.map(|(name, _)| name) }))
}

async fn pricing(flags: Flags) -> Json<Value> {
    // A value of another type is a mistake in the rules. It costs the experiment, not the page.
    let factor = flags.value::<f64>("pricing_page").unwrap_or_else(|error| {
        tracing::warn!("{error}");
        None
    });
    let price = |price: u32| (f64::from(price) * factor.unwrap_or(1.0)).round() as u32;
    let products: serde_json::Map<String, Value> =
        PRODUCTS.into_iter().map(|(name, full)| (name.into(), price(full).into())).collect();
    Json(json!({ "variant": flags.variant("pricing_page"), "products": products }))
}

/// Ten server-sent events, one a second. A request keeps its answers to its last frame, so the stream
/// ends: the browser opens the next one, which reads the rules of that moment.
async fn events() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = IntervalStream::new(tokio::time::interval(Duration::from_secs(1))).take(10).map(|_| {
        let offer = if flag("flash_sale") { "everything at half price" } else { "no offers" };
        Ok(Event::default().event("offer").data(offer))
    });
    Sse::new(events.take_until(Box::pin(stopped())))
}

/// What a front end needs of the flags, in one answer.
async fn all_flags(flags: Flags) -> Json<Value> {
    let (mut values, mut variants) = (serde_json::Map::new(), serde_json::Map::new());
    for entry in flags.iter().filter(|entry| !entry.is_hidden) {
        values.insert(entry.name.into(), entry.enabled.into());
        if let Some(variant) = entry.variant {
            variants.insert(entry.name.into(), variant.into());
        }
    }
    Json(json!({ "flags": values, "variants": variants, "version": flags.version() }))
}

/// One flag, and why it is as it is.
async fn one_flag(name: Result<Path<String>, PathRejection>, flags: Flags) -> Result<Json<Value>, Failure> {
    let Path(name) = name?;
    if !flags.iter().any(|entry| entry.name == name && !entry.is_hidden) {
        return Err(Failure::new(StatusCode::NOT_FOUND, format!("no flag {name:?}")));
    }
    let answer = flags.evaluation(&name);
    Ok(Json(json!({
        "flag": name,
        "enabled": answer.enabled,
        "variant": answer.variant,
        // What the variant stands for; on or off where it stands for nothing.
        "value": answer.value.clone().unwrap_or(answer.enabled.into()),
        "reason": answer.to_string(),
        "code": answer.reason,
    })))
}

/// What operators want to see, outside of the layer: a health check has no caller and needs no flags.
/// Problems name hidden flags too, so a service answers this on a port of its own.
#[derive(Clone)]
struct Health {
    source: Layered,
    layer: FlagLayer,
}

impl Health {
    async fn report(State(health): State<Self>) -> Json<Value> {
        Json(json!({ "source": health.source.status(), "requests": health.layer.counts() }))
    }
}

/// Anything that goes wrong, as JSON.
struct Failure {
    status: StatusCode,
    error: String,
}

impl Failure {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.error }))).into_response()
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Failure {
    fn from(rejection: PathRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

/// Ctrl-c, or SIGTERM, by which supervisors and container platforms stop a service.
async fn stopped() {
    tokio::select! {
        () = received("ctrl-c", tokio::signal::ctrl_c()) => {}
        () = received("SIGTERM", terminated()) => {}
    }
}

async fn received(name: &str, signal: impl Future<Output = io::Result<()>>) {
    if let Err(error) = signal.await {
        tracing::warn!("{name} will not stop the shop: {error}");
        std::future::pending::<()>().await;
    }
}

#[cfg(unix)]
async fn terminated() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    signal(SignalKind::terminate())?.recv().await;
    Ok(())
}

#[cfg(not(unix))]
async fn terminated() -> io::Result<()> {
    std::future::pending().await
}

fn print_requests_to_try(url: &str, admin_url: &str, admin_token: &str, override_token: &str) {
    println!(
        "listening on {url}
admin on {admin_url}/ with token {admin_token}

# on for alice, off for bob; the header X-Active-Flags says what is on
curl -i -X POST {url}/checkout -H 'X-User-ID: alice'
curl -i -X POST {url}/checkout -H 'X-User-ID: bob'
# on for employees, whoever they are
curl -i -X POST {url}/checkout -H 'X-User-ID: bob' -H 'X-User-Groups: employees'
# a variant, and why
curl {url}/pricing -H 'X-User-ID: alice'
curl {url}/flags/pricing_page -H 'X-User-ID: alice'
# a flag read inside a stream
curl -N {url}/events -H 'X-User-Groups: members'
# a link for testers: new_search is on for whoever opens it, for an hour; the empty one ends that
curl -i '{url}/search?flag_override={override_token}'
curl -i '{url}/search?flag_override='
# the kill switch: off for everybody, and on again
curl -X PATCH {admin_url}/flags/new_checkout -H 'Authorization: Bearer {admin_token}' -d '{{\"enabled\": false}}'
curl {url}/flags/new_checkout -H 'X-User-ID: alice'
curl -X PATCH {admin_url}/flags/new_checkout -H 'Authorization: Bearer {admin_token}' -d '{{\"enabled\": true}}'"
    );
}
