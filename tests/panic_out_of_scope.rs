//! Reads with no request around as panics: the switch is the process's, hence a file of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};

use tower_flags::request::panic_out_of_scope;
use tower_flags::{Context, Flags, flag, try_flag, variant};

fn message_of<T>(read: impl FnOnce() -> T) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(read)).err()?;
    Some(panic.downcast_ref::<String>().unwrap().clone())
}

#[test]
fn a_read_with_no_request_around_panics_where_that_was_asked_for() {
    /// Reads while it is dropped.
    struct Guard;

    impl Drop for Guard {
        fn drop(&mut self) {
            assert!(!flag("search"));
        }
    }

    panic_out_of_scope(true);
    for message in [message_of(|| flag("search")), message_of(|| variant("search"))].map(Option::unwrap) {
        assert!(message.starts_with("flag \"search\" read: no flags in scope"), "{message}");
        assert!(message.contains("in_current_flags"), "{message}");
    }
    assert!(try_flag("search").is_err(), "which asks just that");
    let flags = Flags::builder().on("search").build(Context::anonymous());
    assert_eq!(message_of(|| flags.sync_scope(|| assert!(flag("search") && !flag("unknown")))), None);
    // Not while another panic unwinds: that would end the process.
    let first = message_of(|| {
        let _guard = Guard;
        panic_any("the first".to_owned());
    });
    assert_eq!(first.as_deref(), Some("the first"));
    panic_out_of_scope(false);
    assert_eq!(message_of(|| flag("search")), None);
}
