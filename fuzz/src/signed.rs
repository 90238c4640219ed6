//! The texts that are sent: signed well, badly, or not at all.

use std::num::NonZeroU8;

use arbitrary::Arbitrary;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use crate::service::{KEYS, Key, NOW_MILLIS, OTHER_SECRET};

/// What testers' overrides are signed as.
pub const OVERRIDE: &str = "tower-flags override 2";
/// What decisions between services are signed as.
pub const DECISIONS: &str = "tower-flags decisions 2";

/// `id.base64(payload).base64(mac)`, where the purpose and the id are signed with the payload.
pub fn seal((id, secret): Key, purpose: &str, payload: &[u8]) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    let signed = [purpose.as_bytes(), id.as_bytes(), payload].join(&0);
    let mac = mac.chain_update(signed).finalize().into_bytes();
    format!("{id}.{}.{}", URL_SAFE_NO_PAD.encode(payload), URL_SAFE_NO_PAD.encode(mac)).into_bytes()
}

/// The payload of a text that is, to the byte, what one of the keys would have made of it, and which key.
pub fn open(purpose: &str, text: &[u8]) -> Option<(usize, Vec<u8>)> {
    let payload = text.split(|&byte| byte == b'.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let which = KEYS.iter().position(|key| seal(*key, purpose, &payload) == text)?;
    Some((which, payload))
}

/// A payload and how it is signed.
#[derive(Arbitrary, Debug)]
pub struct Text<'a> {
    seal: Seal,
    payload: Payload<'a>,
}

/// How a payload is signed.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Seal {
    /// As it should be.
    Good {
        /// With the second key.
        is_second: bool,
    },
    /// Not at all: the payload is the text.
    None,
    /// By somebody else.
    OtherKey {
        /// Under the id of a key that counts; else a key that counts under another id.
        has_known_id: bool,
    },
    /// For something else.
    OtherPurpose,
    /// As it should be, and then one byte became another.
    Changed {
        /// Which byte, counted from the end: the last one has bits to spare, and those count too.
        at: u16,
        /// What it differs by.
        by: NonZeroU8,
    },
}

#[derive(Arbitrary, Debug)]
enum Payload<'a> {
    /// Anything, for the parser.
    Bytes(&'a [u8]),
    /// What parses, for what comes after it.
    Draft(Draft<'a>),
}

/// A payload that is written well, and perhaps says too much.
#[derive(Arbitrary, Debug)]
pub struct Draft<'a> {
    expiry: Expiry,
    user: Option<Word<'a>>,
    audience: Option<Word<'a>>,
    from: Option<Word<'a>>,
    flags: Vec<(Word<'a>, Wish<'a>)>,
    /// One more member, which may be in the way of another.
    more: Option<(Word<'a>, Wish<'a>)>,
}

#[derive(Arbitrary, Debug)]
enum Expiry {
    /// Seconds from now.
    In(i8),
    At(i64),
}

#[derive(Arbitrary, Debug)]
enum Wish<'a> {
    Switch(bool),
    Variant(Word<'a>),
}

/// A word that means something somewhere, or any.
#[derive(Arbitrary, Debug)]
enum Word<'a> {
    Known(u8),
    Any(&'a str),
}

const WORDS: [&str; 19] = [
    "alice", "banner", "cart", "checkout", "control", "ended", "exp", "flags", "for", "from", "higher", "locked",
    "open", "payments", "portal", "pricing", "secret", "shop", "user",
];

impl Text<'_> {
    /// The text, for this purpose.
    pub fn bytes(&self, purpose: &str) -> Vec<u8> {
        match &self.payload {
            Payload::Bytes(payload) => self.seal.apply(purpose, payload),
            Payload::Draft(draft) => self.seal.apply(purpose, &draft.json()),
        }
    }
}

impl Seal {
    /// The text of a payload.
    pub fn apply(self, purpose: &str, payload: &[u8]) -> Vec<u8> {
        let text = match self {
            Self::Good { is_second } => return seal(KEYS[usize::from(is_second)], purpose, payload),
            Self::None => return payload.to_vec(),
            Self::OtherKey { has_known_id: true } => seal((KEYS[0].0, OTHER_SECRET), purpose, payload),
            Self::OtherKey { has_known_id: false } => seal(("shop-2", KEYS[0].1), purpose, payload),
            Self::OtherPurpose if purpose == OVERRIDE => seal(KEYS[0], DECISIONS, payload),
            Self::OtherPurpose => seal(KEYS[0], OVERRIDE, payload),
            Self::Changed { at, by } => {
                let mut text = seal(KEYS[0], purpose, payload);
                let at = text.len() - 1 - usize::from(at) % text.len();
                text[at] ^= by.get();
                text
            }
        };
        assert_eq!(open(purpose, &text), None, "the model takes what nobody has signed: {self:?}");
        text
    }
}

impl Draft<'_> {
    /// The payload's text.
    pub fn json(&self) -> Vec<u8> {
        let exp = match self.expiry {
            Expiry::In(seconds) => NOW_MILLIS / 1000 + i64::from(seconds),
            Expiry::At(seconds) => seconds,
        };
        let flags: Map<String, Value> =
            self.flags.iter().map(|(name, wish)| (name.text().to_owned(), wish.json())).collect();
        let text = |word: &Option<Word<'_>>| word.as_ref().map(|word| word.text().to_owned());
        let mut claims = json!({
            "exp": exp,
            "user": text(&self.user),
            "for": text(&self.audience),
            "from": text(&self.from),
            "flags": flags,
        });
        if let Some((name, wish)) = &self.more {
            claims[name.text()] = wish.json();
        }
        claims.to_string().into_bytes()
    }
}

impl Wish<'_> {
    fn json(&self) -> Value {
        match self {
            Self::Switch(switch) => json!(switch),
            Self::Variant(name) => json!(name.text()),
        }
    }
}

impl Word<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Known(which) => WORDS[usize::from(*which) % WORDS.len()],
            Self::Any(text) => text,
        }
    }
}
