//! Hearing that keys have changed, whoever changed them.

use std::sync::Arc;
use std::time::Duration;

use redis::{PushInfo, PushKind};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::connection::{ANSWER, Connection};
use super::keys::Keys;
use super::server::Server;
use crate::error::{Error, ErrorKind};
use crate::store::feed::{BoxFuture, Notices};

/// How often a connection that says nothing is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(2);

/// The notices of one connection.
pub(super) struct Tracking {
    heard: watch::Receiver<NoticeState>,
    /// Notices of acknowledged edits that this process found to be lost.
    reports: watch::Receiver<u64>,
    /// Asks whether the server is still there, and keeps the connection.
    pings: JoinHandle<()>,
}

/// What was heard so far.
#[derive(Clone, Debug, Default)]
struct NoticeState {
    /// Why nothing will be heard any more.
    lost: Option<NoticesLost>,
}

#[derive(Clone, Debug)]
struct NoticesLost {
    kind: ErrorKind,
    message: String,
}

impl Tracking {
    /// # Errors
    ///
    /// The server cannot be reached, or does not let this user do it.
    pub(super) async fn start(server: &Arc<Server>, keys: &Keys, reports: watch::Receiver<u64>) -> Result<Self, Error> {
        let (changed, heard) = watch::channel(NoticeState::default());
        let sender = changed.clone();
        let ended = format!("redis {}: the connection has ended", server.name);
        let pushed = move |push: PushInfo| match push.kind {
            PushKind::Invalidate => sender.send_modify(|_| {}),
            PushKind::Disconnection => lose(&sender, ErrorKind::Unavailable, ended.clone()),
            _ => {}
        };
        let mut connection = Connection::new(server, Some(Box::new(pushed))).await?;
        let mut track = redis::cmd("CLIENT");
        track.arg("TRACKING").arg("ON").arg("BCAST");
        for prefix in keys.tracked() {
            track.arg("PREFIX").arg(prefix);
        }
        connection.ask_one(track, ANSWER).await?;
        connection.ask_one(redis::cmd("PING"), ANSWER).await?;
        let pings = tokio::spawn(async move {
            loop {
                sleep(PING_EVERY).await;
                if let Err(error) = connection.ask_one(redis::cmd("PING"), ANSWER).await {
                    return lose(&changed, error.kind(), error.chain());
                }
            }
        });
        Ok(Self { heard, reports, pings })
    }
}

impl From<NoticesLost> for Error {
    fn from(NoticesLost { kind, message }: NoticesLost) -> Self {
        Self::new(kind, message)
    }
}

/// The first reason is the one that is told.
fn lose(heard: &watch::Sender<NoticeState>, kind: ErrorKind, message: String) {
    heard.send_modify(|heard| _ = heard.lost.get_or_insert(NoticesLost { kind, message }));
}

impl Drop for Tracking {
    fn drop(&mut self) {
        self.pings.abort();
    }
}

impl Notices for Tracking {
    fn next(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            let lost = self.heard.borrow().lost.clone();
            if let Some(lost) = lost {
                return Err(lost.into());
            }
            // Its senders are with the tasks of the connection, which end with their runtime.
            let ended = |cause| Error::new(ErrorKind::Unavailable, "nobody listens any more").caused_by(cause);
            tokio::select! {
                changed = self.heard.changed() => changed.map_err(ended)?,
                // The store holds its sender.
                Ok(()) = self.reports.changed() => {}
            }
            let lost = self.heard.borrow().lost.clone();
            lost.map_or(Ok(()), |lost| Err(lost.into()))
        })
    }
}
