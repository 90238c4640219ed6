//! Where the examples are, for tests that run them.

use std::path::{Path, PathBuf};

/// The compiled example. Cargo builds examples for `cargo test`, not for `cargo test --test shop`.
pub(crate) fn example(name: &str) -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let path = here.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let source = if sources.is_dir() { sources.join("main.rs") } else { sources.with_extension("rs") };
    let written = |path: &Path| path.metadata().and_then(|found| found.modified()).ok();
    assert!(
        written(&path) > written(&source),
        "{} is missing or older than its source: run `cargo build --examples` first",
        path.display()
    );
    path
}
