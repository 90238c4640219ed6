//! Which file of the crate imports which, read from the `use` lines and the paths in the code.
//!
//! A name that a `mod.rs` re-exports counts as imported from the file that it comes from. `mod.rs` files, which hold names
//! alone, and tests are in no import.

use std::collections::{BTreeMap, BTreeSet};

/// A module by its path, and what its file says.
struct Module<'a> {
    file: &'a str,
    /// Without its tests.
    code: String,
    /// What its `use` lines bind: the name, and the path as written.
    names: Vec<(String, Vec<String>)>,
}

type Modules<'a> = BTreeMap<Vec<String>, Module<'a>>;

/// The files that each file imports, from sources by their paths below `src`.
pub(crate) fn imports(sources: &BTreeMap<String, String>) -> BTreeMap<&str, BTreeSet<&str>> {
    let modules: Modules<'_> = sources.iter().map(|(file, code)| (module_of(file), Module::read(file, code))).collect();
    let files = modules.iter().map(|(path, module)| {
        let mut found = BTreeSet::new();
        for written in module.paths() {
            found.extend(target(&modules, path, &written, 0));
        }
        found.remove(module.file);
        (module.file, found)
    });
    files.collect()
}

/// The groups of files each of which imports itself through the others.
pub(crate) fn circles<'a>(imports: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<BTreeSet<&'a str>> {
    let reachable = |from: &'a str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(file) = next.pop() {
            next.extend(imports[file].iter().copied().filter(|&file| seen.insert(file)));
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> = imports.keys().map(|&file| (file, reachable(file))).collect();
    let mut circles: Vec<BTreeSet<&str>> = Vec::new();
    for (file, others) in &reached {
        if others.contains(file) && circles.iter().all(|circle| !circle.contains(file)) {
            circles.push(others.iter().copied().filter(|other| reached[other].contains(file)).collect());
        }
    }
    circles
}

/// `a/b/mod.rs` and `a/b.rs` are `a::b`; `lib.rs` is the root.
fn module_of(file: &str) -> Vec<String> {
    let mut path: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if path.last().is_some_and(|last| last == "mod" || last == "lib") {
        path.pop();
    }
    path
}

impl<'a> Module<'a> {
    fn read(file: &'a str, code: &str) -> Self {
        let shipped = ["#[cfg(test)]\nmod ", "#[cfg(all(test"]
            .iter()
            .fold(code, |code, tests| code.split_once(tests).map_or(code, |(shipped, _)| shipped));
        let mut names = Vec::new();
        let mut rest = String::new();
        let mut lines = shipped.lines();
        while let Some(line) = lines.next() {
            let Some(used) = used(line) else {
                rest.push_str(line);
                rest.push('\n');
                continue;
            };
            let mut statement = used.to_owned();
            while !statement.contains(';') {
                let Some(line) = lines.next() else { break };
                statement.push_str(line.trim());
            }
            expand(statement.trim_end_matches(';'), &[], &mut names);
        }
        Self { file, code: rest, names }
    }

    /// All paths of the file that lead to modules of the crate, as written.
    fn paths(&self) -> Vec<Vec<String>> {
        let mut paths: Vec<Vec<String>> = self.names.iter().map(|(_, path)| path.clone()).collect();
        for word in self.code.split(|end: char| !(end.is_alphanumeric() || matches!(end, '_' | ':' | '$'))) {
            let segments: Vec<String> = word.split("::").map(str::to_owned).collect();
            let [first, _, ..] = segments.as_slice() else { continue };
            match self.names.iter().find(|(name, _)| name == first) {
                Some((_, path)) => paths.push(path.iter().chain(&segments[1..]).cloned().collect()),
                None => paths.push(segments),
            }
        }
        paths
    }
}

/// What follows `use` in a line that imports.
fn used(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1.trim_start(),
        Some(rest) => rest.trim_start(),
        None => line,
    };
    line.strip_prefix("use ")
}

/// Adds the name and the path of each part of `a::{b, c::{self, d as e}}`, after the segments before it.
pub(crate) fn expand(tree: &str, before: &[String], names: &mut Vec<(String, Vec<String>)>) {
    let tree = tree.trim();
    if let Some((prefix, list)) = tree.split_once('{') {
        let mut before = before.to_vec();
        before.extend(prefix.trim_end_matches("::").split("::").filter(|part| !part.is_empty()).map(str::to_owned));
        let list = list.strip_suffix('}').unwrap_or(list);
        let (mut depth, mut start) = (0, 0);
        for (at, character) in list.char_indices().chain([(list.len(), ',')]) {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    expand(&list[start..at], &before, names);
                    start = at + 1;
                }
                _ => {}
            }
        }
    } else if !tree.is_empty() {
        let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
        let mut path: Vec<String> = before.iter().cloned().chain(path.split("::").map(str::to_owned)).collect();
        if path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let last = path.last().cloned().unwrap_or_default();
        names.push((if alias.is_empty() { last } else { alias.to_owned() }, path));
    }
}

/// The file that a path leads to, which is written in the module `from`.
fn target<'a>(modules: &Modules<'a>, from: &[String], written: &[String], hops: usize) -> Option<&'a str> {
    let mut at = from.to_vec();
    let mut segments = written.iter().peekable();
    match segments.peek()?.as_str() {
        "crate" => {
            segments.next();
            at.clear();
        }
        "self" => {
            segments.next();
        }
        "super" => {
            while segments.next_if(|segment| *segment == "super").is_some() {
                at.pop();
            }
        }
        // In a `mod.rs` a path may begin with a module below it; elsewhere with another crate or an item.
        child if modules.contains_key(&[from, &[child.to_owned()]].concat()) => {}
        _ => return None,
    }
    while let Some(segment) = segments.next() {
        let below = [at.as_slice(), std::slice::from_ref(segment)].concat();
        if modules.contains_key(&below) {
            at = below;
            // A function may have the name of a module, as `read` has: the path ends with what is called.
            continue;
        }
        let module = &modules[&at];
        let is_index = module.file.ends_with("mod.rs") || module.file == "lib.rs";
        let found = module.names.iter().find(|(name, _)| is_index && name == segment && hops < 8);
        return match found {
            Some((_, path)) => {
                let path: Vec<String> = path.iter().chain(segments).cloned().collect();
                target(modules, &at, &path, hops + 1)
            }
            None if is_index => None,
            None => Some(module.file),
        };
    }
    let file = modules[&at].file;
    (!file.ends_with("mod.rs") && file != "lib.rs").then_some(file)
}
