//! The lines of `Cookie`: the override `flag_override` and the visitor's id `visitor`.

#![no_main]

use arbitrary::Arbitrary;
use http::Request;
use libfuzzer_sys::fuzz_target;
use tower_flags::engine::Reason;
use tower_flags_fuzz::service::{VISITOR, ask, request};
use tower_flags_fuzz::signed::{Draft, OVERRIDE, Seal};
use tower_flags_fuzz::{checks, model};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    is_alice: bool,
    seal: Seal,
    /// The payload of the token; without it the first line of the text is.
    draft: Option<Draft<'a>>,
    /// The payload of the token, and then the lines of `Cookie`, separated by line feeds.
    text: &'a [u8],
}

/// Stands for the token, where a line has it: a byte that no header can hold, as the line feed is.
const TOKEN: u8 = 1;
/// Stands for an id of the right form.
const ID: u8 = 2;

fuzz_target!(|input: Input<'_>| {
    let mut lines = input.text.split(|&byte| byte == b'\n');
    let payload = lines.next().unwrap_or_default();
    let token = match &input.draft {
        Some(draft) => input.seal.apply(OVERRIDE, &draft.json()),
        None => input.seal.apply(OVERRIDE, payload),
    };
    let lines: Vec<Vec<u8>> = lines.map(|line| filled(line, &token)).collect();

    let builder = if input.is_alice { request(true) } else { Request::get("/") };
    let asked = lines.iter().fold(builder, |asked, line| asked.header("cookie", &**line));
    // What no header can hold never arrives.
    let Ok(asked) = asked.body(()) else { return };
    let reply = ask(asked);

    let brought = model::cookies(&lines, "visitor").find(|id| model::is_visitor(id));
    let is_new = !input.is_alice && brought.is_none();
    match &reply.visitor {
        None => assert!(input.is_alice, "an anonymous caller has no id"),
        Some(id) => {
            assert!(!input.is_alice, "alice has a user id and {id}");
            assert!(model::is_visitor(id.as_bytes()), "this is no id: {id}");
            assert!(brought.is_none_or(|brought| brought == id.as_bytes()), "the id was not kept: {id}");
        }
    }
    let id = reply.visitor.as_deref().unwrap_or_default();
    let cookie = format!("visitor={id}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax; Secure");

    // Who comes back with the id, and with nothing else, is answered the same.
    let again =
        if input.is_alice { request(true) } else { Request::get("/").header("cookie", format!("visitor={id}")) };
    let plain = ask(again.body(()).expect("this is a request"));
    assert_eq!(plain.visitor, reply.visitor);

    let tokens = model::cookies(&lines, "flag_override");
    let expected = model::overrides(None, &[], tokens, reply.user.as_deref());
    checks::answers(&reply, &plain, Reason::Override, |flag| {
        expected.claims.as_ref()?.flags.get(flag.name).filter(|_| flag.is_overridable)
    });
    checks::headers(&reply, &expected, is_new.then_some(&*cookie));
    assert_eq!(reply.refused, (expected.refused, 0));
});

fn filled(line: &[u8], token: &[u8]) -> Vec<u8> {
    let parts = line.iter().map(|byte| match *byte {
        TOKEN => token,
        ID => VISITOR.as_bytes(),
        _ => std::slice::from_ref(byte),
    });
    parts.collect::<Vec<_>>().concat()
}
