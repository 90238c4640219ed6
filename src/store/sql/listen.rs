//! A connection to PostgreSQL that only listens.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Acquire, Connection};
use tokio::time::timeout;

use super::hearing::Teller;
use super::lease::{ANSWER, late};
use super::trouble::Trouble;
use crate::store::{Error, ErrorKind};

/// How long nothing may be heard before the server has to answer.
const PING_EVERY: Duration = Duration::from_secs(2);

/// A listener that leaves nothing behind. Dropping a [`PgListener`] says goodbye to the server in a task of its
/// own, which lasts as long as the server is silent.
pub(super) struct Listener {
    listener: Option<PgListener>,
}

/// Listens on a connection of its own, so that it takes none from the application's pool for ever.
pub(super) async fn listen(options: PgConnectOptions, channel: &str) -> Result<Listener, Trouble> {
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(ANSWER).idle_timeout(None).max_lifetime(None);
    let pool = pool.connect_lazy_with(options);
    let listener = late(ANSWER, PgListener::connect_with(&pool)).await?;
    let mut listening = Listener { listener: Some(listener) };
    // What is told while nobody listens is lost: a lost connection ends the listening.
    listening.listener().eager_reconnect(false);
    late(ANSWER, listening.listener().listen(channel)).await?;
    Ok(listening)
}

impl Listener {
    fn listener(&mut self) -> &mut PgListener {
        self.listener.as_mut().expect("it is there until it is dropped")
    }

    /// Tells of every notice until the connection is lost or silent.
    pub(super) async fn run(mut self, teller: &Teller) -> Trouble {
        loop {
            // Giving up waiting loses nothing: `try_recv` takes whole messages only.
            match timeout(PING_EVERY, self.listener().try_recv()).await {
                Ok(Ok(Some(_))) => teller.changed(),
                Ok(Ok(None)) => {
                    return Error::new(ErrorKind::Unavailable, "the connection that listens was lost").into();
                }
                Ok(Err(error)) => return error.into(),
                Err(_) => {
                    let ping = async { self.listener().acquire().await?.ping().await };
                    if let Err(trouble) = late(ANSWER, ping).await {
                        return trouble;
                    }
                }
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Some(listener) = self.listener.take() else { return };
        // The goodbye goes to a runtime that never runs, and ends with it; so does the connection.
        let Ok(nowhere) = tokio::runtime::Builder::new_current_thread().build() else { return drop(listener) };
        let entered = nowhere.enter();
        drop(listener);
        drop(entered);
        nowhere.shutdown_background();
    }
}
