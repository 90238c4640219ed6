//! Forged override tokens and decisions, tens of thousands of them: none is accepted, and each is counted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "axum", feature = "overrides"))]

mod support;

use std::future::ready;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderValue, Request, Response};
use sha2::Sha256;
use tower::{Layer, Service, service_fn};
use tower_flags::request::{AcceptDecisions, Overrides, SigningKey};
use tower_flags::{FlagLayer, Timestamp, flag};

use support::{Random, memory};

/// Inputs of each of the two kinds of texts.
const TRIES: usize = 40_000;
/// 2026-12-01T12:00:00Z.
const NOW: i64 = 1_796_126_400;

const RULES: &str = r#"{"new_checkout": {"percentage": 0, "overridable": true}}"#;

const SHOP: (&str, &str) = ("the key of the shop, 32 bytes or more", "shop-1");
const SHOP_BEFORE: (&str, &str) = ("the previous key of the shop, which still counts", "shop-0");
const BLOG: (&str, &str) = ("the key of the blog, of 32 bytes or more", "blog-1");
const STRANGER: &str = "the key of a stranger, 32 bytes or more";

/// A kind of text: its header, what it is signed as, and what another kind is signed as.
struct Kind {
    header: &'static str,
    purpose: &'static str,
    others: [&'static str; 4],
    longest_life: i64,
    is_decisions: bool,
}

const DECISIONS: Kind = Kind {
    header: "x-flag-decisions",
    purpose: "tower-flags decisions 2",
    others: ["tower-flags override 2", "tower-flags decisions 1", "tower-flags key id 1", ""],
    longest_life: 60,
    is_decisions: true,
};
const OVERRIDES: Kind = Kind {
    header: "x-flag-override",
    purpose: "tower-flags override 2",
    others: ["tower-flags decisions 2", "tower-flags override 1", "tower-flags key id 1", ""],
    longest_life: 30 * 24 * 60 * 60,
    is_decisions: false,
};

fn key((secret, id): (&str, &str)) -> SigningKey {
    SigningKey::new(secret).unwrap().with_id(id).unwrap()
}

fn digest(secret: &[u8], purpose: &str, id: &str, payload: &[u8]) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(secret).unwrap().chain_update(purpose).chain_update([0]);
    mac.chain_update(id).chain_update([0]).chain_update(payload).finalize().into_bytes().to_vec()
}

fn text(id: &str, payload: &[u8], mac: &[u8]) -> String {
    format!("{id}.{}.{}", URL_SAFE_NO_PAD.encode(payload), URL_SAFE_NO_PAD.encode(mac))
}

fn seal((secret, id): (&str, &str), purpose: &str, payload: &[u8]) -> String {
    text(id, payload, &digest(secret.as_bytes(), purpose, id, payload))
}

impl Kind {
    fn claims(&self, seconds: i64, from: &str, audience: &str) -> String {
        let exp = NOW.saturating_add(seconds);
        match self.is_decisions {
            true => format!(r#"{{"exp":{exp},"for":"{audience}","from":"{from}","flags":{{"new_checkout":true}}}}"#),
            false => format!(r#"{{"exp":{exp},"flags":{{"new_checkout":true}}}}"#),
        }
    }

    /// A text that counts.
    fn good(&self, random: &mut Random) -> String {
        let (key, from) = [(SHOP, "shop"), (SHOP_BEFORE, "shop"), (BLOG, "blog")][random.below(3)];
        let seconds = 1 + random.below(50) as i64;
        seal(key, self.purpose, self.claims(seconds, from, "payments").as_bytes())
    }

    /// A text that must not count, and how it was made.
    fn forged(&self, random: &mut Random) -> (&'static str, Vec<u8>) {
        let good = self.good(random);
        let claims = self.claims(30, "shop", "payments");
        let parts = |text: &str| -> Vec<String> { text.split('.').map(str::to_owned).collect() };
        let (how, forged) = match random.below(13) {
            0 => ("some bytes are others", {
                let mut bytes = good.clone().into_bytes();
                for _ in 0..=random.below(4) {
                    let at = random.below(bytes.len());
                    bytes[at] = visible(random);
                }
                bytes
            }),
            1 => ("a part is missing", good.as_bytes()[..random.below(good.len())].to_vec()),
            2 => ("something is added", {
                let mut bytes = good.clone().into_bytes();
                for _ in 0..=random.below(3) {
                    bytes.insert(random.below(bytes.len() + 1), visible(random));
                }
                bytes
            }),
            3 => ("parts of two texts", {
                let (one, two) = (parts(&good), parts(&self.good(random)));
                let mixed: Vec<&str> =
                    one.iter().zip(&two).map(|(one, two)| &**if random.one_in(2) { one } else { two }).collect();
                let mixed = mixed.join(".");
                if mixed == two.join(".") { mixed[1..].into() } else { mixed.into_bytes() }
            }),
            4 => ("a stranger's key, under an id that counts", {
                let id = random.of(&[SHOP.1, SHOP_BEFORE.1, BLOG.1]);
                let secrets = [STRANGER, "", id, self.purpose, "\0", "new_checkout"];
                text(
                    id,
                    claims.as_bytes(),
                    &digest(random.of(&secrets).as_bytes(), self.purpose, id, claims.as_bytes()),
                )
                .into_bytes()
            }),
            5 => ("an id that does not count", {
                let id = random.of(&["shop-2", "SHOP-1", "shop", "none", "0", "-", "shop-1-", "__proto__"]);
                seal((SHOP.0, id), self.purpose, claims.as_bytes()).into_bytes()
            }),
            6 => ("signed for something else", { seal(SHOP, random.of(&self.others), claims.as_bytes()).into_bytes() }),
            7 => ("a text of an earlier version", {
                let mac = Hmac::<Sha256>::new_from_slice(SHOP.0.as_bytes()).unwrap();
                let mac = mac.chain_update(random.of(&[self.purpose, self.others[1]])).chain_update([0]);
                let mac = mac.chain_update(&claims).finalize().into_bytes();
                let old = format!("{}.{}", URL_SAFE_NO_PAD.encode(&claims), URL_SAFE_NO_PAD.encode(mac));
                if random.one_in(2) { old.into_bytes() } else { format!("{}.{old}", SHOP.1).into_bytes() }
            }),
            8 => ("a signature of another form", {
                let mac = digest(SHOP.0.as_bytes(), self.purpose, SHOP.1, claims.as_bytes());
                let cut = &mac[..random.below(32)];
                let long = [&mac[..], &[random.below(256) as u8]].concat();
                let mac = [cut, &long, &[0; 32], &[0xff; 32], &[]][random.below(5)];
                text(SHOP.1, claims.as_bytes(), mac).into_bytes()
            }),
            9 => ("base64 of another form", {
                let parts = parts(&good);
                let padded = |part: &str| {
                    let other = STANDARD.encode(URL_SAFE_NO_PAD.decode(part).unwrap());
                    if other == *part { format!("{part}=") } else { other }
                };
                format!("{}.{}.{}", parts[0], padded(&parts[1]), padded(&parts[2])).into_bytes()
            }),
            10 => ("signed well, for too long or no more", {
                let late = self.longest_life + 6;
                let seconds = [0, -1, -60, late, late + 1, 1 << 40, 1 << 62, i64::MAX, i64::MIN][random.below(9)];
                seal(SHOP, self.purpose, self.claims(seconds, "shop", "payments").as_bytes()).into_bytes()
            }),
            11 => ("signed well, and not readable", {
                let forms = [
                    claims.replace("{\"exp\"", "{\"exp\":1,\"exp\""),
                    claims.replace("\"flags\"", "\"flag\""),
                    claims.replace(":true", ":1"),
                    format!("[{claims}]"),
                    claims.replace("exp\":", "exp\":\"") + "\"",
                    claims[..random.below(claims.len())].to_owned(),
                    format!("{claims}{claims}"),
                ];
                seal(SHOP, self.purpose, forms[random.below(forms.len())].as_bytes()).into_bytes()
            }),
            _ => ("not its own word", {
                let audience = ["shop", "Payments", "payments ", "stock", "*", ""];
                let payload = match self.is_decisions {
                    false => claims.replacen('{', r#"{"user":"bob","#, 1),
                    true if random.one_in(2) => self.claims(30, "shop", random.of(&audience)),
                    true if random.one_in(2) => claims.replace("\"from\"", "\"revision\""),
                    true if random.one_in(2) => claims.replace("\"for\"", "\"user\""),
                    true => self.claims(30, random.of(&["blog", "Shop", "", "payments", "cart"]), "payments"),
                };
                seal(SHOP, self.purpose, payload.as_bytes()).into_bytes()
            }),
        };
        // A change may have changed nothing.
        if forged == good.as_bytes() { ("cut", forged[1..].to_vec()) } else { (how, forged) }
    }
}

/// A byte of a text more often than not, and else any that a header may hold.
fn visible(random: &mut Random) -> u8 {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/";
    match random.one_in(4) {
        true => [b' ', b'\t', b'~', 0x80, 0xff, b'"', b'{'][random.below(7)],
        false => ALPHABET[random.below(ALPHABET.len())],
    }
}

/// Asks a service that accepts texts of both kinds, in this process.
async fn is_on(layer: &FlagLayer, kind: &Kind, line: HeaderValue) -> bool {
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        ready(Response::builder().header("x-on", flag("new_checkout").to_string()).body(()))
    }));
    let request = Request::get("/").header("x-user-id", "alice").header(kind.header, line).body(()).unwrap();
    service.call(request).await.unwrap().headers()["x-on"] == "true"
}

fn layer() -> FlagLayer {
    let accepted = AcceptDecisions::new("payments", ["new_checkout"]);
    let accepted = accepted.from("shop", key(SHOP)).from("shop", key(SHOP_BEFORE)).from("blog", key(BLOG));
    let overrides = Overrides::new(key(SHOP)).also_accept(key(SHOP_BEFORE)).also_accept(key(BLOG));
    FlagLayer::new(memory(RULES))
        .trust_headers()
        .overrides(overrides)
        .accept_decisions(accepted)
        .clock(|| Timestamp::from_unix_millis(NOW * 1000))
}

async fn none_counts(kind: &Kind, seed: u64) {
    let layer = layer();
    let counted = || {
        let counts = layer.counts();
        if kind.is_decisions { counts.refused_decisions } else { counts.refused_overrides }
    };
    let mut random = Random(seed);
    let mut ways = std::collections::BTreeMap::new();
    let mut tried = 0;
    while tried < TRIES {
        let (how, forged) = kind.forged(&mut random);
        // A header cannot hold everything; spaces at its ends are no part of it.
        let Ok(line) = HeaderValue::from_bytes(forged.trim_ascii()) else { continue };
        if line.is_empty() || forged.len() != line.len() {
            continue;
        }
        let before = counted();
        assert!(!is_on(&layer, kind, line).await, "{how}: {}", String::from_utf8_lossy(&forged));
        assert_eq!(counted() - before, 1, "{how}: {}", String::from_utf8_lossy(&forged));
        *ways.entry(how).or_insert(0) += 1;
        tried += 1;
        if tried % 100 == 0 {
            let good = kind.good(&mut random);
            assert!(is_on(&layer, kind, good.parse().unwrap()).await, "the control: {good}");
        }
    }
    assert_eq!(counted(), TRIES as u64);
    println!("{}: {ways:#?}", kind.header);
    assert!(ways.len() >= 13 && ways.values().filter(|count| **count > TRIES / 20).count() >= 13, "{ways:#?}");
}

#[tokio::test]
async fn of_forty_thousand_forged_decisions_none_counts() {
    none_counts(&DECISIONS, 0x9e37_79b9_7f4a_7c15).await;
}

#[tokio::test]
async fn of_forty_thousand_forged_override_tokens_none_counts() {
    none_counts(&OVERRIDES, 0x2545_f491_4f6c_dd1d).await;
}
