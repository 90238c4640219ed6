//! A reload storm: rules that must agree, replaced as fast as it goes, under a million requests. A
//! request that saw some flags of one version and some of another would be torn.
//!
//! The same storm over flags that are each behind a lock of their own shows that it finds tearing.
#![allow(clippy::unwrap_used, reason = "a test that unwraps nothing fails, as it should")]

#[path = "support/dose.rs"]
mod dose;
mod support;

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use http::{Request, Response};
use tokio::task::yield_now;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_flags::{Context, Document, FlagLayer, Flags, HeaderPolicy, Memory, flag};

use support::document;

const FLAGS: usize = 200;
const TASKS: usize = 8;
/// Every this many requests of a task one reads all flags twice; the others read a few of them.
const FULL_EVERY: usize = 100;

/// The flags of a storm: all on for the caller, or all off.
trait Rules: Send + Sync + 'static {
    /// Switches all of them.
    fn turn(&self, on: bool);

    /// Reads one of them within a request.
    fn is_on(&self, number: usize) -> bool;
}

struct Real {
    memory: Memory,
    names: Vec<String>,
    on: Document,
    off: Document,
}

impl Real {
    fn new() -> Self {
        let (on, off) = (rules(true), rules(false));
        let names = (0..FLAGS).map(name).collect();
        Self { memory: Memory::from(off.clone()), names, on, off }
    }
}

impl Rules for Real {
    fn turn(&self, on: bool) {
        self.memory.replace(if on { self.on.clone() } else { self.off.clone() });
    }

    fn is_on(&self, number: usize) -> bool {
        flag(&self.names[number])
    }
}

/// The control: what a request gets when flags are shared and switched one by one.
struct LockedOneByOne(Vec<RwLock<bool>>);

impl Rules for LockedOneByOne {
    fn turn(&self, on: bool) {
        for flag in &self.0 {
            *flag.write().unwrap() = on;
        }
    }

    fn is_on(&self, number: usize) -> bool {
        *self.0[number].read().unwrap()
    }
}

fn name(number: usize) -> String {
    format!("flag_{number:03}")
}

/// Two hundred flags that are on for alice, or off, each for a reason of its kind.
fn rules(on: bool) -> Document {
    let mut text = String::from("{");
    for number in 0..FLAGS {
        let definition = match number % 20 {
            0 => format!(r#"{{"percentage": {}}}"#, if on { 100 } else { 0 }),
            1 => format!(r#"{{"allowed_users": ["{}"]}}"#, if on { "alice" } else { "bob" }),
            2 => format!(r#"{{"allowed_groups": ["{}"]}}"#, if on { "staff" } else { "guests" }),
            3 => format!(r#"{{"enabled": true, "requires": ["{}"]}}"#, name(0)),
            // One of each that costs a hash or a search for each request.
            4 if number == 4 => format!(r#"{{"enabled": {on}, "variants": {{"a": 100}}}}"#),
            5 if number == 5 => format!(r#"{{"percentage": {}}}"#, if on { "99.999" } else { "0.001" }),
            5 if number == 25 => format!(
                r#"{{"rules": [{{"when": [{{"attribute": "user_id", "op": "equals", "values": ["alice"]}}], "serve": {on}}}]}}"#
            ),
            _ => on.to_string(),
        };
        let comma = if number == 0 { "" } else { "," };
        write!(text, r#"{comma}"{}": {definition}"#, name(number)).unwrap();
    }
    document(&(text + "}"))
}

/// What a storm has seen.
#[derive(Debug, Default)]
struct Seen {
    requests: usize,
    torn: usize,
    /// Requests whose rules were older than those of the request before, on the same task.
    backwards: usize,
    on: usize,
    versions: usize,
}

/// Requests from several tasks through the layer, while a thread switches the rules all the time.
fn storm(rules: &Arc<impl Rules>, layer: &FlagLayer, requests: usize) -> Seen {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (rules, is_over) = (Arc::clone(rules), Arc::clone(&is_over));
        move || {
            for turn in 1_u64.. {
                rules.turn(turn % 2 == 1);
                if is_over.load(Ordering::Relaxed) {
                    return turn;
                }
            }
            unreachable!("a count of 64 bits does not end")
        }
    });
    let seen = runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| tokio::spawn(ask(Arc::clone(rules), layer.clone(), task, requests / TASKS)))
            .collect();
        let mut total = Seen::default();
        for task in tasks {
            let seen = task.await.unwrap();
            total.requests += seen.requests;
            total.torn += seen.torn;
            total.backwards += seen.backwards;
            total.on += seen.on;
            total.versions += seen.versions;
        }
        total
    });
    is_over.store(true, Ordering::Relaxed);
    let turns = writer.join().unwrap();
    assert!(turns > 1_000, "{turns} updates are no storm");
    seen
}

async fn ask(rules: Arc<impl Rules>, layer: FlagLayer, task: usize, requests: usize) -> Seen {
    let handler = service_fn(move |request: Request<usize>| {
        let rules = Arc::clone(&rules);
        async move {
            let number = *request.body();
            let is_full = number.is_multiple_of(FULL_EVERY);
            // A few flags, others each time, from the first one to the last one.
            let few = [0, number % FLAGS, FLAGS - 1 - number % FLAGS, FLAGS - 1];
            let version = Flags::current().unwrap().version();
            let expected = rules.is_on(few[1]);
            let agree = |is_full: bool| match is_full {
                true => (0..FLAGS).all(|number| rules.is_on(number) == expected),
                false => few.iter().all(|&number| rules.is_on(number) == expected),
            };
            let mut is_whole = agree(is_full);
            yield_now().await;
            is_whole &= agree(is_full) && Flags::current().unwrap().version() == version;
            Ok::<_, Infallible>(Response::new(Told { is_whole, is_on: expected, version }))
        }
    });
    let mut service = layer.layer(handler.map_response(|response| {
        let (mut parts, told) = response.into_parts();
        parts.extensions.insert(told);
        Response::from_parts(parts, ())
    }));
    let alice = Context::user("alice").in_groups(["staff"]);
    let (mut seen, mut last) = (Seen::default(), 0);
    for number in 0..requests {
        let mut request = Request::new(number * TASKS + task);
        request.extensions_mut().insert(alice.clone());
        let response = service.ready().await.unwrap().call(request).await.unwrap();
        let told = *response.extensions().get::<Told>().unwrap();
        seen.requests += 1;
        seen.torn += usize::from(!told.is_whole);
        seen.on += usize::from(told.is_on);
        seen.backwards += usize::from(told.version < last);
        seen.versions += usize::from(told.version != last);
        last = told.version;
    }
    seen
}

/// What a handler has to say of its request.
#[derive(Clone, Copy)]
struct Told {
    is_whole: bool,
    is_on: bool,
    version: u64,
}

#[test]
fn a_million_requests_in_a_reload_storm_see_one_version_each_and_never_an_older_one() {
    let rules = Arc::new(Real::new());
    // Without the header, which would take most of the time.
    let layer = FlagLayer::new(rules.memory.clone()).header_policy(HeaderPolicy::Never);
    let dose = dose::dose(1_000_000, 10_000_000);
    let seen = storm(&rules, &layer, dose);
    assert_eq!((seen.requests, seen.torn, seen.backwards), (dose, 0, 0), "{seen:?}");
    assert!(seen.versions > 1_000, "{seen:?}");
    assert!(seen.on > 1_000 && seen.on < dose - 1_000, "both versions are seen: {seen:?}");
    println!("{seen:?}");
}

#[test]
fn the_same_storm_over_flags_locked_one_by_one_finds_torn_requests() {
    let rules = Arc::new(LockedOneByOne((0..FLAGS).map(|_| RwLock::new(false)).collect()));
    let seen = storm(&rules, &FlagLayer::new(Memory::new()), 20_000);
    assert!(seen.torn > 0, "{seen:?}");
}
