//! Flags that the code declares: constants wherever a name goes, answers of their own type, and what
//! code and rules know differently.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "axum")]

mod support;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tower_flags::document::{Declaration, Kind};
use tower_flags::engine::Query;
use tower_flags::source::Source;
use tower_flags::{Context, FlagLayer, FlagSet, Flags, Memory, Timestamp, declare_flags, flag, try_flag, variant};

use support::{document, flag_of, get_as, memory, serve};

declare_flags! {
    /// The checkout's.
    pub(crate) static CHECKOUT_FLAGS;

    /// One-page checkout,
    /// since March.
    pub(crate) NEW_CHECKOUT: bool = "new_checkout" {
        kind: Release,
        owner: "payments",
        expires_at: "2027-03-01",
    };

    /// Mail after an order.
    ORDER_MAIL: bool = "order.mail-2" { kind: Ops, default: true };
}

mod growth {
    tower_flags::declare_flags! {
        pub(crate) static GROWTH_FLAGS;

        /// What the pricing page shows.
        pub(crate) PRICING: enum Pricing {
            /// As ever.
            Control = "control",
            Higher = "higher",
            Lower = "lower-1",
        } = "pricing_page" { kind: Experiment, owner: "growth" };
    }
}

use growth::{GROWTH_FLAGS, PRICING, Pricing};

const RULES: &str = r#"{
    "new_checkout": {"allowed_users": ["alice"]},
    "pricing_page": {"enabled": true, "variants": {"control": 34, "higher": 33, "lower-1": 33}}
}"#;

/// Below the layer nothing is handed down, and everything is typed.
async fn page(flags: Flags) -> String {
    let price = match PRICING.get() {
        Pricing::Control => 10,
        Pricing::Higher => 12,
        Pricing::Lower => 8,
    };
    assert_eq!(flags.get(PRICING), PRICING.get());
    assert_eq!(flags.variant(PRICING), variant(PRICING).as_deref());
    assert_eq!((flags.get(NEW_CHECKOUT), NEW_CHECKOUT.get()), (flag(NEW_CHECKOUT), flag("new_checkout")));
    assert_eq!(flags.is_enabled(NEW_CHECKOUT), flags.evaluation(NEW_CHECKOUT).enabled);
    assert_eq!(try_flag(ORDER_MAIL), Ok(flags.get(ORDER_MAIL)));
    assert!(!flags.is_enabled_or(NEW_CHECKOUT, true) || flags.get(NEW_CHECKOUT));
    format!("{} {price} {}", flag(NEW_CHECKOUT), ORDER_MAIL.get())
}

#[tokio::test]
async fn constants_are_names_and_answers_have_types() {
    let server = serve(Router::new().route("/", get(page)).layer(FlagLayer::new(memory(RULES)).trust_headers())).await;
    assert_eq!(get_as(server, "/", "alice").await.text(), "true 12 true");
    assert_eq!(get_as(server, "/", "bob").await.text(), "false 10 true");
    assert_eq!(get_as(server, "/", "carol").await.text(), "false 8 true");
}

#[test]
fn the_default_stands_where_no_usable_definition_says_otherwise() {
    let rules = Memory::new();
    let read = |rules: &Memory| {
        let flags = rules.answer(&Query::new(&Context::user("alice"), Timestamp::MIN));
        (flags.get(ORDER_MAIL), flags.is_enabled(ORDER_MAIL), flags.is_enabled("order.mail-2"))
    };
    assert_eq!(read(&rules), (true, true, false), "unknown: a bare name knows no default");
    rules.set(ORDER_MAIL, flag_of("false")).unwrap();
    assert_eq!(read(&rules), (false, false, false), "switched off");
    assert!(rules.remove(ORDER_MAIL));
    assert_eq!(read(&rules), (true, true, false));
    assert!(ORDER_MAIL.get() && flag(ORDER_MAIL) && !NEW_CHECKOUT.get(), "outside of a request too");
    assert_eq!(PRICING.get(), Pricing::Control);
}

#[test]
fn an_enum_is_its_first_variant_where_nothing_else_is_served() {
    let read = |rules: &str| {
        let set = Arc::new(FlagSet::compile(&document(rules), Timestamp::MIN));
        set.answer(&Query::new(&Context::user("alice"), Timestamp::MIN)).get(PRICING)
    };
    let served = |variants: &str| read(&format!(r#"{{"pricing_page": {{"enabled": true, "variants": {variants}}}}}"#));
    assert_eq!(served(r#"{"lower-1": 100, "control": 0}"#), Pricing::Lower);
    assert_eq!(served(r#"{"newer": 100, "control": 0}"#), Pricing::Control, "a variant that the code does not know");
    assert_eq!(read(r#"{"pricing_page": {"enabled": false, "variants": {"lower-1": 100}}}"#), Pricing::Control);
    assert_eq!(read(r#"{"pricing_page": true}"#), Pricing::Control, "no variants at all");
    assert_eq!(read("{}"), Pricing::Control);
}

#[test]
fn declarations_say_what_the_code_says() {
    let [checkout, mail] = CHECKOUT_FLAGS else { panic!("{CHECKOUT_FLAGS:?}") };
    let Declaration { name, kind, owner, expires_at, default, variants, description, .. } = **checkout;
    assert_eq!((name, kind, owner), ("new_checkout", Kind::Release, Some("payments")));
    assert_eq!((expires_at, default, variants.len()), (Some("2027-03-01"), false, 0));
    assert_eq!(description, "One-page checkout, since March.");
    assert!(checkout.file.ends_with("declared.rs") && checkout.line > 10, "{checkout:?}");
    assert_eq!((mail.kind, mail.owner, mail.expires_at, mail.default), (Kind::Ops, None, None, true));
    assert!(!checkout.is_expired("2027-03-01T23:59:59Z".parse().unwrap()));
    assert!(checkout.is_expired("2027-03-02T00:00:00Z".parse().unwrap()));
    assert_eq!(PRICING.declaration().variants, ["control", "higher", "lower-1"]);
    assert_eq!(GROWTH_FLAGS, [PRICING.declaration()]);
}

#[test]
fn code_and_rules_are_compared() {
    let rules = document(
        r#"{
            "new_checkout": true, "leftover": true, "another": false,
            "pricing_page": {"enabled": true, "variants": {"control": 50, "higher": 25, "newest": 25}}
        }"#,
    );
    let set = FlagSet::compile(&rules, Timestamp::MIN);
    let differences = set.differences(&[CHECKOUT_FLAGS, GROWTH_FLAGS]);
    assert_eq!(differences.unknown.iter().map(|declaration| declaration.name).collect::<Vec<_>>(), ["order.mail-2"]);
    assert_eq!(differences.undeclared, ["another", "leftover"]);
    let [other] = &*differences.other_variants else { panic!("{differences:?}") };
    assert_eq!(other.declaration, PRICING.declaration());
    assert_eq!((&*other.only_in_rules, &*other.only_in_code), (&["newest".to_owned()][..], &["lower-1"][..]));

    let (mail, pricing) = (ORDER_MAIL.declaration(), PRICING.declaration());
    let expected = format!(
        "{}:{}: no rules have flag \"order.mail-2\": it reads as its default\n\
         {2}:{3}: flag \"pricing_page\" has variants that the code does not know: [\"newest\"]\n\
         {2}:{3}: flag \"pricing_page\" has no variants [\"lower-1\"]: nobody is served them\n\
         flag \"another\" is declared nowhere\n\
         flag \"leftover\" is declared nowhere\n",
        mail.file, mail.line, pricing.file, pricing.line
    );
    assert_eq!(differences.to_string(), expected);

    let differences = set.differences(&[CHECKOUT_FLAGS]);
    assert!(differences.undeclared.contains(&"pricing_page".to_owned()), "its list was not handed in");
    let agreed =
        document(r#"{"pricing_page": {"enabled": true, "variants": {"control": 50, "higher": 25, "lower-1": 25}}}"#);
    assert!(FlagSet::compile(&agreed, Timestamp::MIN).differences(&[GROWTH_FLAGS]).is_empty());
}

#[test]
fn constants_of_any_type_and_lists_of_them_name_flags_together() {
    use tower_flags::FlagName;

    let both = [NEW_CHECKOUT.declaration(), PRICING.declaration()];
    assert_eq!(both.map(|flag| flag.name().to_owned()), ["new_checkout", "pricing_page"]);
    let gate = tower_flags::RequireFlagLayer::all_of(CHECKOUT_FLAGS.iter().chain(GROWTH_FLAGS));
    assert!(format!("{gate:?}").contains("pricing_page"));
    assert_eq!(Pricing::Lower.as_ref(), "lower-1");
}

#[test]
fn a_block_holds_more_flags_than_the_compiler_recurses() {
    mod many {
        include!("data/many_flags.rs");
    }
    assert_eq!(many::MANY.len(), 300);
    assert_eq!(many::MANY[299].name, "f299");
}
