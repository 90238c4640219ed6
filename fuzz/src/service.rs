//! The service under test: a few flags of all kinds, and a handler that reports every answer.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::LazyLock;

use futures_util::FutureExt;
use http::request::Builder;
use http::{HeaderMap, Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_flags::engine::Evaluation;
use tower_flags::request::{AcceptDecisions, Overrides, SigningKey, Visitors};
use tower_flags::{Document, FlagLayer, Flags, Memory, Timestamp, flag};

/// A key: its id and its secret.
pub type Key = (&'static str, &'static str);
/// The keys that the layer accepts: for tokens both, for decisions each of the service in [`SERVICES`].
pub const KEYS: [Key; 2] = [
    ("shop-1", "what the fuzzer signs with, 32 bytes or more"),
    ("cart-1", "what else the fuzzer signs with, as long"),
];
/// What is no key of it.
pub const OTHER_SECRET: &str = "what somebody else has signed with, as long";
/// 2026-12-01T12:00:00.5Z, in milliseconds. Half a second, so that the second of expiry is one of two.
pub const NOW_MILLIS: i64 = 1_796_126_400_500;
/// The services whose decisions are taken.
pub const SERVICES: [&str; 2] = ["shop", "cart"];
/// The service that is asked.
pub const OWN_NAME: &str = "payments";
/// The visitor of all requests that are not about visitors.
pub const VISITOR: &str = "5f0c0a3e9d1b4c7f8a6e2d3b1c0f9e8d";

const RULES: &str = r#"{"flags": {
    "banner": {"percentage": 0, "overridable": true},
    "checkout": {"percentage": 50, "overridable": true},
    "ended": {"enabled": false, "overridable": true, "variants": {"control": 50, "higher": 50}},
    "locked": {"percentage": 0},
    "open": true,
    "portal": {"enabled": true, "requires": ["secret"]},
    "pricing": {"enabled": true, "overridable": true, "variants": {"control": 50, "higher": 50}},
    "secret": {"percentage": 0, "overridable": true, "hidden": true}
}}"#;

/// What the checks know of a flag, said a second time: a check that read the rules through the crate would
/// believe whatever the crate reads.
#[derive(Debug)]
pub struct Known {
    /// The flag's name.
    pub name: &'static str,
    /// Testers may force it.
    pub is_overridable: bool,
    /// Decisions of other services about it are taken.
    pub is_accepted: bool,
    /// It is switched off.
    pub is_killed: bool,
    /// Clients are never told of it.
    pub is_hidden: bool,
    /// Its variants.
    pub variants: &'static [&'static str],
    /// The flag that has to be on for it.
    pub requires: Option<&'static str>,
}

const NONE: Known = Known {
    name: "",
    is_overridable: false,
    is_accepted: false,
    is_killed: false,
    is_hidden: false,
    variants: &[],
    requires: None,
};

/// Every flag, in ascending order of names.
pub const FLAGS: [Known; 8] = [
    Known { name: "banner", is_overridable: true, ..NONE },
    Known { name: "checkout", is_overridable: true, ..NONE },
    Known {
        name: "ended",
        is_overridable: true,
        is_accepted: true,
        is_killed: true,
        variants: &["control", "higher"],
        ..NONE
    },
    Known { name: "locked", is_accepted: true, ..NONE },
    Known { name: "open", ..NONE },
    Known { name: "portal", requires: Some("secret"), ..NONE },
    Known { name: "pricing", is_overridable: true, is_accepted: true, variants: &["control", "higher"], ..NONE },
    Known { name: "secret", is_overridable: true, is_accepted: true, is_hidden: true, ..NONE },
];

/// Made once: the targets ask it a few thousand times a second.
static LAYER: LazyLock<FlagLayer> = LazyLock::new(|| {
    let rules = Document::from_json(RULES).expect("these are rules");
    assert!(rules.problems().is_empty(), "{:?}", rules.problems());
    let [shop, cart] = KEYS.map(|(id, secret)| {
        SigningKey::new(secret).expect("the key is long enough").with_id(id).expect("the id is one")
    });
    // A name that no flag has is accepted too: it must do nothing.
    let accepted = FLAGS.iter().filter(|flag| flag.is_accepted).map(|flag| flag.name).chain(["no_such_flag"]);
    FlagLayer::new(Memory::from(rules))
        .trust_headers()
        .overrides(Overrides::new(shop.clone()).also_accept(cart.clone()))
        .accept_decisions(AcceptDecisions::new(OWN_NAME, accepted).from(SERVICES[0], shop).from(SERVICES[1], cart))
        .visitors(Visitors::new())
        .clock(|| Timestamp::from_unix_millis(NOW_MILLIS))
});

/// What the handler saw, and what went out.
#[derive(Debug)]
pub struct Reply {
    /// The answers about [`FLAGS`], in their order.
    pub answers: Vec<Evaluation>,
    /// The caller's user id.
    pub user: Option<String>,
    /// The caller's visitor id.
    pub visitor: Option<String>,
    /// The response's headers.
    pub headers: HeaderMap,
    /// How many overrides were refused, and how many decisions.
    pub refused: (u64, u64),
}

/// A request from alice, or from a visitor who is known.
pub fn request(is_alice: bool) -> Builder {
    match is_alice {
        true => Request::get("/").header("x-user-id", "alice"),
        false => Request::get("/").header("cookie", format!("visitor={VISITOR}")),
    }
}

/// Sends a request through the layer. Rules in memory are always ready, so no runtime is needed.
pub fn ask(request: Request<()>) -> Reply {
    let before = LAYER.counts();
    let service = LAYER.layer(service_fn(handler));
    let response = service.oneshot(request).now_or_never().expect("rules in memory are ready");
    let (mut parts, body) = response.unwrap_or_else(|never| match never {}).into_parts();
    drop(body);
    let seen: Seen = parts.extensions.remove().expect("the handler put it there");
    let after = LAYER.counts();
    Reply {
        answers: seen.answers,
        user: seen.user,
        visitor: seen.visitor,
        headers: parts.headers,
        refused: (
            after.refused_overrides - before.refused_overrides,
            after.refused_decisions - before.refused_decisions,
        ),
    }
}

#[derive(Clone)]
struct Seen {
    answers: Vec<Evaluation>,
    user: Option<String>,
    visitor: Option<String>,
}

fn handler(request: Request<()>) -> Ready<Result<Response<()>, Infallible>> {
    let flags: &Flags = request.extensions().get().expect("the layer put it there");
    let answers = FLAGS.iter().map(|known| {
        let answer = flags.evaluation(known.name);
        assert_eq!(answer.enabled, flags.is_enabled(known.name), "{}: one flag and all of them differ", known.name);
        assert_eq!(answer.enabled, flag(known.name), "{}: the scope has another answer", known.name);
        assert_eq!(answer.variant.as_deref(), flags.variant(known.name), "{}: another variant", known.name);
        answer
    });
    let seen = Seen {
        answers: answers.collect(),
        user: flags.context().user_id().map(str::to_owned),
        visitor: flags.context().visitor().map(str::to_owned),
    };
    let mut response = Response::new(());
    response.extensions_mut().insert(seen);
    ready(Ok(response))
}
