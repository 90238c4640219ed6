//! The golden vectors: 200 pairs whose buckets were computed by four published Python schemes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use tower_flags::document::Scheme;
use tower_flags::engine::{Bucket, Query};
use tower_flags::{Context, Document, FlagSet, Percentage, Timestamp};

fn rows(list: &str) -> Vec<Value> {
    let mut file: Value = serde_json::from_str(include_str!("data/bucketing.json")).unwrap();
    serde_json::from_value(file[list].take()).unwrap()
}

fn vectors() -> Vec<Value> {
    rows("vectors")
}

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

#[test]
fn every_scheme_gives_the_bucket_of_its_python_service() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 200);
    for vector in &vectors {
        let (flag, user) = (vector["flag"].as_str().unwrap(), vector["user"].as_str().unwrap());
        let title = format!("{}: {flag:?} and {user:?}", vector["id"]);
        let fine = |scheme: Scheme| scheme.bucket(flag, user).thousandths();
        assert_eq!(fine(Scheme::FlagUser), number(&vector["A_milli"]), "{title}");
        assert_eq!(fine(Scheme::FlagUser) / 1000, number(&vector["A"]), "{title}");
        assert_eq!(fine(Scheme::UserFlag), number(&vector["B_milli"]), "{title}");
        assert_eq!(fine(Scheme::UserFlag) / 1000, number(&vector["B"]), "{title}");
        for (scheme, on_from) in [(Scheme::FlagUser32, "C_on_from"), (Scheme::User32, "D_on_from")] {
            let on_from = number(&vector[on_from]);
            let bucket = scheme.bucket(flag, user);
            if let Some(percentage) = Percentage::from_thousandths(on_from) {
                assert!(bucket.is_within(percentage), "{title}");
            }
            // A user whose bucket is exactly 100 is in by "100 % is everyone" alone.
            let below = Percentage::from_thousandths((on_from - 1).min(99_999)).unwrap();
            assert!(!bucket.is_within(below), "{title}");
            assert!(bucket.is_within(Percentage::HUNDRED) && !bucket.is_within(Percentage::ZERO), "{title}");
        }
    }
}

/// The first 32 bits of a digest against the percentage that a Python service makes of them.
#[test]
fn the_first_32_bits_are_a_share_of_all_of_them() {
    let rows = rows("digest_prefix_to_c_or_d");
    assert_eq!(rows.len(), 10);
    for row in &rows {
        let bucket = Bucket::Top(u32::from_str_radix(row["hex8"].as_str().unwrap(), 16).unwrap());
        let thousandths = (row["bucket"].as_f64().unwrap() * 1000.0).floor() as u32;
        assert_eq!(bucket.thousandths(), thousandths, "{row}");

        // The least percentage that takes the user in is the next thousandth, and 100 for all others.
        let is_within = |thousandths| bucket.is_within(Percentage::from_thousandths(thousandths).unwrap());
        assert!(is_within((thousandths + 1).min(100_000)), "{row}");
        assert!(!is_within(thousandths.min(99_999)), "{row}");
        assert!(!is_within(0) && is_within(100_000), "{row}");
    }
}

/// The vectors whose names and users a document and a context admit, through the whole engine.
#[test]
fn documents_decide_the_vectors_at_their_edge() {
    let mut admitted = 0;
    let now = Timestamp::MIN;
    for vector in &vectors() {
        let (flag, user) = (vector["flag"].as_str().unwrap(), vector["user"].as_str().unwrap());
        for (scheme, on_from) in [
            ("flag:user", number(&vector["A_milli"]) + 1),
            ("user-flag", number(&vector["B_milli"]) + 1),
            ("flag:user/32", number(&vector["C_on_from"])),
            ("user/32", number(&vector["D_on_from"])),
        ] {
            let is_on_at = |thousandths: u32| {
                let percentage = Percentage::from_thousandths(thousandths.min(100_000)).unwrap();
                let text = serde_json::json!({ "flags": { flag: {
                    "enabled": true, "percentage": percentage, "bucketing": scheme,
                } } });
                let document = Document::from_json(&text.to_string()).unwrap();
                document.flag(flag)?;
                Some(FlagSet::compile(&document, now).answer(&Query::new(&Context::user(user), now)).is_enabled(flag))
            };
            let (Some(at), Some(below)) = (is_on_at(on_from), is_on_at(on_from - 1)) else { continue };
            admitted += 1;
            if user.is_empty() {
                assert!(!below, "an empty user is anonymous: {flag}");
            } else {
                assert!(at, "{scheme} {flag:?} {user:?} at {on_from}");
                assert!(!below || on_from > 100_000, "{scheme} {flag:?} {user:?} below {on_from}");
            }
        }
    }
    assert!(admitted > 600, "only {admitted} vectors were admitted");
}

#[test]
fn the_variant_bucket_is_the_golden_one() {
    let now = Timestamp::MIN;
    let mut admitted = 0;
    for vector in &vectors() {
        let (flag, user) = (vector["flag"].as_str().unwrap(), vector["user"].as_str().unwrap());
        let bucket = number(&vector["V_milli"]);
        let (Some(first), Some(rest)) =
            (Percentage::from_thousandths(bucket), Percentage::from_thousandths(100_000 - bucket))
        else {
            panic!("a bucket is below 100 000")
        };
        // The user's bucket is the first of the second variant's range.
        let text = serde_json::json!({ "flags": { flag: {
            "enabled": true, "variants": { "a": first, "b": rest },
        } } });
        let document = Document::from_json(&text.to_string()).unwrap();
        if document.flag(flag).is_none() || user.is_empty() {
            continue;
        }
        admitted += 1;
        let flags = FlagSet::compile(&document, now).answer(&Query::new(&Context::user(user), now));
        assert_eq!(flags.variant(flag), Some("b"), "{flag:?} {user:?}");
    }
    assert!(admitted > 150, "only {admitted} vectors were admitted");
}
