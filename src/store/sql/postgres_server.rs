//! One PostgreSQL server, as the store and the table of an application share it.

use std::sync::{Arc, Mutex};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgPool, Postgres};

use super::lease::Connections;
use super::listen::Listeners;
use super::notifications::Notifications;
use super::postgres_url::ServerUrl;
use super::trouble::Trouble;
use crate::document::{Problem, Timestamp};
use crate::store::parsing::Parsing;
use crate::store::{Error, Notices};

/// One database and how to reach it. Never shown: the options hold the password.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) name: Arc<str>,
    pub(super) connections: Arc<Connections<Postgres>>,
    listeners: Arc<Listeners>,
    /// When a standby was last known to have everything.
    pub(super) current: Arc<Mutex<Option<Timestamp>>>,
    /// The problem that the choice between TLS and plain text is open.
    pub(super) plaintext: Option<Problem>,
    pub(super) parsing: Parsing,
}

impl Server {
    pub(super) fn new(url: &str) -> Result<Self, Error> {
        let ServerUrl { options, plaintext } = ServerUrl::new(url)?;
        let name = name_of(&options);
        let server = Self::with(name, Connections::own(options.disable_statement_logging()));
        Ok(Self { plaintext, ..server })
    }

    /// How it is connected to is the application's choice.
    pub(super) fn of(pool: PgPool) -> Self {
        let name = name_of(&pool.connect_options());
        Self::with(name, Connections::pool(pool))
    }

    fn with(name: Arc<str>, connections: Connections<Postgres>) -> Self {
        let connections = connections.at(address_of);
        Self {
            name,
            listeners: Arc::new(Listeners::new(connections.answered())),
            connections: Arc::new(connections),
            current: Arc::default(),
            plaintext: None,
            parsing: Parsing::default(),
        }
    }

    /// Hears of what is told on a channel.
    pub(super) async fn listen(&self, channel: &str) -> Result<Box<dyn Notices>, Error> {
        let hearing = async {
            let options = self.connections.options().disable_statement_logging();
            let listener = self.listeners.listen(options, channel).await?;
            let name = Arc::clone(&self.name);
            Ok(Notifications::start(move |teller| async move {
                let trouble = listener.run(&teller).await;
                trouble.into_error::<Postgres>(&name, "changes are no longer heard of")
            }))
        };
        let hearing = hearing
            .await
            .map_err(|trouble: Trouble| trouble.into_error::<Postgres>(&self.name, "changes cannot be heard of"))?;
        Ok(Box::new(hearing))
    }
}

fn address_of(options: &PgConnectOptions) -> Option<(String, u16)> {
    let is_socket = options.get_socket().is_some() || options.get_host().starts_with('/');
    (!is_socket).then(|| (options.get_host().to_owned(), options.get_port()))
}

/// Says where it is, and never as whom.
fn name_of(options: &PgConnectOptions) -> Arc<str> {
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    let schema = options.get_options().and_then(|options| options.split("search_path=").nth(1));
    let schema = schema.and_then(|rest| rest.split_whitespace().next()).map(|schema| format!(" {schema}"));
    let schema = schema.unwrap_or_default();
    match options.get_socket() {
        Some(socket) => format!("postgres {}/{database}{schema}", socket.display()).into(),
        None => format!("postgres {}:{}/{database}{schema}", options.get_host(), options.get_port()).into(),
    }
}
