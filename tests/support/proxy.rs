//! A line to a server that can be cut, frozen, and slowed down.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// What the line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// It passes everything on.
    Good,
    /// It takes bytes and connections and passes nothing on: half open, as after a cable was pulled.
    Silent,
    /// It passes on one byte a second in each direction.
    Slow,
    /// It resets every connection at once.
    Reset,
}

#[derive(Clone, Copy)]
struct State {
    line: Line,
    cuts: u64,
    moves: u64,
}

/// A line in front of one server; it ends with this value.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, states) = watch::channel(State { line: Line::Good, cuts: 0, moves: 0 });
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = states.clone();
                // An end of either side is an end of the connection, whatever it is.
                tokio::spawn(async move { drop(connect(client, server, state).await) });
            }
        });
        Self { address, state, accepting }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, for old and new connections.
    pub(crate) fn set(&self, line: Line) {
        self.state.send_modify(|state| state.line = line);
    }

    /// Resets the connections of now; new ones are taken.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// The connections of now are silent for ever, as if the server had moved to another host; new ones are taken.
    pub(crate) fn move_away(&self) {
        self.state.send_modify(|state| state.moves += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn connect(client: TcpStream, server: SocketAddr, state: watch::Receiver<State>) -> io::Result<()> {
    let cuts = state.borrow().cuts;
    let mut changes = state.clone();
    let is_cut = |state: &State| state.line == Line::Reset || state.cuts != cuts;
    // Both ends are reset when they are dropped, and not closed in good order.
    client.set_zero_linger()?;
    let passed_on = async {
        let server = TcpStream::connect(server).await?;
        server.set_zero_linger()?;
        server.set_nodelay(true)?;
        client.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            ended = pass_on(from_client, to_server, state.clone()) => ended,
            ended = pass_on(from_server, to_client, state) => ended,
        }
    };
    tokio::select! {
        ended = passed_on => ended,
        _ = changes.wait_for(is_cut) => Ok(()),
    }
}

async fn pass_on(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    let moves = state.borrow().moves;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let State { line, moves: now, .. } = *state.borrow_and_update();
            let passes = match line {
                _ if now != moves => std::future::pending().await,
                Line::Good => rest.len(),
                Line::Slow => {
                    sleep(Duration::from_secs(1)).await;
                    1
                }
                Line::Silent | Line::Reset => {
                    if state.changed().await.is_err() {
                        return Ok(());
                    }
                    continue;
                }
            };
            to.write_all(&rest[..passes]).await?;
            rest = &rest[passes..];
        }
    }
}
