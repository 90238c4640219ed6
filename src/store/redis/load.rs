//! Reading everything.

use std::collections::{BTreeMap, BTreeSet};

use redis::{Pipeline, Value};

use super::connection::{ANSWER, Connection, LARGE_ANSWER, bytes_of, on, text_of};
use super::key_content::{KeyContent, Pair, Switch, a};
use super::keys::{Keys, head_of, pattern, version_of};
use crate::document::{
    Definition, Document, MAX_FLAG, MAX_FLAGS, MAX_LOOKED_AT, Problem, Raw, Severity, beyond, is_name, kept,
};
use crate::error::Error;
use crate::store::feed::FeedContent;
use crate::store::history::Digester;

/// How many keys the server looks at in one go while names are collected: about a millisecond of its time.
const SCANNED: usize = 2000;
/// How many commands are sent together.
const TOGETHER: usize = 2000;
/// How many bytes of definitions are read in one go, at most; more are read in several, and only if no edit
/// came between.
const LARGEST_PART: usize = 4 * 1024 * 1024;
/// How often everything is read again because an edit came between.
const ATTEMPTS: usize = 5;
/// How many keys that name no flag are reported one by one.
const NAMED: usize = 10;

/// Everything that a store holds at one moment, as it is there.
#[derive(Debug, Default)]
pub(super) struct Content {
    flags: BTreeMap<String, Pair>,
    /// Records of versions, by flag.
    versions: BTreeMap<String, String>,
    head: Option<String>,
    /// What is wrong with more than one flag.
    problems: Vec<Problem>,
}

/// The names that are there, of flags and of others.
#[derive(Debug, Default)]
struct Names {
    /// With whether there is a definition, and a plain switch.
    flags: BTreeMap<String, (bool, bool)>,
    others: BTreeSet<String>,
}

/// One key to read.
struct Key {
    name: String,
    is_switch: bool,
    key: String,
    /// Its length, where it is a text.
    length: Option<usize>,
}

impl Content {
    pub(super) async fn read(connection: &mut Connection, keys: &Keys) -> Result<Self, Error> {
        let mut last_head = None;
        for _ in 1..ATTEMPTS {
            let (content, is_of_one_moment) = Self::attempt(connection, keys).await?;
            // A flag that an edit has made while names were collected has a version, and a text that was not asked for.
            // So has one that somebody has taken away past us; that is so again the next time.
            let is_settled = content.has_all_edited() || last_head.as_ref() == Some(&content.head);
            if is_of_one_moment && is_settled {
                return Ok(content);
            }
            last_head = Some(content.head);
        }
        // Each flag is one that was there; what was edited meanwhile is noticed and read again.
        Ok(Self::attempt(connection, keys).await?.0)
    }

    /// Reads everything, and says whether it is of one moment.
    async fn attempt(connection: &mut Connection, keys: &Keys) -> Result<(Self, bool), Error> {
        let names = Names::read(connection, keys).await?;
        let mut content = Self::default();
        let mut wanted: Vec<Key> = Vec::new();
        for (name, (has_flag, has_switch)) in &names.flags {
            content.flags.insert(name.clone(), Pair::default());
            if *has_flag {
                wanted.push(Key { name: name.clone(), is_switch: false, key: keys.flag(name), length: None });
            }
            if let Some(key) = keys.switch(name).filter(|_| *has_switch) {
                wanted.push(Key { name: name.clone(), is_switch: true, key, length: None });
            }
        }
        measure(connection, &mut wanted, &mut content).await?;
        let is_whole = content.read_texts(connection, keys, &wanted).await?;
        content.name_others(&names.others);
        Ok((content, is_whole))
    }

    /// Whether every flag that an edit has left there is there.
    fn has_all_edited(&self) -> bool {
        self.versions.iter().all(|(name, record)| record.ends_with(' ') || self.flags.contains_key(name))
    }

    fn held(&mut self, key: &Key) -> &mut KeyContent {
        let pair = self.flags.entry(key.name.clone()).or_default();
        if key.is_switch { &mut pair.switch } else { &mut pair.flag }
    }

    /// The texts in as few parts as possible, each of one moment; whether all of them are of the same one.
    async fn read_texts(&mut self, connection: &mut Connection, keys: &Keys, wanted: &[Key]) -> Result<bool, Error> {
        let mut texts = Vec::with_capacity(wanted.len());
        for key in wanted {
            if let Some(length) = key.length.filter(|length| *length <= MAX_FLAG) {
                texts.push((key, length));
            }
        }
        self.leave_the_longest(&mut texts);
        let (mut texts, mut is_first, mut is_whole) = (texts.as_slice(), true, true);
        while is_first || !texts.is_empty() {
            let mut size = 0;
            let fits = |(_, length): &(&Key, usize)| {
                size += length;
                size <= LARGEST_PART
            };
            // The first is less than that.
            let (part, rest) = texts.split_at(texts.iter().copied().take_while(fits).count());
            texts = rest;
            // Not a transaction, which a server refuses that is short of memory: one command reads at one moment,
            // and every edit changes the head.
            let mut commands = Pipeline::with_capacity(3);
            if is_first {
                commands.add_command(on("GET", &keys.head)).add_command(on("HGETALL", &keys.versions));
            }
            let mut texts_at_once = on("MGET", &keys.head);
            part.iter().for_each(|(key, _)| _ = texts_at_once.arg(&key.key));
            commands.add_command(texts_at_once);
            let mut answers = connection.ask(&commands, LARGE_ANSWER).await?.into_iter();
            if is_first {
                let (head, versions) = (answers.next().unwrap_or_default(), answers.next().unwrap_or_default());
                self.head = self.record(connection, &head, &keys.head)?;
                self.take_versions(connection, &versions, &keys.versions)?;
            }
            let Value::Array(values) = connection.checked(answers.next().unwrap_or_default())? else {
                return Err(connection.odd("MGET"));
            };
            let mut values = values.into_iter();
            is_whole &= values.next().as_ref().and_then(text_of) == self.head.as_deref();
            for ((key, _), value) in part.iter().zip(values) {
                *self.held(key) = match value {
                    Value::BulkString(bytes) => KeyContent::Text { length: bytes.len(), bytes },
                    // Gone since its name was read.
                    _ => KeyContent::Nothing,
                };
            }
            is_first = false;
        }
        self.flags.retain(|_, pair| pair.flag.is_something() || pair.switch.is_something());
        Ok(is_whole)
    }

    /// Where the texts are too many, leaves the longest of them where they are.
    fn leave_the_longest(&mut self, texts: &mut Vec<(&Key, usize)>) {
        let lengths: Vec<(&str, usize)> = texts.iter().map(|(key, length)| (key.key.as_str(), *length)).collect();
        let mut is_beyond = beyond(&lengths, MAX_LOOKED_AT).into_iter();
        texts.retain(|(key, length)| {
            let stays = is_beyond.next() == Some(true);
            if stays {
                *self.held(key) = KeyContent::Text { length: *length, bytes: Vec::new() };
            }
            !stays
        });
    }

    /// A record of ours that is a text.
    fn record(&mut self, connection: &Connection, answer: &Value, key: &str) -> Result<Option<String>, Error> {
        if matches!(answer, Value::Nil) {
            return Ok(None);
        }
        let text = text_of(sound(connection, answer)?).map(str::to_owned);
        if text.is_none() {
            self.lost(key);
        }
        Ok(text)
    }

    fn take_versions(&mut self, connection: &Connection, answer: &Value, key: &str) -> Result<(), Error> {
        let Value::Map(pairs) = sound(connection, answer)? else {
            self.lost(key);
            return Ok(());
        };
        for (name, record) in pairs {
            match (text_of(name), text_of(record)) {
                (Some(name), Some(record)) if is_name(name) && version_of(Some(record)).is_some() => {
                    self.versions.insert(name.to_owned(), record.to_owned());
                }
                _ => {
                    self.lost(key);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn lost(&mut self, key: &str) {
        let problem = Problem::new(format!("the records of the store at {key}"), "something else");
        self.problems.push(problem.with_help("versions are not known; flags cannot be edited until it is mended"));
    }

    fn name_others(&mut self, others: &BTreeSet<String>) {
        let problem = |found: String| {
            let problem = Problem::new("keys that name flags below the prefixes", found);
            Problem { severity: Severity::Warning, ..problem.with_help("it is left alone") }
        };
        self.problems.extend(others.iter().take(NAMED).map(|key| problem(format!("{key:?}"))));
        if others.len() > NAMED {
            let at_least = if others.len() < MAX_FLAGS { "" } else { "at least " };
            self.problems.push(problem(format!("{at_least}{} more", others.len() - NAMED)));
        }
    }

    /// The number of the last edit; `None` where the records are broken.
    pub(super) fn number(&self) -> Option<u64> {
        head_of(self.head.as_deref()).map(|head| head.number)
    }

    /// A digest of all of it: equal ones mean equal documents, whoever wrote them and whatever was in between.
    pub(super) fn revision(&self) -> String {
        let mut digesting = Digester::default();
        let mut add = |part: &[u8]| digesting.add(part);
        for (name, pair) in &self.flags {
            add(name.as_bytes());
            for held in [&pair.flag, &pair.switch] {
                match held {
                    KeyContent::Nothing => add(b"n"),
                    KeyContent::Text { length, bytes } => {
                        add(&length.to_le_bytes());
                        add(bytes);
                    }
                    KeyContent::Other(kind) => {
                        add(b"o");
                        add(kind.as_bytes());
                    }
                }
            }
        }
        for (name, record) in &self.versions {
            add(name.as_bytes());
            add(record.as_bytes());
        }
        add(self.head.as_deref().unwrap_or_default().as_bytes());
        for problem in &self.problems {
            add(problem.to_string().as_bytes());
        }
        digesting.finish()
    }

    /// What it means, below this revision.
    pub(super) fn loaded(self, revision: String, keys: &Keys) -> Result<FeedContent, Error> {
        let texts = self.flags.iter().filter_map(|(name, pair)| {
            let text = match (&pair.flag, pair.switch.switch()) {
                (KeyContent::Text { bytes, length }, _) if bytes.len() == *length => Raw::Text(bytes),
                (KeyContent::Text { length, .. }, _) if pair.flag.too_long().is_none() => Raw::Unread(*length),
                (KeyContent::Nothing, Switch::On) => Raw::Text(b"true"),
                (KeyContent::Nothing, Switch::Off) => Raw::Text(b"false"),
                _ => return None,
            };
            Some((name.as_str(), text))
        });
        let mut document = Document::from_raw(texts).map_err(Error::refused)?;
        for (name, pair) in &self.flags {
            settle(&mut document, name, pair, keys);
        }
        let mut problems = self.problems;
        let head = head_of(self.head.as_deref());
        if head.is_none() {
            let problem = Problem::new(format!("the records of the store at {}", keys.head), "something else");
            problems.push(problem.with_help("flags cannot be edited until it is mended"));
        }
        document.problems.splice(0..0, problems);
        document.problems.sort_by_key(|problem| problem.severity == Severity::Warning);
        let versions: BTreeMap<&str, (u64, &str)> = self
            .versions
            .iter()
            .filter_map(|(name, record)| Some((name.as_str(), version_of(Some(record))?)))
            .collect();
        let is_gone = |name: &&str| !self.flags.contains_key(*name);
        let removed = versions.iter().filter(|(_, (_, content))| content.is_empty()).map(|(name, _)| *name);
        let mut loaded = FeedContent::new(document, revision)
            .with_removed(removed.filter(is_gone))
            .with_versions(versions.iter().map(|(name, (version, _))| (*name, *version)))
            .records_removals()
            .shared_with_others();
        if let Some(head) = head {
            loaded = loaded.at_sequence(head.number);
        }
        Ok(loaded)
    }
}

/// What a plain switch does to a definition, and what is wrong with both where it is not the text.
fn settle(document: &mut Document, name: &str, pair: &Pair, keys: &Keys) {
    let refuse = |document: &mut Document, expected: String, found: String, key: &str| {
        document.flags.insert(name.into(), Definition::Refused { is_killed: false, is_hidden: false });
        document.problems.push(Problem::new(expected, found).of_flag(name).in_source(key));
    };
    let flag_key = keys.flag(name);
    match &pair.flag {
        KeyContent::Other(kind) => refuse(document, "a string".to_owned(), a(kind).into_owned(), &flag_key),
        held => {
            if let Some(length) = held.too_long() {
                let expected = format!("a flag of at most {MAX_FLAG} bytes");
                refuse(document, expected, format!("one of {length}"), &flag_key);
            }
        }
    }
    let Some(switch_key) = keys.switch(name) else { return };
    match pair.switch.switch() {
        Switch::None | Switch::On => {}
        Switch::Odd => {
            let found = match &pair.switch {
                KeyContent::Other(kind) => a(kind).into_owned(),
                KeyContent::Text { bytes, .. } => crate::document::quoted(&String::from_utf8_lossy(bytes)),
                KeyContent::Nothing => return,
            };
            if pair.flag.is_something() {
                let problem = Problem::new("true or false", found).of_flag(name).in_source(&switch_key);
                let help = format!("{flag_key} decides alone");
                document.problems.push(Problem { severity: Severity::Warning, ..problem.with_help(help) });
            } else {
                refuse(document, "true or false".to_owned(), found, &switch_key);
            }
        }
        Switch::Off => switch_off(document, name, &flag_key, &switch_key),
    }
}

fn switch_off(document: &mut Document, name: &str, flag_key: &str, switch_key: &str) {
    let Some(definition) = document.flags.get_mut(name) else { return };
    if definition.is_killed() {
        return;
    }
    match definition {
        Definition::Good(flag) => *flag = kept(flag, true, false),
        Definition::Refused { is_killed, .. } => *is_killed = true,
    }
    let problem = Problem::new(format!("what {flag_key} says"), "false").of_flag(name).in_source(switch_key);
    let help = "a false in either switches the flag off";
    document.problems.push(Problem { severity: Severity::Warning, ..problem.with_help(help) });
}

impl Names {
    async fn read(connection: &mut Connection, keys: &Keys) -> Result<Self, Error> {
        let mut names = Self::default();
        // Where each walk is, until it is back at the start.
        let mut walks: Vec<(&str, bool, Vec<u8>)> = vec![(keys.prefix(), false, b"0".to_vec())];
        walks.extend(keys.switch_prefix().map(|prefix| (prefix, true, b"0".to_vec())));
        while !walks.is_empty() {
            let mut scans = Pipeline::with_capacity(walks.len());
            for (prefix, _, cursor) in &walks {
                scans.cmd("SCAN").arg(cursor).arg("MATCH").arg(pattern(prefix)).arg("COUNT").arg(SCANNED);
            }
            let answers = connection.ask(&scans, ANSWER).await?;
            for ((prefix, is_switch, at), answer) in walks.iter_mut().zip(answers) {
                let Value::Array(answer) = connection.checked(answer)? else { return Err(connection.odd("SCAN")) };
                let [cursor, Value::Array(found)] = &answer[..] else { return Err(connection.odd("SCAN")) };
                *at = bytes_of(cursor).ok_or_else(|| connection.odd("SCAN"))?.to_vec();
                found.iter().filter_map(bytes_of).for_each(|key| names.add(key, prefix, *is_switch));
            }
            if names.flags.len() > MAX_FLAGS {
                let problem = Problem::new(format!("at most {MAX_FLAGS} flags"), "more");
                return Err(Error::refused(problem.with_help("give other keys another prefix")));
            }
            walks.retain(|(_, _, cursor)| cursor != b"0");
        }
        Ok(names)
    }

    fn add(&mut self, key: &[u8], prefix: &str, is_switch: bool) {
        let name = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(prefix));
        match name.filter(|name| is_name(name)) {
            Some(name) => {
                let (has_flag, has_switch) = self.flags.entry(name.to_owned()).or_default();
                *(if is_switch { has_switch } else { has_flag }) = true;
            }
            None => {
                self.others.insert(String::from_utf8_lossy(key).into_owned());
                // Always the same ones, in whatever order they come, and however often.
                if self.others.len() > MAX_FLAGS {
                    self.others.pop_last();
                }
            }
        }
    }
}

/// How long the texts are, so that those that are too long stay where they are; and of what type the others.
async fn measure(connection: &mut Connection, wanted: &mut [Key], content: &mut Content) -> Result<(), Error> {
    for keys in wanted.chunks_mut(TOGETHER) {
        let mut commands = Pipeline::with_capacity(keys.len());
        keys.iter().for_each(|key| _ = commands.add_command(on("STRLEN", &key.key)));
        let answers = connection.ask(&commands, ANSWER).await?;
        let mut others = Vec::new();
        for (key, answer) in keys.iter_mut().zip(answers) {
            match answer {
                Value::Int(length) => {
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    key.length = Some(length);
                    if length > MAX_FLAG {
                        *content.held(key) = KeyContent::Text { length, bytes: Vec::new() };
                    }
                }
                Value::ServerError(error) if error.code() == "WRONGTYPE" => others.push(&*key),
                answer => _ = connection.checked(answer)?,
            }
        }
        let mut types = Pipeline::with_capacity(others.len());
        others.iter().for_each(|key| _ = types.add_command(on("TYPE", &key.key)));
        if others.is_empty() {
            continue;
        }
        for (key, kind) in others.into_iter().zip(connection.ask(&types, ANSWER).await?) {
            let kind = connection.checked(kind)?;
            match text_of(&kind) {
                Some("none") => {}
                kind => *content.held(key) = KeyContent::Other(kind.unwrap_or("value of another type").to_owned()),
            }
        }
    }
    Ok(())
}

/// An answer that may be an error only where the key holds another type.
fn sound<'a>(connection: &Connection, answer: &'a Value) -> Result<&'a Value, Error> {
    match answer {
        Value::ServerError(error) if error.code() == "WRONGTYPE" => {}
        Value::ServerError(_) => _ = connection.checked(answer.clone())?,
        _ => {}
    }
    Ok(answer)
}
