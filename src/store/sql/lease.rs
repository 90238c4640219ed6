//! Connections that are used by one task at a time, and never again after something went wrong on them.
//!
//! A connection that does not answer still exists in the server, whatever is done to it here. It keeps its place among
//! the four until the server has answered, so that a locked or frozen server gets no more of them. The last place is
//! there to find out whether the server has moved. It is used only when the others have been silent for a long time; if
//! a connection on it answers, the silent ones are dropped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{ConnectOptions, Connection, Database, Pool};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::trouble::Trouble;

/// How long connecting, and any answer, may take.
pub(super) const ANSWER: Duration = Duration::from_secs(2);
/// How long everything may take that is read at once, and making the tables.
pub(super) const WHOLE: Duration = Duration::from_secs(5);
/// The most connections that a store has, beside the one that listens.
const MOST: usize = 4;
/// How long a silent connection keeps its place although the server answers others: as long as the longest pause between
/// attempts to reach a server.
const SILENT: Duration = Duration::from_secs(30);

type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

/// Where connections come from.
pub(super) struct Connections<DB: Database> {
    origin: Origin<DB>,
    places: Arc<Places>,
    /// Tasks that wait for silent connections end with the store.
    store: watch::Sender<()>,
    /// Where the server is, if that is known.
    address: Option<Address<DB>>,
}

/// The host and port in the options, unless it is a socket of this machine.
pub(super) type Address<DB> = fn(&Options<DB>) -> Option<(String, u16)>;

enum Origin<DB: Database> {
    /// Made when they are needed. A pool of `sqlx` would hide for two seconds that nobody listens, and why.
    Own(Arc<OwnConnections<DB>>),
    /// The application's.
    Pool(Pool<DB>),
}

struct OwnConnections<DB: Database> {
    options: Options<DB>,
    idle: Mutex<Vec<DB::Connection>>,
    /// Raised when what is open is of no use any more.
    generation: AtomicU64,
}

impl<DB: Database> Connections<DB> {
    pub(super) fn own(options: Options<DB>) -> Self {
        Self::of(Origin::Own(Arc::new(OwnConnections {
            options,
            idle: Mutex::default(),
            generation: AtomicU64::new(0),
        })))
    }

    pub(super) fn pool(pool: Pool<DB>) -> Self {
        Self::of(Origin::Pool(pool))
    }

    fn of(origin: Origin<DB>) -> Self {
        Self { origin, places: Arc::new(Places::new()), store: watch::Sender::new(()), address: None }
    }

    /// Says where the server is.
    #[cfg(feature = "postgres")]
    pub(super) fn at(self, address: Address<DB>) -> Self {
        Self { address: Some(address), ..self }
    }

    /// When the server answered last.
    #[cfg(feature = "postgres")]
    pub(super) fn answered(&self) -> watch::Receiver<LastAnswer> {
        self.places.answered.subscribe()
    }

    #[cfg(feature = "sqlite")]
    pub(super) fn is_pool(&self) -> bool {
        matches!(self.origin, Origin::Pool(_))
    }

    /// How to connect beside them.
    pub(super) fn options(&self) -> Options<DB> {
        match &self.origin {
            Origin::Own(own) => own.options.clone(),
            Origin::Pool(pool) => Options::<DB>::clone(&pool.connect_options()),
        }
    }

    /// A connection that answers.
    pub(super) async fn lease(&self) -> Result<Lease<DB>, Trouble> {
        let (permit, is_last) = match timeout(ANSWER, Arc::clone(&self.places.free).acquire_owned()).await {
            Ok(permit) => (permit.map_err(|_| sqlx::Error::PoolClosed)?, false),
            Err(_) => (self.last_permit().await?, true),
        };
        let places = Arc::clone(&self.places);
        let mut place = Place { _permit: permit, is_last, places, store: self.store.subscribe() };
        if let Origin::Own(own) = &self.origin {
            while let Some(held) = own.held() {
                let mut lease = Lease(Some((held, place)));
                // A connection that the server has closed is replaced. A silent one means that the server is silent.
                if late(ANSWER, lease.connection().ping()).await.map(|()| true).or_else(Trouble::unless_late)? {
                    self.places.answered.send_modify(|answered| answered.any = Some(Instant::now()));
                    return Ok(lease);
                }
                place = lease.into_place();
            }
        }
        self.open(place).await
    }

    /// The place that is kept for a server that has moved.
    async fn last_permit(&self) -> Result<OwnedSemaphorePermit, Trouble> {
        let permit = self.places.last().ok_or_else(|| self.late())?;
        // A host that is not there would keep it for minutes.
        if let Some((host, port)) = self.address.and_then(|address| address(&self.options())) {
            let reached = timeout(ANSWER, TcpStream::connect((host.as_str(), port))).await;
            reached.map_err(|_| self.late())?.map_err(sqlx::Error::Io)?;
        }
        Ok(permit)
    }

    /// An attempt that takes too long continues: if abandoned, it would still be under way in the server.
    async fn open(&self, mut place: Place) -> Result<Lease<DB>, Trouble> {
        let (opening, opened) = oneshot::channel();
        let held = self.origin.open();
        tokio::spawn(async move {
            let held = tokio::select! {
                held = held => held,
                () = place.is_lost(|answered| answered.opened) => return,
            };
            if held.is_ok() {
                let now = Some(Instant::now());
                place.places.answered.send_replace(LastAnswer { any: now, opened: now });
            }
            // If the caller has stopped waiting, the next one gets it.
            if let Err(Ok(lease)) = opening.send(held.map(|held| Lease(Some((held, place))))) {
                lease.give_back();
            }
        });
        match timeout(ANSWER, opened).await {
            Ok(Ok(lease)) => Ok(lease?),
            Ok(Err(_)) | Err(_) => Err(self.late()),
        }
    }

    fn late(&self) -> Trouble {
        match self.origin {
            Origin::Own(_) => Trouble::Late(ANSWER),
            // The pool's own limit is for requests of the application, usually 30 s.
            Origin::Pool(_) => sqlx::Error::PoolTimedOut.into(),
        }
    }

    /// Opens new connections from now on.
    #[cfg(feature = "sqlite")]
    pub(super) fn forget_open(&self) {
        if let Origin::Own(own) = &self.origin {
            own.generation.fetch_add(1, Ordering::AcqRel);
            own.idle().clear();
        }
    }
}

impl<DB: Database> Origin<DB> {
    fn open(&self) -> impl Future<Output = Result<LeasedConnection<DB>, sqlx::Error>> + Send + use<DB> {
        let opening = match self {
            Self::Own(own) => Ok((Arc::clone(own), own.generation.load(Ordering::Acquire))),
            Self::Pool(pool) => Err(pool.acquire()),
        };
        async {
            Ok(match opening {
                Ok((own, generation)) => {
                    LeasedConnection::Own { connection: own.options.connect().await?, own, generation }
                }
                Err(acquired) => LeasedConnection::Pooled(acquired.await?),
            })
        }
    }
}

impl<DB: Database> OwnConnections<DB> {
    fn idle(&self) -> MutexGuard<'_, Vec<DB::Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An open connection.
    fn held(self: &Arc<Self>) -> Option<LeasedConnection<DB>> {
        let generation = self.generation.load(Ordering::Acquire);
        let connection = self.idle().pop()?;
        Some(LeasedConnection::Own { connection, own: Arc::clone(self), generation })
    }
}

/// The connections that a store may have.
struct Places {
    /// All but the last.
    free: Arc<Semaphore>,
    /// When one of those was given back.
    given_back: Mutex<Instant>,
    last: Arc<Semaphore>,
    answered: watch::Sender<LastAnswer>,
}

impl Places {
    fn new() -> Self {
        Self {
            free: Arc::new(Semaphore::new(MOST - 1)),
            given_back: Mutex::new(Instant::now()),
            last: Arc::new(Semaphore::new(1)),
            answered: watch::Sender::default(),
        }
    }

    /// The last one, where all others have long been taken.
    fn last(&self) -> Option<OwnedSemaphorePermit> {
        let is_due = self.given_back().elapsed() >= SILENT;
        is_due.then(|| Arc::clone(&self.last).try_acquire_owned().ok()).flatten()
    }

    fn given_back(&self) -> MutexGuard<'_, Instant> {
        self.given_back.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a server answered last.
#[derive(Clone, Copy, Default)]
pub(super) struct LastAnswer {
    pub(super) any: Option<Instant>,
    /// On a connection that was new.
    pub(super) opened: Option<Instant>,
}
impl LastAnswer {
    /// Waits until a connection has been silent for a long time from now on, and the server has answered others.
    pub(super) async fn others(answered: &mut watch::Receiver<Self>, last: fn(&Self) -> Option<Instant>) {
        // What was under way before may still be answered.
        let since = Instant::now() + ANSWER;
        sleep(SILENT).await;
        // It ends with the store.
        let _ = answered.wait_for(|answered| last(answered) > Some(since)).await;
    }
}

/// One of the connections that a store may have.
struct Place {
    _permit: OwnedSemaphorePermit,
    is_last: bool,
    places: Arc<Places>,
    store: watch::Receiver<()>,
}

impl Place {
    /// Waits until a silent connection has to give up its place: when the store is dropped, or when all places are taken
    /// and the server has answered other connections for a long time.
    async fn is_lost(&mut self, last: fn(&LastAnswer) -> Option<Instant>) {
        let mut answered = self.places.answered.subscribe();
        let needed = async {
            LastAnswer::others(&mut answered, last).await;
            while self.places.free.available_permits() > 0 {
                sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = needed => {}
            _ = self.store.changed() => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_last {
            *self.places.given_back() = Instant::now();
        }
    }
}

/// A connection in use. If it is not given back, it is closed: after a failure, or an abandoned request, it may still
/// hold an old answer. It keeps its place until the server has answered.
pub(super) struct Lease<DB: Database>(Option<(LeasedConnection<DB>, Place)>);

enum LeasedConnection<DB: Database> {
    Own { connection: DB::Connection, own: Arc<OwnConnections<DB>>, generation: u64 },
    Pooled(PoolConnection<DB>),
}

impl<DB: Database> Lease<DB> {
    pub(super) fn connection(&mut self) -> &mut DB::Connection {
        self.0.as_mut().expect("it is held until it is given back").0.connection()
    }

    /// For the next one; nothing is under way on it.
    pub(super) fn give_back(mut self) {
        let Some((held, _place)) = self.0.take() else { return };
        match held {
            LeasedConnection::Own { connection, own, generation } => {
                let mut idle = own.idle();
                if own.generation.load(Ordering::Acquire) == generation {
                    idle.push(connection);
                }
            }
            LeasedConnection::Pooled(connection) => drop(connection),
        }
    }

    /// The place of a connection that the server has closed.
    fn into_place(mut self) -> Place {
        let (held, place) = self.0.take().expect("it is held until it is given back");
        drop(AbandonedConnection(Some(held)));
        place
    }
}

impl<DB: Database> Drop for Lease<DB> {
    fn drop(&mut self) {
        let Some((held, mut place)) = self.0.take() else { return };
        let mut silent = AbandonedConnection(Some(held));
        // After the end of the runtime, nothing can be awaited.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            let is_answered = tokio::select! {
                answer = silent.ping() => answer.is_ok(),
                () = place.is_lost(|answered| answered.any) => false,
            };
            if is_answered {
                silent.close().await;
            }
            drop(place);
        });
    }
}

impl<DB: Database> LeasedConnection<DB> {
    fn connection(&mut self) -> &mut DB::Connection {
        match self {
            Self::Own { connection, .. } => connection,
            Self::Pooled(connection) => connection,
        }
    }

    fn into_connection(self) -> DB::Connection {
        match self {
            Self::Own { connection, .. } => connection,
            Self::Pooled(connection) => connection.detach(),
        }
    }
}

/// A connection that is never used again, and never returns to a pool.
struct AbandonedConnection<DB: Database>(Option<LeasedConnection<DB>>);

impl<DB: Database> AbandonedConnection<DB> {
    /// Waits for the request that is under way.
    async fn ping(&mut self) -> Result<(), sqlx::Error> {
        match &mut self.0 {
            Some(held) => held.connection().ping().await,
            None => Ok(()),
        }
    }

    async fn close(mut self) {
        if let Some(held) = self.0.take() {
            // If closing it properly fails, it is closed anyway.
            let _ = timeout(ANSWER, held.into_connection().close()).await;
        }
    }
}

impl<DB: Database> Drop for AbandonedConnection<DB> {
    fn drop(&mut self) {
        drop(self.0.take().map(LeasedConnection::into_connection));
    }
}

/// What comes within this time.
pub(super) async fn late<T, E: Into<Trouble>>(
    longest: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, Trouble> {
    match timeout(longest, answer).await {
        Ok(outcome) => outcome.map_err(Into::into),
        Err(_) => Err(Trouble::Late(longest)),
    }
}
