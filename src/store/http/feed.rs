//! The feed over a URL.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::time::{Instant, timeout};

use super::answer;
use super::client::{Answer, UrlClient};
use crate::document::{Document, Problem, Timestamp};
use crate::error::{Error, ErrorKind};
use crate::store::feed::{BoxFuture, Feed, FeedContent, Notices};
use crate::store::history::digest_of;
use crate::store::parsing::Parsing;

/// How often to ask, unless said otherwise.
const EVERY: Duration = Duration::from_secs(30);
/// The bounds of that.
const MIN_EVERY: Duration = Duration::from_secs(1);
const MAX_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an answer may take as a whole. [`Live`](crate::source::Live) gives up after 10 s, without knowing why.
const WITHIN: Duration = Duration::from_secs(9);

/// A JSON document at a URL, as a read-only [`Feed`]: one file in object storage or behind a CDN feeds any number
/// of processes.
///
/// ```no_run
/// use tower_flags::source::Live;
/// use tower_flags::store::HttpFeed;
///
/// # async fn example() -> Result<(), tower_flags::Error> {
/// # let token = "…";
/// let feed = HttpFeed::builder("https://cdn.example.com/flags.json")
///     .header("Authorization", &format!("Bearer {token}"))
///     .build()?;
/// let source = Live::connect(feed).await?; // for `FlagLayer::new`
/// # Ok(())
/// # }
/// ```
///
/// 1. Stored where: in one JSON document of at most 4 MiB, `{"flags": {...}}`, at an `http` or `https` URL.
/// 2. Freshness: [`every`](HttpFeedBuilder::every) 30 s ± 10 %, unless set; there is nothing to listen to. What the
///    server or a cache says with `Cache-Control` is not looked at: a cache between may add its own age.
/// 3. `ETag` (as it was given, weak ones too), else `Last-Modified`, are sent back, and 304 means that nothing is new.
///    A document that was refused is remembered with them, and goes on being reported while the server answers 304.
/// 4. Documents are told apart by the digest of their bytes, so a server that forgets its tags costs transfers alone.
/// 5. `Retry-After`, in seconds or as a date, is kept with 429 and 503: nothing is asked before, for up to an hour.
/// 6. Bounds: 2 s to connect, 5 s without anything coming, 9 s as a whole; the body is cut off where it gets larger
///    than it may be. A server that is frozen is noticed when it is asked next, within 5 s.
/// 7. At most 5 redirects are followed ([`follow_redirects`](HttpFeedBuilder::follow_redirects)): never from https to http,
///    and never from another machine to loopback or link-local addresses, whatever name they have. Headers that were set,
///    and the user of the URL, go to the server of the URL alone.
/// 8. At start without the server, or with what is no document: as every feed under [`Live`](crate::source::Live), which
///    goes on trying; later the last good rules stay. 401, 403 and 407 count as refused credentials, which are tried every
///    5 minutes. Every other status but 200 and 304 counts as away.
/// 9. User, password and query of the URL and values of headers are in no message and no name.
///
/// TLS is rustls with ring, trusting whom the machine trusts, and more with
/// [`root_certificate`](HttpFeedBuilder::root_certificate); nothing has to be installed for the process. The
/// variables `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` are heeded. Answers must not be compressed.
#[derive(Clone)]
pub struct HttpFeed {
    shared: Arc<Shared>,
}

impl fmt::Debug for HttpFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpFeed").field("name", &self.name()).field("every", &self.shared.every).finish()
    }
}

/// Settings of an [`HttpFeed`].
#[must_use = "a builder does nothing until it builds"]
pub struct HttpFeedBuilder {
    url: String,
    headers: Vec<(String, String)>,
    roots: Vec<Vec<u8>>,
    every: Duration,
    within: Duration,
    follows_redirects: bool,
}

impl fmt::Debug for HttpFeedBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("HttpFeedBuilder").field("headers", &headers).field("every", &self.every).finish_non_exhaustive()
    }
}

impl HttpFeedBuilder {
    /// Sends a header with every request to the server of the URL, `Authorization` for example. The value is shown
    /// nowhere.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Whether redirects are followed; `true` unless set. Without, one is an error, and the last good rules stay.
    pub fn follow_redirects(mut self, follow: bool) -> Self {
        self.follows_redirects = follow;
        self
    }

    /// How often to ask: 1 s to 1 day, 30 s unless set. `Live` adds up to 10 % in either direction.
    pub fn every(mut self, interval: Duration) -> Self {
        self.every = interval;
        self
    }

    /// How long an answer may take as a whole; 9 s unless set, and at most that.
    pub fn within(mut self, longest: Duration) -> Self {
        self.within = longest.min(WITHIN);
        self
    }

    /// Trusts the certificates in a PEM text too, those of a company's own authority for example.
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots.push(pem.into());
        self
    }

    /// The feed. Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// No `http` or `https` URL, no header, no certificate, or an interval outside its bounds.
    pub fn build(self) -> Result<HttpFeed, Error> {
        let wrong = |message: String| Error::new(ErrorKind::Configuration, message);
        if !(MIN_EVERY..=MAX_EVERY).contains(&self.every) {
            return Err(wrong(format!("expected an interval of 1 s to 1 day, found {:?}", self.every)));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let no_header = || wrong(format!("the header {name:?} has a name or a value that HTTP does not allow"));
            let key: HeaderName = name.parse().map_err(|_| no_header())?;
            let mut value: HeaderValue = value.parse().map_err(|_| no_header())?;
            value.set_sensitive(true);
            headers.append(key, value);
        }
        let asker = UrlClient::new(&self.url, headers, &self.roots, self.within, self.follows_redirects)?;
        let shared = Shared {
            asker,
            every: self.every,
            within: self.within,
            state: Mutex::default(),
            parsing: Parsing::default(),
        };
        Ok(HttpFeed { shared: Arc::new(shared) })
    }
}

struct Shared {
    asker: UrlClient,
    every: Duration,
    within: Duration,
    state: Mutex<State>,
    parsing: Parsing,
}

#[derive(Default)]
struct State {
    /// The document that the server gave last.
    last: Option<SeenDocument>,
    /// Since when, and until when, the server wants to be left alone.
    rest: Option<RetryAfter>,
}

/// A document that was seen, good or not.
struct SeenDocument {
    /// Headers that ask for another one.
    validators: HeaderMap,
    revision: String,
    refused: Option<Problem>,
}

#[derive(Clone, Copy)]
struct RetryAfter {
    until: Instant,
    /// The same for messages.
    until_instant: Timestamp,
    status: StatusCode,
}

impl HttpFeed {
    /// The document at a URL, with everything at its default.
    ///
    /// # Errors
    ///
    /// It is no `http` or `https` URL.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    /// Settings before the first request.
    pub fn builder(url: &str) -> HttpFeedBuilder {
        let (headers, roots) = (Vec::new(), Vec::new());
        HttpFeedBuilder { url: url.to_owned(), headers, roots, every: EVERY, within: WITHIN, follows_redirects: true }
    }
}

impl Feed for HttpFeed {
    fn name(&self) -> &str {
        &self.shared.asker.name
    }

    fn load<'a>(&'a self, known: Option<&'a str>) -> BoxFuture<'a, Result<Option<FeedContent>, Error>> {
        Box::pin(self.shared.load(known))
    }

    fn subscribe(&self) -> BoxFuture<'_, Result<Box<dyn Notices>, Error>> {
        struct NoNotices;
        impl Notices for NoNotices {
            fn next(&mut self) -> BoxFuture<'_, Result<(), Error>> {
                Box::pin(std::future::pending())
            }
        }
        Box::pin(async { Ok(Box::new(NoNotices) as Box<dyn Notices>) })
    }

    fn resync_every(&self) -> Duration {
        self.shared.every
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(self: &Arc<Self>, known: Option<&str>) -> Result<Option<FeedContent>, Error> {
        if let Some(rest) = self.state().rest.filter(|rest| Instant::now() < rest.until) {
            return Err(self.resting(rest));
        }
        let validators = self.validators(known);
        let has_begun = AtomicBool::new(false);
        let answer = timeout(self.within, self.asker.ask(&validators, &has_begun)).await.unwrap_or_else(|_| {
            let what = if has_begun.load(Ordering::Relaxed) {
                "the answer took longer than"
            } else {
                "it gave no answer within"
            };
            let message = format!("{}: {what} {:?}", self.asker.name, self.within);
            Err(Error::new(ErrorKind::Unavailable, message))
        })?;
        match answer.status {
            StatusCode::OK => self.read(known, answer).await,
            StatusCode::NOT_MODIFIED if !validators.is_empty() => self.unchanged(),
            status => Err(self.refused_by(status, &answer.headers)),
        }
    }

    /// What asks for another document than the last: only where the caller has that, or it was refused.
    fn validators(&self, known: Option<&str>) -> HeaderMap {
        let state = self.state();
        let last = state.last.as_ref().filter(|last| last.refused.is_some() || known == Some(&last.revision));
        last.map(|last| last.validators.clone()).unwrap_or_default()
    }

    fn unchanged(&self) -> Result<Option<FeedContent>, Error> {
        let mut state = self.state();
        state.rest = None;
        match state.last.as_ref().and_then(|last| last.refused.clone()) {
            Some(problem) => Err(Error::refused(problem)),
            None => Ok(None),
        }
    }

    async fn read(self: &Arc<Self>, known: Option<&str>, answer: Answer) -> Result<Option<FeedContent>, Error> {
        let Answer { headers, body, .. } = answer;
        let validators = validators_of(&headers);
        let name = &self.asker.name;
        let body = match body {
            Ok(body) => body,
            Err(problem) => return self.seen(validators, String::new(), Err(problem.in_source(name))),
        };
        let revision = digest_of(&body);
        if known == Some(&revision) {
            self.state().last = Some(SeenDocument { validators, revision, refused: None });
            self.state().rest = None;
            return Ok(None);
        }
        // A large document takes a while, and other requests are served on this thread.
        let document = self.parsing.run(name, move || answer::document(&body, &headers)).await?;
        let document = document.map_err(|problem| problem.in_source(name));
        self.seen(validators, revision, document)
    }

    fn seen(
        &self,
        validators: HeaderMap,
        revision: String,
        document: Result<Document, Problem>,
    ) -> Result<Option<FeedContent>, Error> {
        let refused = document.as_ref().err().cloned();
        let mut state = self.state();
        state.last = Some(SeenDocument { validators, revision: revision.clone(), refused });
        state.rest = None;
        drop(state);
        let mut document = document.map_err(Error::refused)?;
        document.name_source(&self.asker.name);
        Ok(Some(FeedContent::new(document, revision)))
    }

    fn refused_by(&self, status: StatusCode, headers: &HeaderMap) -> Error {
        let now = SystemTime::now();
        if let Some(rest) = answer::rest(status, headers, now) {
            let until_instant = Timestamp::from_unix_millis(Timestamp::from(now + rest).unix_millis());
            let rest = RetryAfter { until: Instant::now() + rest, until_instant, status };
            self.state().rest = Some(rest);
            return self.resting(rest);
        }
        let (kind, message) = answer::refusal(status);
        Error::new(kind, format!("{}: {message}", self.asker.name))
    }

    fn resting(&self, rest: RetryAfter) -> Error {
        let (_, message) = answer::refusal(rest.status);
        let message = format!("{}: {message}, and is not asked before {}", self.asker.name, rest.until_instant);
        Error::new(ErrorKind::Unavailable, message)
    }
}

/// The headers of the next request that say which document is there already.
fn validators_of(headers: &HeaderMap) -> HeaderMap {
    let asked = |from: HeaderName, to: HeaderName| headers.get(from).map(|value| (to, value.clone()));
    let found = asked(header::ETAG, header::IF_NONE_MATCH);
    found.or_else(|| asked(header::LAST_MODIFIED, header::IF_MODIFIED_SINCE)).into_iter().collect()
}
