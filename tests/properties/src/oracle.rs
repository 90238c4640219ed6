//! The second opinion: `tests/oracle/oracle.py`, which reads the same rules and shares no code.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Puts all requests to one run of the oracle; its head says what they look like.
pub fn ask(requests: &[Value]) -> Vec<Value> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../oracle/oracle.py");
    let version = "import sys; sys.exit(sys.version_info < (3, 11))";
    let is_installed = Command::new("python3")
        .args(["-c", version])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    assert!(
        is_installed,
        "this test compares with a second reading in Python: install Python 3.11 or newer as python3"
    );
    let mut oracle = Command::new("python3")
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 was there a moment ago");
    let mut input = BufWriter::new(oracle.stdin.take().expect("it is piped"));
    let output = BufReader::new(oracle.stdout.take().expect("it is piped"));
    // Whoever writes everything before reading anything waits for ever once both pipes are full.
    let answers: Vec<Value> = std::thread::scope(|scope| {
        scope.spawn(move || {
            for request in requests {
                writeln!(input, "{request}").expect("the oracle reads to the end");
            }
        });
        output
            .lines()
            .map(|line| serde_json::from_str(&line.expect("the oracle writes UTF-8")).expect("the oracle writes JSON"))
            .collect()
    });
    assert!(oracle.wait().is_ok_and(|status| status.success()), "the oracle failed");
    assert_eq!(answers.len(), requests.len(), "the oracle answers every request");
    for (request, answer) in requests.iter().zip(&answers) {
        assert!(answer.get("error").is_none(), "the oracle failed: {answer}\n{request}");
    }
    answers
}
