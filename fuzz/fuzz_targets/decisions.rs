//! The header `X-Flag-Decisions`, on one line or on two.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tower_flags::engine::Reason;
use tower_flags_fuzz::checks;
use tower_flags_fuzz::model::{self, Overridden};
use tower_flags_fuzz::service::{ask, request};
use tower_flags_fuzz::signed::{DECISIONS, Text};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    is_alice: bool,
    lines: Lines,
    text: Text<'a>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Lines {
    One,
    /// The same again.
    Two,
    /// Nothing but a line's end before it.
    EmptyFirst,
    EmptyLast,
}

fuzz_target!(|input: Input<'_>| {
    let text = input.text.bytes(DECISIONS);
    let lines = match input.lines {
        Lines::One => vec![text],
        Lines::Two => vec![text.clone(), text],
        Lines::EmptyFirst => vec![Vec::new(), text],
        Lines::EmptyLast => vec![text, Vec::new()],
    };
    let asked = lines.iter().fold(request(input.is_alice), |asked, line| asked.header("x-flag-decisions", &**line));
    // What no header can hold never arrives.
    let Ok(asked) = asked.body(()) else { return };
    let reply = ask(asked);
    let plain = ask(request(input.is_alice).body(()).expect("this is a request"));

    let claims = model::decisions(&lines);
    checks::answers(&reply, &plain, Reason::Upstream, |flag| {
        claims.as_ref()?.flags.get(flag.name).filter(|_| flag.is_accepted)
    });
    checks::headers(&reply, &Overridden::default(), None);
    assert_eq!(reply.refused, (0, u64::from(claims.is_none())));
});
