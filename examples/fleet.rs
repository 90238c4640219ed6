//! Three processes of one shop that follow one store: `cargo run --example fleet`.
//!
//! They share an SQLite file. With a URL they share what is there instead:
//! `cargo run --example fleet --features redis -- redis://127.0.0.1/`, or `postgres` and
//! `postgres://user:password@127.0.0.1/database`. Then a flag is switched on, and it prints how long it took until
//! all of them answered differently.

#[path = "shop/store.rs"]
mod store;

use std::error::Error;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tower_flags::document::Edit;
use tower_flags::store::{Author, Change, StoreExt};
use tower_flags::{FlagLayer, Live, flag};

const PROCESSES: usize = 3;
/// The flag that is switched, and removed in the end.
const FLAG: &str = "fleet_new_checkout";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run().await else { return ExitCode::SUCCESS };
    eprint!("{error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
    ExitCode::FAILURE
}

async fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            let folder = tempfile::tempdir()?;
            fleet(&format!("sqlite:{}", folder.path().join("fleet.db").display())).await
        }
        ["--serve", url] => shop(url).await,
        [url] => fleet(url).await,
        _ => Err("expected no argument, or the URL of a store".into()),
    }
}

/// One process: what a service does with a store.
async fn shop(url: &str) -> Result<(), Box<dyn Error>> {
    let source = Live::connect(store::at(url)?).await?;
    let checkout = || async { if flag(FLAG) { "one page" } else { "three pages" } };
    let router = Router::new().route("/checkout", get(checkout)).layer(FlagLayer::new(source));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/checkout", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}

/// The processes, somebody who edits, and somebody who asks.
async fn fleet(url: &str) -> Result<(), Box<dyn Error>> {
    let (store, by) = (store::at(url)?, Author::new("the fleet example"));
    store.change(FLAG, Change::put_text("false").create_again(), &by).await?;
    let mut processes = Vec::new();
    for _ in 0..PROCESSES {
        processes.push(Process::start(url).await?);
    }
    for process in &processes {
        process.answers("three pages").await?;
    }

    let start = Instant::now();
    store.change(FLAG, Change::edit(Edit::new().set("enabled", true)), &by).await?;
    for process in &processes {
        process.answers("one page").await?;
    }
    println!("all {PROCESSES} processes changed after {} ms", start.elapsed().as_millis());
    store.change(FLAG, Change::remove(), &by).await?;
    Ok(())
}

/// A process that ends with this value.
struct Process {
    address: String,
    client: Client<HttpConnector, Empty<&'static [u8]>>,
    _process: Child,
}

impl Process {
    async fn start(url: &str) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut process = command.args(["--serve", url]).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let output = process.stdout.take().ok_or("a process has no output")?;
        let address = timeout(PATIENCE, BufReader::new(output).lines().next_line()).await??;
        let address = address.ok_or("a process has ended before it served")?;
        println!("{address} serves, process {}", process.id().unwrap_or_default());
        Ok(Self { address, client: Client::builder(TokioExecutor::new()).build_http(), _process: process })
    }

    /// Asks until the answer is this one.
    async fn answers(&self, expected: &str) -> Result<(), Box<dyn Error>> {
        let asked = async {
            loop {
                let response = self.client.get(self.address.parse()?).await?;
                if response.into_body().collect().await?.to_bytes() == expected {
                    return Ok(());
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, asked).await.map_err(|_| format!("{} never answered {expected:?}", self.address))?
    }
}
