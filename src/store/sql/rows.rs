//! What rows of either database come to.

use std::borrow::Cow;

#[cfg(feature = "postgres")]
use crate::document::MAX_FLAG;
use crate::document::{Document, MAX_FLAGS, MAX_LOOKED_AT, Problem, Raw, Timestamp};
use crate::store::history::Digester;
use crate::store::parsing::Parsing;
use crate::store::{Error, FeedContent, Head, HistoryEntry};

/// The rows of one load, from one moment.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) flags: Vec<FlagRow>,
    /// `None` for somebody else's table.
    pub(super) head: Option<Head>,
    /// Bytes of the texts that are here.
    pub(super) held: usize,
}

/// What is known of one name. Names and texts are bytes: what is no text costs that flag alone.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FlagRow {
    pub(super) name: Vec<u8>,
    pub(super) text: Option<Text>,
    /// The version that the last edit left, where there was one, and whether it removed the flag.
    pub(super) edited: Option<(u64, bool)>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Text {
    Bytes(Vec<u8>),
    /// It stays where it is, by its length: larger than any flag may be, or one of too many.
    Unread(usize),
}

impl Text {
    /// From a column that is NULL where the text stays where it is, and the length of the text.
    pub(super) fn new(bytes: Option<Vec<u8>>, length: Option<i64>) -> Option<Self> {
        let length = usize::try_from(length?).unwrap_or_default();
        Some(bytes.map_or(Self::Unread(length), Self::Bytes))
    }

    fn raw(&self) -> Raw<'_> {
        match self {
            Self::Bytes(bytes) => Raw::Text(bytes),
            Self::Unread(length) => Raw::Unread(*length),
        }
    }
}

/// A column with `text`, or NULL where its `length` is above [`MAX_FLAG`], or where it and those that are shorter are
/// above [`MAX_LOOKED_AT`] together. In SQLite, which would sort the texts themselves, [`Rows::add`] does it.
#[cfg(feature = "postgres")]
pub(super) fn read_column(text: &str, length: &str, name: &str) -> String {
    format!(
        "CASE WHEN {length} OPERATOR(pg_catalog.<=) {MAX_FLAG} AND pg_catalog.sum({length}) OVER (ORDER BY {length}, {name}) \
         OPERATOR(pg_catalog.<=) {MAX_LOOKED_AT} THEN {text} END"
    )
}

impl Rows {
    /// Adds a row, and leaves the longest texts where they are that are more than [`MAX_LOOKED_AT`] together.
    pub(super) fn add(&mut self, row: FlagRow) {
        let length = |row: &FlagRow| match &row.text {
            Some(Text::Bytes(bytes)) => bytes.len(),
            _ => 0,
        };
        self.held += length(&row);
        self.flags.push(row);
        while self.held > MAX_LOOKED_AT {
            let longest =
                self.flags.iter_mut().max_by(|one, other| (length(one), &one.name).cmp(&(length(other), &other.name)));
            let Some(longest) = longest else { return };
            self.held -= length(longest);
            longest.text = Some(Text::Unread(length(longest)));
        }
    }

    /// What they come to, unless the caller knows it. Takes a while where there are many.
    pub(super) fn load(mut self, known: Option<&str>) -> Result<Option<FeedContent>, Error> {
        // One row above the limit is asked for; of a table of the application's whatever it holds.
        let count = self.flags.iter().filter(|row| row.text.is_some() || self.head.is_none()).count();
        if count > MAX_FLAGS {
            let problem = Problem::new(format!("at most {MAX_FLAGS} rows with flags"), "more");
            return Err(Error::refused(problem.with_help("the last good rules stay in force")));
        }
        // A database gives them in any order.
        self.flags.sort_unstable();
        let revision = self.revision();
        if known == Some(&*revision) {
            return Ok(None);
        }
        let names: Vec<Cow<'_, str>> = self.flags.iter().map(|row| String::from_utf8_lossy(&row.name)).collect();
        let named = || names.iter().map(AsRef::as_ref).zip(&self.flags);
        let document = Document::from_raw(named().filter_map(|(name, row)| Some((name, row.text.as_ref()?.raw()))));
        let loaded = FeedContent::new(document.map_err(Error::refused)?, revision);
        // A table of the application's, which other programs read too.
        let Some(head) = &self.head else { return Ok(Some(loaded.shared_with_others())) };
        let is_removed = |row: &FlagRow| row.text.is_none() && matches!(row.edited, Some((_, true)));
        let loaded = loaded
            .with_versions(named().filter_map(|(name, row)| Some((name, row.edited?.0))))
            .with_removed(named().filter(|(_, row)| is_removed(row)).map(|(name, _)| name))
            .records_removals()
            .at_sequence(head.number);
        Ok(Some(loaded))
    }

    /// A digest of all of it: whoever changed anything, also by putting an older copy in place, changes it.
    fn revision(&self) -> String {
        let mut digesting = Digester::default();
        let mut part = |tag: u8, bytes: &[u8]| {
            digesting.add(&[tag]);
            digesting.add(bytes);
        };
        if let Some(Head { number, digest }) = &self.head {
            part(b'h', &number.to_le_bytes());
            part(b'd', digest.as_bytes());
        }
        for FlagRow { name, text, edited } in &self.flags {
            part(b'n', name);
            match text {
                Some(Text::Bytes(bytes)) => part(b't', bytes),
                Some(Text::Unread(length)) => part(b'l', &length.to_le_bytes()),
                None => {}
            }
            if let Some((version, is_removed)) = edited {
                part(if *is_removed { b'r' } else { b'v' }, &version.to_le_bytes());
            }
        }
        digesting.finish()
    }
}

/// Parses rows where nobody waits for the thread.
pub(super) async fn load(
    store: &str,
    parsing: &Parsing,
    rows: Rows,
    known: Option<&str>,
) -> Result<Option<FeedContent>, Error> {
    let known = known.map(str::to_owned);
    parsing.run(store, move || rows.load(known.as_deref())).await?
}

/// Numbers of ours in a column; the databases have none without sign.
pub(super) fn to_column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What a column holds, where somebody else may have written it.
pub(super) fn from_column(number: Option<i64>) -> u64 {
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

pub(super) fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The columns of an entry of the history, in the order of the table.
pub(super) struct EntryRow {
    pub(super) numbers: [Option<i64>; 3],
    pub(super) texts: [Option<Vec<u8>>; 6],
}

impl EntryRow {
    pub(super) fn entry(self) -> HistoryEntry {
        let [number, version, at] = self.numbers;
        let [flag, actor, reason, before, after, previous] = self.texts.map(|text| text.map(text_of));
        HistoryEntry {
            number: from_column(number),
            flag: flag.unwrap_or_default(),
            version: from_column(version),
            at: Timestamp::from_unix_millis(at.unwrap_or_default()),
            actor,
            reason,
            before,
            after,
            previous: previous.unwrap_or_default(),
        }
    }
}
