//! The shape of the crate, read from its own files: who imports whom, what the engine may not touch,
//! and what the manifest promises.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[path = "support/imports.rs"]
mod imports;

/// Which folder may import which, beside itself; `docs` and the crate's root re-export from all.
const MAY_IMPORT: [(&str, &[&str]); 9] = [
    ("document", &[]),
    ("engine", &["document", "context"]),
    ("store", &["document", "error", "weak_key"]),
    ("source", &["document", "engine", "context", "error", "store"]),
    ("request", &["document", "engine", "context", "source", "observe", "error", "weak_key"]),
    ("observe", &["document", "engine", "context"]),
    ("operate", &["document", "engine", "context", "error", "store", "source", "observe"]),
    ("admin", &["document", "engine", "context", "error", "store", "source", "request", "observe", "operate"]),
    ("testing", &["document", "engine", "context", "error", "store", "source", "request", "observe", "operate"]),
];

/// What `request` and `operate` may take from `source`: the trait and what it speaks of.
const SOURCE_TRAITS: [&str; 3] = ["ReadObserver", "Source", "Status"];

/// Deciding is pure, and so is what it decides by: none of these occur in `engine` and `document`.
const NOT_IN_ENGINE: [&str; 18] = [
    "async ",
    ".await",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::sync::mpsc",
    "tokio",
    "tracing",
    "::now()",
    "Mutex",
    "RwLock",
    "sync::Once",
    "thread_local",
    "RandomState",
    "static ",
    "println!",
];

/// The one file that decides once and keeps the results: in the answers, and from what they hold.
const FIRST_LOOK: (&str, &str) = ("engine/lazy.rs", "sync::Once");

/// Libraries that stay in the file, or folder, that wraps them.
const AT_HOME: [(&str, &[&str]); 23] = [
    ("axum", &["admin/"]),
    ("notify", &["store/file/watch.rs"]),
    ("toml_edit", &["store/file/in_toml.rs"]),
    ("toml", &["document/text/toml.rs"]),
    ("jiff", &["document/timestamp.rs"]),
    ("md5", &["engine/bucketing.rs"]),
    ("md5_lanes", &["engine/set/hashed.rs"]),
    ("regex_automata", &["document/pattern.rs"]),
    ("regex_syntax", &["document/pattern.rs"]),
    ("axum_core", &["request/extract.rs"]),
    ("arc_swap", &["source/board.rs"]),
    ("base64", &["request/signed/key.rs"]),
    ("hmac", &["admin/session.rs", "request/signed/key.rs", "store/history_keys.rs"]),
    ("sha2", &["admin/session.rs", "request/signed/key.rs", "store/history.rs", "store/history_keys.rs"]),
    ("getrandom", &["request/visitors.rs"]),
    ("redis", &["store/redis/"]),
    ("rustix", &["store/file/guarded.rs"]),
    ("rustls_native_certs", &["store/redis/server.rs"]),
    ("tokio_rustls", &["store/redis/server.rs"]),
    ("sqlx", &["store/sql/"]),
    ("reqwest", &["store/http/client.rs", "store/http/redirects.rs"]),
    ("rustls", &["store/http/client.rs", "store/redis/server.rs"]),
    ("rustls_platform_verifier", &["store/http/client.rs"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file by its path below `src`, without comments.
fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut files = Vec::new();
    walk(&root().join("src"), &mut files);
    let code = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    };
    files
        .iter()
        .map(|path| (path.strip_prefix(root().join("src")).unwrap().to_str().unwrap().to_owned(), code(path)))
        .collect()
}

/// What follows each `crate::` in a file: a path up to the first character that ends it, or each path of a list in braces.
fn crate_paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        // `pub(crate)` has no colons; `tower_flags::` and `some_crate::` are other crates.
        if code[..at].ends_with(is_of_name) {
            continue;
        }
        let rest = &code[at + found.len()..];
        let path = &rest[..rest.find(|end: char| !is_of_name(end) && end != ':').unwrap_or(rest.len())];
        let list = &rest[path.len()..];
        if !list.starts_with('{') || !(path.is_empty() || path.ends_with("::")) {
            paths.push(path.to_owned());
            continue;
        }
        let mut depth = 0;
        let end = list.find(|brace: char| {
            depth += i32::from(brace == '{') - i32::from(brace == '}');
            depth == 0
        });
        let mut names = Vec::new();
        imports::expand(&rest[..=path.len() + end.unwrap()], &[], &mut names);
        paths.extend(names.into_iter().map(|(_, path)| path.join("::")));
    }
    paths
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[test]
fn every_name_of_a_list_in_braces_is_a_path() {
    let code = "use crate::{source::A, request::{self, B as C}};
        pub(crate) use crate::source::{
            Source,
            layered::Layered,
        };
        fn f() -> crate::engine::Set { crate::document::load(other_crate::x()) }
        pub(in crate::request) fn g() { $crate::admin::Route {} }";
    let expected = [
        "source::A",
        "request",
        "request::B",
        "source::Source",
        "source::layered::Layered",
        "engine::Set",
        "document::load",
        "request",
        "admin::Route",
    ];
    assert_eq!(crate_paths(code), expected);
}

#[test]
fn folders_import_only_what_the_table_allows() {
    for (file, code) in sources() {
        let Some((folder, _)) = file.split_once('/') else { continue };
        if folder == "docs" {
            continue;
        }
        let allowed = MAY_IMPORT
            .iter()
            .find(|(name, _)| *name == folder)
            .unwrap_or_else(|| panic!("{file}: the folder {folder:?} is not in the table; add it there on purpose"));
        for path in crate_paths(&code) {
            let target = path.split("::").next().unwrap_or_default();
            // Names that are not folders are the macros and types of the crate's root: none are used.
            assert!(
                target == folder || allowed.1.contains(&target),
                "{file} imports crate::{path}, which {folder} may not"
            );
        }
    }
}

#[test]
fn no_two_files_import_each_other() {
    let sources = sources();
    let imports = imports::imports(&sources);
    let count: usize = imports.values().map(std::collections::BTreeSet::len).sum();
    assert!(count > 500, "only {count} imports are found in {} files", sources.len());
    let circles = imports::circles(&imports);
    for circle in &circles {
        for file in circle {
            let others: Vec<_> = imports[file].intersection(circle).collect();
            println!("{file} imports {others:?}");
        }
    }
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn a_planted_circle_is_found() {
    let circles_of = |files: &[(&str, &str)]| {
        let sources = files.iter().map(|(file, code)| ((*file).to_owned(), (*code).to_owned())).collect();
        let circles = imports::circles(&imports::imports(&sources));
        circles.iter().map(|circle| circle.iter().map(|&file| file.to_owned()).collect()).collect::<Vec<Vec<_>>>()
    };
    let root = ("lib.rs", "mod shop;");
    let index = ("shop/mod.rs", "mod cart;\nmod price;\nmod till;\npub use cart::Cart;");
    let cart = ("shop/cart.rs", "use super::{\n    price::{self, Price},\n};\npub struct Cart(Price);");
    let till = ("shop/till.rs", "use super::Cart;\nuse super::price::Price;");
    let apart = ("shop/price.rs", "pub struct Price;");
    assert_eq!(circles_of(&[root, index, cart, till, apart]), [[""; 0]; 0]);
    let by_name = ("shop/price.rs", "use super::Cart;\npub struct Price;");
    let by_path = ("shop/price.rs", "pub struct Price;\nfn of(cart: &crate::shop::cart::Cart) {}");
    for price in [by_name, by_path] {
        assert_eq!(circles_of(&[root, index, cart, till, price]), [["shop/cart.rs", "shop/price.rs"]], "{price:?}");
    }
}

#[test]
fn requests_and_operation_know_only_the_traits_of_sources() {
    let knows_only_traits = |file: &str| file.starts_with("request/") || file.starts_with("operate/");
    for (file, code) in sources().into_iter().filter(|(file, _)| knows_only_traits(file)) {
        for path in crate_paths(&code) {
            let name = path.strip_prefix("source::").or((path == "source").then_some("self"));
            assert!(name.is_none_or(|name| SOURCE_TRAITS.contains(&name)), "{file} imports crate::{path}");
        }
    }
}

/// The files of the folders that are pure, without their tests.
fn pure_sources() -> impl Iterator<Item = (String, String)> {
    let is_pure = |file: &str| file.starts_with("engine/") || file.starts_with("document/");
    let shipped = |code: &str| code.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
    sources().into_iter().filter(move |(file, _)| is_pure(file)).map(move |(file, code)| (file, shipped(&code)))
}

#[test]
fn the_engine_and_the_document_are_pure() {
    for (file, shipped) in pure_sources() {
        for forbidden in NOT_IN_ENGINE {
            // `&'static str` is a lifetime and no item.
            let found = shipped.match_indices(forbidden).any(|(at, _)| !shipped[..at].ends_with('\''));
            let found = found && (file.as_str(), forbidden) != FIRST_LOOK;
            assert!(!found, "{file} has {forbidden:?}");
        }
    }
}

#[test]
fn the_engine_and_the_document_do_not_name_http() {
    for (file, shipped) in pure_sources() {
        let named = ["http::", "http_body", "use http", "HeaderValue", "HeaderMap"]
            .into_iter()
            .find(|name| shipped.contains(name));
        assert!(named.is_none(), "{file} has {named:?}");
    }
}

#[test]
fn md5_lanes_knows_nothing_of_flags() {
    let own = root().join("crates/md5-lanes");
    let files = std::fs::read_dir(own.join("src")).unwrap().map(|entry| entry.unwrap().path());
    for file in files.chain([own.join("Cargo.toml")]) {
        let text = std::fs::read_to_string(&file).unwrap().to_lowercase();
        for foreign in ["flag", "rollout", "percent", "caller"] {
            assert!(!text.contains(foreign), "{} has {foreign:?}", file.display());
        }
    }
}

#[test]
fn libraries_stay_in_the_file_that_wraps_them() {
    for (file, code) in sources() {
        for (library, homes) in AT_HOME {
            let is_used = code.match_indices(&format!("{library}::")).any(|(at, _)| {
                let is_other =
                    code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':');
                // A module of ours may have the library's name; it is re-exported by `mod.rs` only.
                let is_ours = code.contains(&format!("mod {library};"));
                !is_other && !is_ours
            });
            let is_home = homes.iter().any(|home| file == *home || (home.ends_with('/') && file.starts_with(home)));
            assert!(!is_used || is_home, "{file} uses {library}");
        }
    }
}

#[test]
fn mod_files_hold_documentation_and_names_only() {
    for (file, code) in sources().into_iter().filter(|(file, _)| file.ends_with("mod.rs") || file == "lib.rs") {
        for forbidden in ["fn ", "impl ", "enum ", "trait ", "const "] {
            assert!(
                !code.lines().any(|line| line.starts_with(forbidden)),
                "{file} has a line that starts with {forbidden:?}"
            );
        }
    }
}

#[test]
fn no_file_outgrows_its_idea() {
    for (file, code) in sources() {
        let lines = code.lines().count();
        assert!(lines <= 700, "{file} has {lines} lines of code; split it by concept");
    }
}

/// The manifest's cargo features: name, the comment above it, and what it pulls in.
fn features() -> Vec<(String, String, String)> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = manifest.split("[features]").nth(1).unwrap().split("\n[").next().unwrap();
    let mut comment = String::new();
    let mut features = Vec::new();
    for line in section.lines() {
        if let Some(text) = line.strip_prefix("# ") {
            comment = text.trim_end_matches('.').to_owned();
        } else if let Some((name, value)) = line.split_once(" = ") {
            let pulled: Vec<String> =
                value.split('"').filter_map(|part| part.strip_prefix("dep:")).map(|name| format!("`{name}`")).collect();
            features.push((name.to_owned(), std::mem::take(&mut comment), pulled.join(", ")));
        }
    }
    features
}

#[test]
fn the_table_of_cargo_features_is_the_manifests() {
    let library = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let all = features();
    let default = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let default = default.lines().find(|line| line.starts_with("default = ")).unwrap().to_owned();
    for (name, comment, pulled) in all.iter().filter(|(name, ..)| name != "default") {
        let is_default = if default.contains(&format!("\"{name}\"")) { "yes" } else { "no" };
        let row = library
            .lines()
            .find(|line| line.starts_with(&format!("//! | `{name}` |")))
            .unwrap_or_else(|| panic!("the table in src/lib.rs has no row for `{name}`"));
        let cells: Vec<&str> =
            row.trim_start_matches("//! |").trim_end_matches('|').split(" | ").map(str::trim).collect();
        let said = |text: &str| text.replace(['[', ']', '`'], "").to_lowercase();
        assert_eq!(said(cells[1]), said(comment), "what `{name}` enables");
        assert_eq!((cells[2], cells[3]), (pulled.as_str(), is_default), "`{name}`");
    }
    let rows = library.lines().filter(|line| line.starts_with("//! | `")).count();
    let modules = library.lines().filter(|line| line.starts_with("//! | [`")).count();
    assert!(rows >= all.len() - 1 && modules == 8, "{rows} rows, {modules} modules");
}
