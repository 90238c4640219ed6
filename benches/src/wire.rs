//! Processor time of servers on real sockets.
//!
//! The client runs on the server's thread, and its work is not counted. It writes a request on every connection, then the
//! server runs until it has replied to all of them, then the client reads. The server therefore always finds the same
//! number of requests waiting, and the figures repeat much better than those of a load generator.
//!
//! Every application serves in every round, so a disturbance of the machine affects all of them. An application is compared
//! with the first one of the same round.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use axum::Router;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::processor;
use crate::table::median;
use crate::workload::User;

/// Connections to each application.
const CONNECTIONS: usize = 32;
/// Requests of a round on each connection.
const TURNS: usize = 16;
/// Rounds that are not counted, at the start of each repeat.
const WARM_UP: usize = 5;
/// Repeats, each with new servers and connections.
const REPEATS: usize = 5;

/// What one application takes.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// Microseconds a request, one value for each round of all repeats.
    pub times: Vec<f64>,
    /// The same beyond the first application.
    pub beyond: Vec<f64>,
    /// Bytes of its first reply.
    pub reply: usize,
}

impl Measured {
    /// The medians of `beyond`, one for each repeat, in ascending order.
    fn repeats(&self) -> Vec<f64> {
        let rounds = self.beyond.chunks(self.beyond.len() / REPEATS);
        let mut medians: Vec<f64> = rounds.map(|rounds| median(&mut rounds.to_vec())).collect();
        medians.sort_by(f64::total_cmp);
        medians
    }
}

/// Measures the applications with the requests of these users, who take turns, in this many rounds a repeat.
///
/// # Panics
///
/// If a socket fails, or a reply is not a greeting; without applications, users or rounds.
#[must_use]
pub fn measure(applications: &[(&str, Router)], users: &[User], rounds: usize) -> Vec<Measured> {
    let requests: Vec<String> = users.iter().map(request).collect();
    let measured =
        |(name, _): &(&str, Router)| Measured { name: (*name).to_owned(), times: vec![], beyond: vec![], reply: 0 };
    let mut measured: Vec<Measured> = applications.iter().map(measured).collect();
    for _ in 0..REPEATS {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
        let mut clients: Vec<Client> =
            applications.iter().map(|(_, application)| Client::start(&runtime, application)).collect();
        for round in 0..WARM_UP + rounds {
            let times: Vec<f64> = clients.iter_mut().map(|client| client.round(&runtime, &requests)).collect();
            if round >= WARM_UP {
                for (measured, time) in measured.iter_mut().zip(&times) {
                    measured.times.push(*time);
                    measured.beyond.push(time - times[0]);
                }
            }
        }
        for (measured, client) in measured.iter_mut().zip(&clients) {
            measured.reply = client.reply;
        }
    }
    measured
}

/// Prints a line for each application: medians of all rounds, the lowest and the highest median of a repeat, and the
/// quartiles of all rounds.
pub fn print(measured: &[Measured]) {
    let Some(first) = measured.first() else { return };
    let (rounds, requests) = (first.times.len() / REPEATS, TURNS * CONNECTIONS);
    println!("server CPU in µs a request: {REPEATS} repeats of {rounds} rounds of {requests} requests\n");
    println!(
        "{:<20} {:>9} {:>14} {:>15} {:>15} {:>12}",
        "",
        "a request",
        format!("above {}", first.name),
        "repeats",
        "quartiles",
        "reply, bytes"
    );
    for (at, row) in measured.iter().enumerate() {
        let time = median(&mut row.times.clone());
        print!("{:<20} {time:>9.2}", row.name);
        if at == 0 {
            print!(" {:>14} {:>15} {:>15}", "", "", "");
        } else {
            let mut beyond = row.beyond.clone();
            let (middle, repeats) = (median(&mut beyond), row.repeats());
            let repeats = format!("{:.2} to {:.2}", repeats[0], repeats[repeats.len() - 1]);
            let quartiles = format!("{:.2} to {:.2}", beyond[beyond.len() / 4], beyond[beyond.len() * 3 / 4]);
            print!(" {middle:>14.2} {repeats:>15} {quartiles:>15}");
        }
        println!(" {:>12}", row.reply);
    }
}

/// A request of the user, as a proxy passes it on.
fn request(user: &User) -> String {
    let User { id, groups, .. } = user;
    format!(
        "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-user-id: {id}\r\nx-user-groups: {groups}\r\n\r\n",
        groups = groups.join(",")
    )
}

/// The connections to one application.
struct Client {
    connections: Vec<TcpStream>,
    /// How many requests were sent on each connection.
    sent: usize,
    /// Bytes of the first reply.
    reply: usize,
}

impl Client {
    /// Serves the application on this runtime and connects to it.
    fn start(runtime: &Runtime, application: &Router) -> Self {
        let application = application.clone();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        runtime.spawn(async move { axum::serve(CountingListener(listener), application).await });
        let connect = |_| {
            let connection = TcpStream::connect(address).expect("the server listens");
            connection.set_nodelay(true).expect("it is a TCP connection");
            connection
        };
        Self { connections: (0..CONNECTIONS).map(connect).collect(), sent: 0, reply: 0 }
    }

    /// Sends the requests of a round; returns the server's microseconds a request.
    fn round(&mut self, runtime: &Runtime, requests: &[String]) -> f64 {
        let mut spent = 0.0;
        let mut buffer = [0; 16 * 1024];
        for _ in 0..TURNS {
            for (at, connection) in self.connections.iter_mut().enumerate() {
                let request = &requests[(self.sent * CONNECTIONS + at) % requests.len()];
                connection.write_all(request.as_bytes()).expect("the server is connected");
            }
            self.sent += 1;
            OWED.set(CONNECTIONS);
            let start = processor::time();
            runtime.block_on(all_replied());
            spent += (processor::time() - start).as_secs_f64() * 1e6;
            for connection in &mut self.connections {
                let len = connection.read(&mut buffer).expect("the server has replied");
                let reply = &buffer[..len];
                let is_greeting = reply.starts_with(b"HTTP/1.1 200 ") && reply[..len - 1].ends_with(b"Hello, World");
                assert!(is_greeting, "{}", String::from_utf8_lossy(reply));
                if self.reply == 0 {
                    self.reply = len;
                }
            }
        }
        spent / (TURNS * CONNECTIONS) as f64
    }
}

thread_local! {
    /// Replies that the server has not written yet.
    static OWED: Cell<usize> = const { Cell::new(0) };
    /// Waits for the last of them.
    static WAITING: Cell<Option<Waker>> = const { Cell::new(None) };
}

async fn all_replied() {
    poll_fn(|cx| {
        if OWED.get() == 0 {
            return Poll::Ready(());
        }
        WAITING.set(Some(cx.waker().clone()));
        Poll::Pending
    })
    .await;
}

/// Counts a write. The server writes a reply in one piece; the client would find another one cut.
fn count<T>(written: Poll<T>) -> Poll<T> {
    if written.is_ready() {
        let owed = OWED.get().saturating_sub(1);
        OWED.set(owed);
        if owed == 0
            && let Some(waker) = WAITING.take()
        {
            waker.wake();
        }
    }
    written
}

struct CountingListener(TcpListener);

impl Listener for CountingListener {
    type Io = CountingStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (CountingStream, SocketAddr) {
        let (stream, address) = self.0.accept().await.expect("a connection can be accepted");
        stream.set_nodelay(true).expect("it is a TCP connection");
        (CountingStream(stream), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A connection of the server that counts its writes.
struct CountingStream(tokio::net::TcpStream);

impl AsyncRead for CountingStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for CountingStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        count(Pin::new(&mut self.0).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        count(Pin::new(&mut self.0).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
