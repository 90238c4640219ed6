//! A connection to PostgreSQL that only listens.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Acquire, AssertSqlSafe, ConnectOptions, Connection, Executor};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

use super::lease::{ANSWER, LastAnswer, late};
use super::notifications::Notifier;
use super::transaction::SHORT;
use super::trouble::Trouble;
use crate::store::{Error, ErrorKind};

/// How long nothing may be heard before the server has to answer.
const PING_EVERY: Duration = Duration::from_secs(2);

/// The listeners of one store that wait for an answer of the server. No other is started beside them, since in the server
/// they are still connections.
pub(super) struct Listeners {
    unanswered: watch::Sender<usize>,
    /// When the server answered the store's other connections.
    answered: watch::Receiver<LastAnswer>,
    /// Tasks that wait for answers end with the store.
    store: watch::Sender<()>,
}

impl Listeners {
    pub(super) fn new(answered: watch::Receiver<LastAnswer>) -> Self {
        Self { unanswered: watch::Sender::new(0), answered, store: watch::Sender::new(()) }
    }

    /// Listens on a separate connection, so that it does not keep one of the application's pool forever.
    pub(super) async fn listen(
        self: &Arc<Self>,
        options: PgConnectOptions,
        channel: &str,
    ) -> Result<Listener, Trouble> {
        let mut unanswered = self.unanswered.subscribe();
        let all_answered = timeout(ANSWER, unanswered.wait_for(|count| *count == 0)).await;
        all_answered.map_err(|_| Trouble::Late(ANSWER))?.map_err(|_| sqlx::Error::PoolClosed)?;
        let (mut unanswered, listeners) = (self.unanswered(), Arc::downgrade(self));
        // For the server a text ends at its first zero byte.
        let channel = channel.split('\0').next().unwrap_or_default().replace('"', "\"\"");
        let (starting, started) = oneshot::channel();
        // A start that takes too long continues: if abandoned, it would still be under way in the server.
        tokio::spawn(async move {
            let listener = tokio::select! {
                listener = start(options, &channel, listeners) => listener,
                () = unanswered.is_lost(|answered| answered.opened) => return,
            };
            drop(unanswered);
            // It ends if the caller has stopped waiting.
            let _ = starting.send(listener);
        });
        match timeout(ANSWER, started).await {
            Ok(Ok(listener)) => Ok(listener?),
            Ok(Err(_)) | Err(_) => Err(Trouble::Late(ANSWER)),
        }
    }

    fn unanswered(&self) -> PendingAnswer {
        self.unanswered.send_modify(|count| *count += 1);
        PendingAnswer { count: self.unanswered.clone(), answered: self.answered.clone(), store: self.store.subscribe() }
    }
}

async fn start(options: PgConnectOptions, channel: &str, listeners: Weak<Listeners>) -> Result<Listener, sqlx::Error> {
    // A pool keeps trying for a while if no server is there, and then abandons the attempt. This connection fails at once
    // if no server is there, and waits otherwise.
    options.connect().await?.close().await?;
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(ANSWER).idle_timeout(None).max_lifetime(None);
    let listener = PgListener::connect_with(&pool.connect_lazy_with(options)).await?;
    let mut listener = Listener { listener: SilentListener(Some(listener)), listeners };
    // What is told while nobody listens is lost: a lost connection ends the listening.
    listener.get().eager_reconnect(false);
    let listen = format!("BEGIN; {SHORT}; LISTEN \"{channel}\"; COMMIT");
    listener.get().execute(sqlx::raw_sql(AssertSqlSafe(listen))).await?;
    Ok(listener)
}

/// A listener that counts as waiting for an answer.
struct PendingAnswer {
    count: watch::Sender<usize>,
    answered: watch::Receiver<LastAnswer>,
    store: watch::Receiver<()>,
}

impl PendingAnswer {
    /// Waits until the store is dropped, or the server has long answered others.
    async fn is_lost(&mut self, last: fn(&LastAnswer) -> Option<Instant>) {
        tokio::select! {
            () = LastAnswer::others(&mut self.answered, last) => {}
            _ = self.store.changed() => {}
        }
    }
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        self.count.send_modify(|count| *count -= 1);
    }
}

pub(super) struct Listener {
    listener: SilentListener,
    listeners: Weak<Listeners>,
}

impl Listener {
    fn get(&mut self) -> &mut PgListener {
        self.listener.get()
    }

    /// Tells of every notice until the connection is lost or silent.
    pub(super) async fn run(mut self, teller: &Notifier) -> Trouble {
        loop {
            // Giving up waiting loses nothing: `try_recv` takes whole messages only.
            match timeout(PING_EVERY, self.get().try_recv()).await {
                Ok(Ok(Some(_))) => teller.changed(),
                Ok(Ok(None)) => {
                    // Any request would make it connect again.
                    drop(std::mem::take(&mut self.listener));
                    return Error::new(ErrorKind::Unavailable, "the connection that listens was lost").into();
                }
                Ok(Err(error)) => return error.into(),
                Err(_) => {
                    if let Err(trouble) = late(ANSWER, self.listener.ping()).await {
                        return trouble;
                    }
                }
            }
        }
    }
}

impl Drop for Listener {
    /// Keeps the connection until the server has answered.
    fn drop(&mut self) {
        let mut listener = std::mem::take(&mut self.listener);
        let (Some(listeners), Ok(runtime)) = (self.listeners.upgrade(), Handle::try_current()) else { return };
        if listener.0.is_none() {
            return;
        }
        let mut unanswered = listeners.unanswered();
        drop(listeners);
        runtime.spawn(async move {
            tokio::select! {
                _ = listener.ping() => {}
                () = unanswered.is_lost(|answered| answered.any) => {}
            }
            drop(listener);
            drop(unanswered);
        });
    }
}

/// A listener that leaves nothing behind. Dropping a [`PgListener`] says goodbye to the server in a task of its
/// own, which lasts as long as the server is silent.
#[derive(Default)]
struct SilentListener(Option<PgListener>);

impl SilentListener {
    fn get(&mut self) -> &mut PgListener {
        self.0.as_mut().expect("it is there until it is dropped")
    }

    async fn ping(&mut self) -> Result<(), sqlx::Error> {
        self.get().acquire().await?.ping().await
    }
}

impl Drop for SilentListener {
    fn drop(&mut self) {
        let Some(listener) = self.0.take() else { return };
        // The goodbye goes to a runtime that never runs, and ends with it; so does the connection.
        let Ok(nowhere) = tokio::runtime::Builder::new_current_thread().build() else { return drop(listener) };
        let entered = nowhere.enter();
        drop(listener);
        drop(entered);
        nowhere.shutdown_background();
    }
}
