//! An example as a running program.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::examples::example;
use crate::support::{Client, Reply};

/// How long an edit of the rules may take: one second is promised, the rest is for a busy machine.
const EDIT: Duration = Duration::from_secs(2);

/// The shop's rules. The test has a copy, since users edit the one beside the example.
pub(crate) const RULES: &str = include_str!("../data/shop.json");

/// The example as it starts without flags in the environment.
pub(crate) fn command(name: &str) -> Command {
    let mut command = Command::new(example(name));
    for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FF_")) {
        command.env_remove(variable);
    }
    command
}

/// What a program printed, which has to end well.
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A server with rules of its own, killed when dropped.
pub(crate) struct Program {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
    /// Where the shop's dashboard is; the same address for programs without one.
    pub(crate) admin: SocketAddr,
    folder: TempDir,
}

impl Program {
    pub(crate) fn shop() -> Self {
        Self::start("shop", RULES, &[])
    }

    pub(crate) fn start(name: &str, rules: &str, variables: &[(&str, &str)]) -> Self {
        // What the shop prints has to quote a path like this.
        let folder = tempfile::Builder::new().prefix("the shop's ").tempdir().unwrap();
        std::fs::write(folder.path().join("flags.json"), rules).unwrap();
        let mut child = command(name)
            .env("ADDR", "127.0.0.1:0")
            .env("ADMIN_ADDR", "127.0.0.1:0")
            .env("FLAGS_FILE", folder.path().join("flags.json"))
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let Some(address) = line.trim_end().strip_prefix("listening on http://") else {
            let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
            panic!("{name} printed {line:?} instead of where it listens:\n{log}");
        };
        let address = address.parse().unwrap();
        Self { address, admin: address, child, stdout, folder }
    }

    pub(crate) fn rules(&self) -> PathBuf {
        self.folder.path().join("flags.json")
    }

    /// The lines that the shop prints after the first.
    pub(crate) fn printed(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.contains(r#"{"enabled": true}"#)) {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "only printed {lines:#?}");
            lines.push(line.trim_end().to_owned());
        }
        let admin = lines.iter().find_map(|line| line.strip_prefix("admin on http://")?.split_once('/'));
        self.admin = admin.and_then(|(address, _)| address.parse().ok()).unwrap_or_else(|| panic!("{lines:#?}"));
        lines
    }

    /// Sends a request such as `GET /search`; the response is yet to be read.
    pub(crate) async fn send(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Client {
        Self::send_to(self.address, line, headers, body).await
    }

    /// The same at another address of the program.
    pub(crate) async fn send_to(address: SocketAddr, line: &str, headers: &[(&str, &str)], body: &str) -> Client {
        let mut request = format!("{line} HTTP/1.1\r\nhost: {address}\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        let mut client = Client::open(address).await;
        client.send(format!("{request}\r\n{body}").as_bytes()).await;
        client
    }

    /// What ctrl-c sends.
    pub(crate) fn interrupt(&self) {
        self.signal("INT");
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        output(Command::new("kill").args(["-s", name, &self.child.id().to_string()]));
    }

    /// What the server has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub(crate) async fn ended_within(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < limit, "still running");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn ask(&self, line: &str, headers: &[(&str, &str)]) -> Reply {
        self.send(line, headers, "").await.reply().await
    }

    /// Asks until the answer is as expected, for as long as an edit of the rules may take.
    pub(crate) async fn ask_until(&self, line: &str, headers: &[(&str, &str)], expected: impl Fn(&Value) -> bool) {
        let start = Instant::now();
        loop {
            let found = json(&self.ask(line, headers).await);
            if expected(&found) {
                return;
            }
            assert!(start.elapsed() < EDIT, "{line}: still {found}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of an answer that says it is JSON.
pub(crate) fn json(reply: &Reply) -> Value {
    assert_eq!(reply.header("content-type"), Some("application/json"), "{reply:?}");
    serde_json::from_str(reply.text()).unwrap_or_else(|error| panic!("{error}: {reply:?}"))
}
