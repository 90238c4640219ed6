//! What runs the tests, in a mount namespace, and reports in the form of Rust's own harness.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::process::{Command, ExitCode};

/// What came of a test that did not fail.
pub(crate) enum Outcome {
    Done,
    /// Not tried, since this machine does not have what it takes.
    Skipped(&'static str),
}

type Running = Pin<Box<dyn Future<Output = Outcome>>>;

pub(crate) struct Test {
    name: &'static str,
    start: Box<dyn Fn() -> Running>,
}

pub(crate) fn test<F: Future<Output = Outcome> + 'static>(name: &'static str, start: impl Fn() -> F + 'static) -> Test {
    Test { name, start: Box::new(move || Box::pin(start())) }
}

/// Says that this program was started by itself inside a namespace.
const INSIDE: &str = "MOUNTS_INSIDE";
/// Names the part of a test that this program was started by itself for.
const PART: &str = "MOUNTS_PART";

/// This program again, in the same namespace, for a part of a test.
pub(crate) fn part(name: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(PART, name).envs(variables.iter().copied());
    command
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// Which tests the command line asks for.
struct Asked {
    filters: Vec<String>,
    skipped: Vec<String>,
    is_exact: bool,
    lists: bool,
}

impl Asked {
    fn read() -> Self {
        let mut asked = Self { filters: Vec::new(), skipped: Vec::new(), is_exact: false, lists: false };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match &*argument {
                "--exact" => asked.is_exact = true,
                "--list" => asked.lists = true,
                "--skip" => asked.skipped.extend(arguments.next()),
                "--test-threads" | "--format" | "--color" | "--logfile" => drop(arguments.next()),
                option if option.starts_with('-') => {}
                _ => asked.filters.push(argument),
            }
        }
        asked
    }

    fn has(&self, name: &str) -> bool {
        let matches = |filter: &String| if self.is_exact { name == filter } else { name.contains(filter.as_str()) };
        (self.filters.is_empty() || self.filters.iter().any(matches)) && !self.skipped.iter().any(matches)
    }
}

/// Runs the tests that are asked for, or the part that this program was started for.
pub(crate) fn run(tests: &[Test], parts: &[Test]) -> ExitCode {
    if let Ok(name) = std::env::var(PART) {
        let part = parts.iter().find(|part| part.name == name).unwrap();
        block_on((part.start)());
        return ExitCode::SUCCESS;
    }
    let asked = Asked::read();
    let chosen: Vec<&Test> = tests.iter().filter(|test| asked.has(test.name)).collect();
    if asked.lists {
        chosen.iter().for_each(|test| println!("{}: test", test.name));
        return ExitCode::SUCCESS;
    }
    if std::env::var_os(INSIDE).is_some() {
        return report(&chosen, |test| (test.start)(), tests.len());
    }
    match namespace() {
        Some(mut command) => {
            command.arg(std::env::current_exe().unwrap()).args(std::env::args_os().skip(1)).env(INSIDE, "1");
            ExitCode::from(if command.status().unwrap().success() { 0 } else { 101 })
        }
        None => report(&chosen, |_| Box::pin(async { Outcome::Skipped("nothing can be mounted here") }), tests.len()),
    }
}

/// What starts a program in a mount namespace, where one can be had and used.
fn namespace() -> Option<Command> {
    let folder = tempfile::tempdir().unwrap();
    [&["--mount"][..], &["--mount", "--map-root-user"]].into_iter().find_map(|options| {
        let mut probe = Command::new("unshare");
        probe.args(options).args(["mount", "--bind"]).args([folder.path(), folder.path()]);
        let is_possible = probe.output().is_ok_and(|output| output.status.success());
        is_possible.then(|| {
            let mut command = Command::new("unshare");
            command.args(options);
            command
        })
    })
}

fn report(chosen: &[&Test], start: impl Fn(&Test) -> Running, all: usize) -> ExitCode {
    println!("\nrunning {} tests", chosen.len());
    let (mut passed, mut failed, mut ignored) = (0, Vec::new(), 0);
    for test in chosen {
        match catch_unwind(AssertUnwindSafe(|| block_on(start(test)))) {
            Ok(Outcome::Done) => {
                passed += 1;
                println!("test {} ... ok", test.name);
            }
            Ok(Outcome::Skipped(reason)) => {
                ignored += 1;
                println!("test {} ... ignored, {reason}", test.name);
            }
            Err(_) => {
                failed.push(test.name);
                println!("test {} ... FAILED", test.name);
            }
        }
    }
    if !failed.is_empty() {
        println!("\nfailures:");
        failed.iter().for_each(|name| println!("    {name}"));
    }
    let (result, filtered) = (if failed.is_empty() { "ok" } else { "FAILED" }, all - chosen.len());
    println!(
        "\ntest result: {result}. {passed} passed; {} failed; {ignored} ignored; 0 measured; {filtered} filtered out\n",
        failed.len()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
}
