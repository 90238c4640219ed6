//! The history beside the file: JSON lines that are only ever added.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::guarded;
use crate::error::without_values;
use crate::store::history::{Head, HistoryEntry, HistoryPage, digest_of};

/// One line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// Written and synced before the flags are: an edit that may still not come to be.
    Edit(JournalEdit),
    /// The edit that ends with this head is in the file of flags.
    Applied(Head),
    /// The edit that ends with this head never came to be: it is no part of the history.
    NotApplied(Head),
}

/// An edit, and which file it makes of which.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct JournalEdit {
    /// The digest of the file of flags before.
    pub(super) file_before: String,
    /// Its digest after.
    pub(super) file_after: String,
    /// The digest of the last entry, as it was written: by a key where there is one, and so that a change of the line
    /// shows. Lines of the first versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
    pub(super) entries: Vec<HistoryEntry>,
}

impl JournalEdit {
    pub(super) fn head(&self) -> Head {
        let Some(last) = self.entries.last() else { return Head::default() };
        Head::new(last.number, self.digest.clone().unwrap_or_else(|| last.digest()))
    }
}

impl Line {
    pub(super) fn text(&self) -> io::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}

/// What the history says of one flag.
#[derive(Clone, Debug)]
pub(super) struct FlagHistory {
    pub(super) version: u64,
    /// The digest of the text that the last edit left; empty where it left none.
    pub(super) content: String,
    line: usize,
}

/// Where a line stands that is part of the history.
#[derive(Clone, Debug)]
struct Place {
    offset: u64,
    len: usize,
    flag: Arc<str>,
    /// The number of its first entry, as the line says.
    first: u64,
}

/// An edit that no later line has decided on.
#[derive(Clone, Debug)]
struct PendingEdit {
    place: Place,
    /// It may be taken back, and another one of the same length written in its place.
    line: Vec<u8>,
    head: Head,
    edited: JournalEdit,
}

/// The history as far as it was read. Texts stay in the file.
#[derive(Debug, Default)]
pub(super) struct Journal {
    path: PathBuf,
    /// How far it was read: the end of a line.
    end: u64,
    /// The last bytes before that, which show that it is still the same file.
    last_bytes: Vec<u8>,
    lines: Vec<Place>,
    flags: HashMap<Arc<str>, FlagHistory>,
    head: Head,
    /// The digest of the file of flags that the last edit left.
    file: String,
    pending: Option<PendingEdit>,
}

/// What came of looking for new lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Some,
    None,
}

/// Bytes that are compared to see that a file has only grown.
const LAST_BYTES: usize = 128;

/// A line says that what was taken in before is otherwise.
struct Contradiction;

impl Journal {
    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    pub(super) fn flags(&self) -> impl Iterator<Item = (&str, &FlagHistory)> {
        self.flags.iter().map(|(name, known)| (&**name, known))
    }

    pub(super) fn flag(&self, name: &str) -> Option<&FlagHistory> {
        self.flags.get(name)
    }

    /// Whether an edit, made or not yet made, has left, or found, this content of the file of flags.
    pub(super) fn knows(&self, file: &str) -> bool {
        self.file == file || self.pending.as_ref().is_some_and(|pending| pending.edited.file_after == file)
    }

    /// The edit that no line has decided on.
    pub(super) fn pending(&self) -> Option<&JournalEdit> {
        self.pending.as_ref().map(|pending| &pending.edited)
    }

    /// Takes the pending edit for made, or for not made.
    pub(super) fn decide(&mut self, is_applied: bool) {
        if let Some(pending) = self.pending.take().filter(|_| is_applied) {
            self.apply(pending);
        }
    }

    /// Reads what was added to the file at `path`, or all of it where it is another one than before.
    pub(super) fn catch_up(&mut self, path: &Path) -> io::Result<News> {
        if self.path != path {
            *self = Self { path: path.to_owned(), ..Self::default() };
        }
        let file = match guarded::open_itself(path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let news = if self.end == 0 { News::None } else { News::Some };
                *self = Self { path: path.to_owned(), ..Self::default() };
                return Ok(news);
            }
            Err(error) => return Err(error),
        };
        let mut reader = BufReader::new(file);
        if !self.is_continued_by(&mut reader)? {
            *self = Self { path: path.to_owned(), ..Self::default() };
            reader.seek(SeekFrom::Start(0))?;
        }
        let end = self.end;
        if let Err(Contradiction) = self.read(&mut reader, end == 0)? {
            *self = Self { path: path.to_owned(), ..Self::default() };
            reader.seek(SeekFrom::Start(0))?;
            let _ = self.read(&mut reader, true)?;
        }
        Ok(if self.end == end { News::None } else { News::Some })
    }

    /// Whether the file still has what was read of it, and leaves the reader at the end of that.
    fn is_continued_by(&self, reader: &mut BufReader<File>) -> io::Result<bool> {
        if reader.get_ref().metadata()?.len() < self.end {
            return Ok(false);
        }
        let mut has = |offset: u64, bytes: &[u8]| -> io::Result<bool> {
            reader.seek(SeekFrom::Start(offset))?;
            let mut found = vec![0; bytes.len()];
            reader.read_exact(&mut found)?;
            Ok(found == bytes)
        };
        let has_pending = match &self.pending {
            Some(pending) => has(pending.place.offset, &pending.line)?,
            None => true,
        };
        Ok(has_pending && has(self.end - self.last_bytes.len() as u64, &self.last_bytes)?)
    }

    fn read(&mut self, reader: &mut BufReader<File>, is_from_start: bool) -> io::Result<Result<(), Contradiction>> {
        let mut text = Vec::new();
        loop {
            text.clear();
            let len = reader.read_until(b'\n', &mut text)?;
            // Without its end a line is being written, or was torn off; the next writer sets it off.
            if !text.ends_with(b"\n") {
                return Ok(Ok(()));
            }
            let offset = self.end;
            self.end += len as u64;
            self.last_bytes = text[len.saturating_sub(LAST_BYTES)..].to_vec();
            match serde_json::from_slice::<Line>(&text) {
                Ok(line) => {
                    if self.add(line, offset, &text, is_from_start).is_err() {
                        return Ok(Err(Contradiction));
                    }
                }
                Err(_) if text.trim_ascii().is_empty() => {}
                Err(error) => {
                    let history = self.path.display();
                    let because = without_values(&error);
                    tracing::warn!("{history}: a line at byte {offset} is left out, as one torn by a crash: {because}");
                }
            }
        }
    }

    /// Takes in a line. What an edit follows upon says whether the one before was made.
    fn add(&mut self, line: Line, offset: u64, text: &[u8], is_from_start: bool) -> Result<(), Contradiction> {
        let is_known_otherwise = match line {
            Line::Edit(edited) => {
                let Some(first) = edited.entries.first() else { return Ok(()) };
                let pending = self.pending.take();
                let follows_head = first.previous == self.head.digest;
                let follows_pending = pending.as_ref().is_some_and(|pending| first.previous == pending.head.digest);
                let had_pending = pending.is_some();
                // What follows neither is a broken chain, which shows where it is verified.
                if let Some(pending) = pending.filter(|_| follows_pending || !follows_head) {
                    self.apply(pending);
                }
                let place =
                    Place { offset, len: text.len(), flag: Arc::from(first.flag.as_str()), first: first.number };
                self.pending = Some(PendingEdit { place, line: text.to_vec(), head: edited.head(), edited });
                !had_pending && !follows_head
            }
            Line::Applied(head) => {
                if self.pending.as_ref().is_some_and(|pending| pending.head == head) {
                    self.decide(true);
                }
                self.head != head
            }
            Line::NotApplied(head) => {
                if self.pending.as_ref().is_some_and(|pending| pending.head == head) {
                    self.decide(false);
                }
                self.head == head
            }
        };
        if is_known_otherwise && !is_from_start { Err(Contradiction) } else { Ok(()) }
    }

    fn apply(&mut self, PendingEdit { place, head, edited, .. }: PendingEdit) {
        let Some(last) = edited.entries.last() else { return };
        let content = last.after.as_ref().map(|text| digest_of(text.as_bytes())).unwrap_or_default();
        let known = FlagHistory { version: last.version, content, line: self.lines.len() };
        self.flags.insert(Arc::clone(&place.flag), known);
        self.lines.push(place);
        self.head = head;
        self.file = edited.file_after;
    }

    /// The text that the last edit of a flag has left.
    pub(super) fn last_text(&self, known: &FlagHistory) -> io::Result<Option<String>> {
        let mut file = guarded::open_itself(&self.path, OpenOptions::new().read(true))?;
        let entries = self.entries(&mut file, known.line)?;
        Ok(entries.into_iter().next_back().and_then(|entry| entry.after))
    }

    fn entries(&self, file: &mut File, line: usize) -> io::Result<Vec<HistoryEntry>> {
        let Some(place) = self.lines.get(line) else { return Ok(Vec::new()) };
        let mut text = vec![0; place.len];
        file.seek(SeekFrom::Start(place.offset))?;
        file.read_exact(&mut text)?;
        let is_its = |entry: &HistoryEntry| entry.number == place.first && *entry.flag == *place.flag;
        match serde_json::from_slice(&text)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, without_values(&error)))?
        {
            Line::Edit(edited) if edited.entries.first().is_some_and(is_its) => Ok(edited.entries),
            _ => Err(io::Error::other("the history was written over")),
        }
    }

    pub(super) fn page(&self, page: &HistoryPage) -> io::Result<Vec<HistoryEntry>> {
        let mut found = Vec::new();
        if self.lines.is_empty() {
            return Ok(found);
        }
        let mut file = guarded::open_itself(&self.path, OpenOptions::new().read(true))?;
        for line in (0..self.lines.len()).rev() {
            if found.len() >= page.limit {
                break;
            }
            let place = &self.lines[line];
            let is_newer = page.before.is_some_and(|before| place.first >= before);
            if is_newer || page.flag.as_ref().is_some_and(|flag| **flag != *place.flag) {
                continue;
            }
            found.extend(self.entries(&mut file, line)?.into_iter().rev().filter(|entry| page.has(entry)));
        }
        found.truncate(page.limit);
        Ok(found)
    }
}

/// How long a history was; `None` where there was none.
#[derive(Clone, Copy, Debug)]
pub(super) struct FormerLength(Option<u64>);

/// Adds lines, as one write, to the history at `path`; a line before them that was torn off is set off. `sync`
/// brings them to the disk before it returns.
///
/// Only the holder of the lock writes.
pub(super) fn append(path: &Path, like: &std::fs::Metadata, lines: &str, sync: bool) -> io::Result<FormerLength> {
    let (mut file, is_new) = super::replace::open_beside(path, like)?;
    let before = FormerLength(if is_new { None } else { Some(file.metadata()?.len()) });
    let added = add(&mut file, lines).and_then(|()| if sync { file.sync_data() } else { Ok(()) });
    let added = match before {
        FormerLength(None) if sync => added.and_then(|()| super::replace::sync_folder(path)),
        _ => added,
    };
    if let Err(error) = added {
        // The edit has no effect; if this fails too, readers skip what stays of its line.
        let _ = take_back(path, before);
        return Err(error);
    }
    Ok(before)
}

fn add(file: &mut File, lines: &str) -> io::Result<()> {
    let len = file.seek(SeekFrom::End(0))?;
    let mut text = String::with_capacity(lines.len() + 1);
    if len > 0 {
        let mut last = [0];
        file.seek(SeekFrom::Start(len - 1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            text.push('\n');
        }
    }
    text.push_str(lines);
    file.write_all(text.as_bytes())
}

/// Removes the added lines of an edit that was not made: repeated attempts would add lines without end.
pub(super) fn take_back(path: &Path, before: FormerLength) -> io::Result<()> {
    match before {
        FormerLength(None) => std::fs::remove_file(path),
        FormerLength(Some(len)) => guarded::open_itself(path, OpenOptions::new().write(true))?.set_len(len),
    }
}
