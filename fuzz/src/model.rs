//! What the layer promises about signed texts and cookies, implemented a second time.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::service::{NOW_MILLIS, OWN_NAME, SERVICES};
use crate::signed::{self, DECISIONS, OVERRIDE};

/// Longest decisions that are taken, in bytes.
const MAX_DECISIONS: usize = 2048;
/// Longest token that is taken, in bytes.
const MAX_TOKEN: usize = 1024;
/// Longest life of decisions in milliseconds, with what clocks may differ by.
const DECISIONS_LIFE: i128 = (60 + 5) * 1000;
/// Longest life of a token in milliseconds, with what clocks may differ by.
const TOKEN_LIFE: i128 = (30 * 24 * 60 * 60 + 5) * 1000;
/// Most cookies of one name that are looked at for a token.
const MOST_COOKIES: usize = 4;

/// What a signed text says.
#[derive(Debug)]
pub struct Claims {
    exp: i64,
    user: Option<String>,
    audience: Option<String>,
    from: Option<String>,
    /// What is to be forced.
    pub flags: BTreeMap<String, Wanted>,
}

/// What a flag is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Off.
    Off,
    /// On; where it has variants, the weights choose.
    On,
    /// On with this variant, if it has one of that name.
    Variant(String),
}

/// What has to come of the overrides that a request brings along.
#[derive(Debug, Default)]
pub struct Overridden {
    /// The token that counts.
    pub claims: Option<Claims>,
    /// The cookie that is set or cleared.
    pub set_cookie: Option<String>,
    /// How many tokens are refused.
    pub refused: u64,
}

/// The first good token counts: of the parameter, else of the header on one line, else of the first cookies. An
/// empty parameter is the end of it.
pub fn overrides<'a>(
    parameter: Option<&'a [u8]>,
    header: &[&'a [u8]],
    cookies: impl Iterator<Item = &'a [u8]>,
    user: Option<&str>,
) -> Overridden {
    let mut outcome = Overridden::default();
    if parameter == Some(b"") {
        outcome.set_cookie = Some("flag_override=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax".to_owned());
        return outcome;
    }
    let header = match header {
        [] => None,
        [line] => Some(*line),
        _ => Some(&b""[..]),
    };
    let others = header.into_iter().chain(cookies.take(MOST_COOKIES)).map(|text| (text, false));
    for (text, is_link) in parameter.map(|text| (text, true)).into_iter().chain(others) {
        let claims = Claims::read(OVERRIDE, text, MAX_TOKEN, TOKEN_LIFE)
            .map(|(_, claims)| claims)
            .filter(|claims| claims.user.is_none() || claims.user.as_deref() == user);
        let Some(claims) = claims else {
            outcome.refused += 1;
            continue;
        };
        if is_link {
            let seconds = claims.exp - NOW_MILLIS / 1000;
            let text = String::from_utf8_lossy(text);
            let line = format!("flag_override={text}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax; Secure");
            outcome.set_cookie = Some(line);
        }
        outcome.claims = Some(claims);
        break;
    }
    outcome
}

/// What is taken of the lines of decisions that a request brings along.
pub fn decisions(lines: &[Vec<u8>]) -> Option<Claims> {
    let [line] = lines else { return None };
    let (key, claims) = Claims::read(DECISIONS, line, MAX_DECISIONS, DECISIONS_LIFE)?;
    let is_ours = claims.from.as_deref() == Some(SERVICES[key]) && claims.audience.as_deref() == Some(OWN_NAME);
    is_ours.then_some(claims)
}

/// The value of the parameter in a path with a query, the first if there are several.
pub fn parameter<'a>(target: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let target = target.split(|&byte| byte == b'#').next()?;
    let start = target.iter().position(|&byte| byte == b'?')? + 1;
    target[start..].split(|&byte| byte == b'&').find_map(|pair| value_of(pair, name))
}

/// The values of the cookies of a name, in the order of the lines.
pub fn cookies<'a>(lines: &'a [Vec<u8>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let pairs = lines.iter().flat_map(|line| line.split(|&byte| byte == b';'));
    pairs.map(<[u8]>::trim_ascii).filter_map(move |pair| value_of(pair, name))
}

fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let equals = pair.iter().position(|&byte| byte == b'=')?;
    (&pair[..equals] == name.as_bytes()).then_some(&pair[equals + 1..])
}

/// Whether it is the id of a visitor.
pub fn is_visitor(id: &[u8]) -> bool {
    id.len() == 32 && id.iter().all(|byte| b"0123456789abcdef".contains(byte))
}

impl Claims {
    /// What a text says that is signed for the purpose and good at the time, and the number of the key.
    fn read(purpose: &str, text: &[u8], most: usize, life: i128) -> Option<(usize, Self)> {
        if text.len() > most {
            return None;
        }
        let (key, payload) = signed::open(purpose, text)?;
        let claims = Self::parse(&payload)?;
        let left = i128::from(claims.exp) * 1000 - i128::from(NOW_MILLIS);
        (1..=life).contains(&left).then_some((key, claims))
    }

    /// An object of `exp` and `flags`, perhaps with `user`, `for`, `from` and `revision`; each once, and nothing else.
    fn parse(payload: &[u8]) -> Option<Self> {
        let (mut exp, mut user, mut audience, mut from, mut revision, mut flags) = (None, None, None, None, None, None);
        for (name, value) in serde_json::from_slice::<Members>(payload).ok()?.0 {
            let value = value.get();
            let was_there = match name.as_str() {
                "exp" => exp.replace(serde_json::from_str(value).ok()?).is_some(),
                "user" => user.replace(serde_json::from_str(value).ok()?).is_some(),
                "for" => audience.replace(serde_json::from_str(value).ok()?).is_some(),
                "from" => from.replace(serde_json::from_str(value).ok()?).is_some(),
                "revision" => revision.replace(serde_json::from_str::<Option<String>>(value).ok()?).is_some(),
                "flags" => flags.replace(wanted(value)?).is_some(),
                _ => return None,
            };
            if was_there {
                return None;
            }
        }
        let audience = audience.flatten();
        Some(Self { exp: exp?, user: user.flatten(), audience, from: from.flatten(), flags: flags? })
    }
}

/// Of a flag that is named twice, the last counts; each has to be readable.
fn wanted(object: &str) -> Option<BTreeMap<String, Wanted>> {
    let members = serde_json::from_str::<Members>(object).ok()?.0.into_iter();
    members
        .map(|(name, value)| {
            let wanted = match value.get() {
                "false" => Wanted::Off,
                "true" => Wanted::On,
                text => Wanted::Variant(serde_json::from_str(text).ok()?),
            };
            Some((name, wanted))
        })
        .collect()
}

/// The members of an object in the order of the text, also several of one name.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}
