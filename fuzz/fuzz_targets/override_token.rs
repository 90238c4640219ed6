//! The override token in an address, and as the header `X-Flag-Override`.

#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tower_flags::engine::Reason;
use tower_flags_fuzz::service::{KEYS, ask, request};
use tower_flags_fuzz::signed::{OVERRIDE, Text, seal};
use tower_flags_fuzz::{checks, model};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    is_alice: bool,
    way: Way,
    text: Text<'a>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Way {
    Parameter,
    Header,
    /// As a parameter behind another one.
    Later,
    /// As a parameter, before a good token in the header.
    Before,
    /// In the header, with a good one on a second line: neither counts.
    Twice,
}

static GOOD: LazyLock<Vec<u8>> =
    LazyLock::new(|| seal(KEYS[0], OVERRIDE, br#"{"exp": 1796130000, "flags": {"banner": true}}"#));

fuzz_target!(|input: Input<'_>| {
    let text = input.text.bytes(OVERRIDE);
    let (address, header): (&[u8], Option<&[u8]>) = match input.way {
        Way::Parameter => (b"/?flag_override=", None),
        Way::Later => (b"/?page=2&flag_overrides=1&flag_override=", None),
        Way::Before => (b"/?flag_override=", Some(&GOOD)),
        Way::Header | Way::Twice => (b"/?page=2", Some(&text)),
    };
    let in_address: &[u8] = if matches!(input.way, Way::Header | Way::Twice) { b"" } else { &text };
    let address = [address, in_address].concat();

    let mut builder = request(input.is_alice).uri(&*address);
    let header: Vec<&[u8]> =
        header.into_iter().chain(matches!(input.way, Way::Twice).then_some(GOOD.as_slice())).collect();
    for line in &header {
        builder = builder.header("x-flag-override", *line);
    }
    // What no address and no header can hold never arrives.
    let Ok(asked) = builder.body(()) else { return };
    let reply = ask(asked);
    let plain = ask(request(input.is_alice).body(()).expect("this is a request"));

    let parameter = model::parameter(&address, "flag_override");
    let expected = model::overrides(parameter, &header, std::iter::empty(), reply.user.as_deref());
    checks::answers(&reply, &plain, Reason::Override, |flag| {
        expected.claims.as_ref()?.flags.get(flag.name).filter(|_| flag.is_overridable)
    });
    checks::headers(&reply, &expected, None);
    assert_eq!(reply.refused, (expected.refused, 0));
});
