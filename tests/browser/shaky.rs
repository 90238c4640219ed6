//! A store that can be away.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower_flags::document::Edit;
use tower_flags::store::{
    Author, BoxFuture, Capabilities, Change, Commit, Error, ErrorKind, Feed, FeedContent, FileStore, HistoryEntry,
    HistoryPage, Notices, Store, StoreExt, Stored,
};

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Up,
    /// Nothing can be read or written.
    Down,
    /// What is written is kept, and not answered; the rest works.
    Mute,
    /// One more edit is taken, then it is down.
    Once,
    /// Edits are rejected until somebody changes the set-up.
    ReadOnly,
}

#[derive(Clone)]
pub(crate) struct Shaky {
    store: FileStore,
    fate: Arc<Mutex<Fate>>,
    /// The flag whose entries of the history were forged.
    forged: Arc<Mutex<Option<String>>>,
}

impl Shaky {
    pub(crate) fn over(store: FileStore) -> Self {
        Self { store, fate: Arc::new(Mutex::new(Fate::Up)), forged: Arc::default() }
    }

    pub(crate) fn is(&self, fate: &str) {
        *self.fate.lock().unwrap() = match fate {
            "down" => Fate::Down,
            "mute" => Fate::Mute,
            "once" => Fate::Once,
            "read-only" => Fate::ReadOnly,
            _ => Fate::Up,
        };
    }

    /// Somebody whose way to the store is not cut off gives a flag another percentage.
    pub(crate) async fn edit_elsewhere(&self, flag: &str, percentage: u32) {
        let change = Change::edit(Edit::new().set("percentage", percentage));
        self.store.change(flag, change, &Author::new("carol").because("from elsewhere")).await.unwrap();
    }

    /// Loses flags, as by `DEL`, an eviction or `FLUSHALL`: all texts of others stay as they are.
    pub(crate) fn lose(&self, is_lost: impl Fn(&str) -> bool) {
        type Texts = std::collections::BTreeMap<String, Box<serde_json::value::RawValue>>;
        let path = self.store.name();
        let mut document: std::collections::BTreeMap<String, Texts> =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        document.get_mut("flags").unwrap().retain(|name, _| !is_lost(name));
        let beside = format!("{path}.lost");
        std::fs::write(&beside, serde_json::to_string(&document).unwrap()).unwrap();
        std::fs::rename(beside, path).unwrap();
    }

    /// Somebody puts another name into a flag's entries of the history, past everything; `-` puts all back.
    pub(crate) fn forge(&self, flag: &str) {
        *self.forged.lock().unwrap() = Some(flag.to_owned());
    }

    /// Whether edits are taken.
    fn take(&self) -> Result<(), Error> {
        match *self.fate.lock().unwrap() {
            Fate::ReadOnly => Err(Error::rejected("shaky", "the server is read-only").permanent()),
            _ => Ok(()),
        }
    }

    fn gate(&self) -> Result<(), Error> {
        match *self.fate.lock().unwrap() {
            Fate::Down => Err(Error::new(ErrorKind::Unavailable, "the store is down")),
            _ => Ok(()),
        }
    }
}

impl Feed for Shaky {
    fn name(&self) -> &str {
        "shaky"
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        Box::pin(async move {
            self.gate()?;
            // As of a store with one record for each flag.
            Ok(self.store.load(known).await?.map(FeedContent::records_removals))
        })
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        self.store.subscribe()
    }

    fn resync_every(&self) -> Duration {
        Duration::from_millis(200)
    }
}

impl Store for Shaky {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn read<'a>(&'a self, flag: &'a str) -> BoxFuture<'a, Result<Stored, Error>> {
        Box::pin(async move {
            self.gate()?;
            self.store.read(flag).await
        })
    }

    fn commit<'a>(&'a self, commit: &'a Commit) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            self.gate()?;
            self.take()?;
            let is_made = self.store.commit(commit).await?;
            let mut fate = self.fate.lock().unwrap();
            match *fate {
                Fate::Mute => Err(Error::new(ErrorKind::InDoubt, "the connection broke off before the answer")),
                Fate::Once => {
                    *fate = Fate::Down;
                    Ok(is_made)
                }
                Fate::Up | Fate::Down | Fate::ReadOnly => Ok(is_made),
            }
        })
    }

    fn history<'a>(&'a self, page: &'a HistoryPage) -> BoxFuture<'a, Result<Vec<HistoryEntry>, Error>> {
        Box::pin(async move {
            self.gate()?;
            let mut entries = self.store.history(page).await?;
            let forged = self.forged.lock().unwrap().clone();
            for entry in entries.iter_mut().filter(|entry| Some(&entry.flag) == forged.as_ref()) {
                entry.actor = Some("mallory".to_owned());
            }
            Ok(entries)
        })
    }
}
