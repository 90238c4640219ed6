//! Rollouts in stores and in every process that reads them, and under long sequences of actions.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use tower_flags::document::{Edit, Scheme};
use tower_flags::engine::Query;
use tower_flags::operate::rollout::{self, Action, Plan, Rollout};
use tower_flags::source::{Changes, Live, Source};
use tower_flags::store::{AppliedChange, Author, Change, ChangeError, HistoryPage, MemoryStore, Store, StoreExt};
use tower_flags::{Context, Document, Flag, FlagSet, Percentage, Timestamp};

const HOUR: Duration = Duration::from_secs(60 * 60);
const MILLISECOND: Duration = Duration::from_millis(1);

fn after(instant: Timestamp, duration: Duration) -> Timestamp {
    instant.checked_add(duration).unwrap()
}

fn days(percentages: &[u32]) -> Plan {
    let percentages = percentages.iter().map(|percent| Percentage::from_thousandths(percent * 1000).unwrap());
    Plan::days((0..).zip(percentages)).unwrap()
}

/// Many users, each in the rollout from another percentage on.
fn users() -> impl Iterator<Item = String> {
    (0..40).map(|user| format!("user-{user}"))
}

/// For whom the flag `x` should be on.
fn expected(flag: &Flag, now: Timestamp) -> Vec<bool> {
    let percentage = flag.percentage_at(now).thousandths();
    let is_on = |user: String| flag.is_enabled() && Scheme::default().bucket("x", &user).thousandths() < percentage;
    users().map(is_on).collect()
}

// ---------------------------------------------------------------------------------------------- in stores

fn alice() -> Author {
    Author::new("alice").because("launch")
}

async fn store_with(flag: &str) -> MemoryStore {
    let store = MemoryStore::new();
    store.change("x", Change::put_text(flag), &alice()).await.unwrap();
    store
}

fn flag_of(changed: &AppliedChange) -> Flag {
    changed.definition.as_deref().unwrap().parse().unwrap()
}

async fn stored_flag(store: &MemoryStore) -> Flag {
    store.read("x").await.unwrap().definition.unwrap().parse().unwrap()
}

/// One of several processes over one store.
struct Process {
    source: Live,
    changes: Changes,
}

impl Process {
    async fn over(store: &MemoryStore) -> Self {
        let source = Live::connect(store.clone()).await.unwrap();
        Self { changes: source.subscribe(), source }
    }

    async fn has(&mut self, changed: &AppliedChange) {
        loop {
            let change = self.changes.next().await.unwrap().unwrap();
            if change.flag_version == Some(changed.version) {
                return;
            }
        }
    }

    fn answers(&self, now: Timestamp) -> Vec<bool> {
        let is_on = |user: String| self.source.answer(&Query::new(&Context::user(user), now)).is_enabled("x");
        users().map(is_on).collect()
    }
}

#[tokio::test]
async fn all_processes_move_together() {
    let store = store_with(r#"{"percentage": 2, "rollout_stages": [ 1.0 ]}"#).await;
    let mut processes = [Process::over(&store).await, Process::over(&store).await, Process::over(&store).await];
    let changes = [
        rollout::start(days(&[5, 25, 60, 100])),
        rollout::advance(),
        rollout::pause(),
        rollout::resume(),
        rollout::go_back(),
        rollout::advance(),
        rollout::resume(),
        rollout::roll_back(),
        Change::restore(),
    ];
    let mut shares = Vec::new();
    for change in changes {
        let changed = loop {
            match store.change("x", change.clone(), &alice()).await {
                // Two steps within one millisecond; other instants are data here, but not those of edits.
                Err(ChangeError::Refused(problem)) if problem.to_string().contains("millisecond") => {}
                other => break other.unwrap(),
            }
        };
        let (flag, at) = (flag_of(&changed), changed.entry.as_ref().unwrap().at);
        assert!(changed.definition.as_deref().unwrap().contains(r#""rollout_stages": [ 1.0 ]"#));
        shares.push(if flag.is_enabled() { flag.percentage_at(at).to_string() } else { "off".into() });
        for process in &mut processes {
            process.has(&changed).await;
        }
        let days = (0..5).map(|day| after(at, HOUR * 24 * day));
        for now in days.flat_map(|day| [day.checked_sub(MILLISECOND).unwrap(), day, after(day, MILLISECOND)]) {
            let expected = expected(&flag, now);
            for process in &processes {
                assert_eq!(process.answers(now), expected, "{} at {now}", changed.definition.as_deref().unwrap());
            }
        }
    }
    assert_eq!(shares, ["5", "25", "25", "25", "5", "25", "25", "off", "25"]);
    let history = store.history(&HistoryPage::newest()).await.unwrap();
    assert_eq!(history.len(), 10, "each action is one entry");
    assert!(store.verify_history().await.unwrap().is_ok());
}

#[tokio::test]
async fn the_history_says_when_and_why_a_rollout_was_rolled_back() {
    let store = store_with(r#"{"percentage": 0}"#).await;
    store.change("x", rollout::start(days(&[5, 100])), &alice()).await.unwrap();
    let bob = Author::new("bob").because("errors at checkout, INC-17");
    let changed = store.change("x", rollout::roll_back(), &bob).await.unwrap();
    let entry = store.history(&HistoryPage::newest().of("x")).await.unwrap().remove(0);
    assert_eq!((entry.actor.as_deref(), entry.reason.as_deref()), (Some("bob"), Some("errors at checkout, INC-17")));
    let since = Rollout::of(&flag_of(&changed), entry.at).unwrap().paused_since;
    assert_eq!(since, Some(entry.at), "to the instant");
    let again = store.change("x", rollout::roll_back(), &bob).await.unwrap();
    assert_eq!((again.version, again.entry), (3, None), "twice is once");
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_at_the_same_time_are_each_taken_on_what_the_others_left() {
    let store = store_with(r#"{"percentage": 0}"#).await;
    let percentages: Vec<u32> = (1..=100).collect();
    store.change("x", rollout::start(days(&percentages)), &alice()).await.unwrap();
    let tasks = (0..4).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut taken = 0;
            for edit in 0..20 {
                match store.change("x", rollout::advance().within(HOUR), &alice()).await {
                    Ok(_) => taken += 1,
                    Err(ChangeError::Refused(problem)) => {
                        assert!(problem.to_string().contains("in this very millisecond"), "{problem}");
                    }
                    Err(other) => panic!("{other}"),
                }
                let edit = Edit::new().set("owner", format!("{task}-{edit}"));
                store.change("x", Change::edit(edit).within(HOUR), &alice()).await.unwrap();
            }
            taken
        })
    });
    let mut taken = 0;
    for task in tasks.collect::<Vec<_>>() {
        taken += task.await.unwrap();
    }
    assert!(taken > 0);
    let now = after(store.history(&HistoryPage::newest()).await.unwrap()[0].at, MILLISECOND);
    assert_eq!(Rollout::of(&stored_flag(&store).await, now).unwrap().current, Some(taken), "none lost, none twice");
    assert!(store.verify_history().await.unwrap().is_ok());
}

#[tokio::test]
async fn an_action_for_a_version_is_not_taken_on_another_one() {
    let store = store_with(r#"{"percentage": 0}"#).await;
    let started = store.change("x", rollout::start(days(&[5, 100])), &alice()).await.unwrap();
    store.change("x", rollout::pause().at_version(started.version), &alice()).await.unwrap();
    match store.change("x", rollout::advance().at_version(started.version), &alice()).await {
        Err(ChangeError::Conflict(stored)) => assert_eq!(stored.version, started.version + 1),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn there_is_no_rollout_of_a_flag_that_is_not_there() {
    let store = store_with("true").await;
    let start = || rollout::start(days(&[5, 100]));
    for change in [start(), rollout::roll_back(), rollout::pause()] {
        let missing = store.change("new_chekout", change, &alice()).await.unwrap_err();
        assert!(matches!(missing, ChangeError::Missing), "{missing:?}");
    }
    match store.change("x", start(), &alice()).await {
        Err(ChangeError::Refused(problem)) => assert_eq!(problem.flag.as_deref(), Some("x"), "{problem}"),
        other => panic!("{other:?}"),
    }
    store.change("x", Change::remove(), &alice()).await.unwrap();
    let missing = store.change("x", start().create_again(), &alice()).await.unwrap_err();
    assert!(matches!(missing, ChangeError::Missing), "{missing:?}");
}

// ---------------------------------------------------------------------------------------------- under long sequences

/// SplitMix64: what it chooses follows from the seed alone.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn plan(&mut self, now: Timestamp) -> Plan {
        let mut percentages: Vec<u32> =
            (0..1 + self.below(6)).map(|_| self.pick(&[0, 1, 5, 10, 25, 25, 50, 99, 100])).collect();
        percentages.sort_unstable();
        let plan = days(&percentages);
        match self.below(6) {
            0 => plan.starting_at(after(now, HOUR * 30)).unwrap(),
            1 => plan.starting_at(now.checked_sub(HOUR * 30).unwrap()).unwrap(),
            _ => plan,
        }
    }
}

/// Something that is done to a flag.
#[derive(Clone, Debug)]
enum Deed {
    Taken(Action),
    Killed,
    Restored,
}

impl Deed {
    fn any(random: &mut Random, now: Timestamp) -> Self {
        match random.below(16) {
            0 | 1 => Self::Taken(Action::Start(random.plan(now))),
            2..=4 => Self::Taken(Action::Pause),
            5..=7 => Self::Taken(Action::Resume),
            8..=10 => Self::Taken(Action::Advance),
            11 => Self::Taken(Action::GoBack),
            12 => Self::Taken(Action::RollBack),
            13 => Self::Killed,
            _ => Self::Restored,
        }
    }

    fn name(&self) -> String {
        format!("{self:?}").split(['(', '{']).take(2).collect::<Vec<_>>().join(" ").trim_end_matches(')').to_owned()
    }

    /// Whether it may take the flag from somebody.
    fn may_lower(&self) -> bool {
        matches!(self, Self::Killed | Self::Taken(Action::GoBack | Action::RollBack))
    }

    fn done_to(&self, stored: &str, now: Timestamp) -> Option<String> {
        let edit = match self {
            Self::Taken(action) => action.edit(&stored.parse().unwrap(), now).ok()?,
            Self::Killed => Edit::new().set("enabled", false),
            Self::Restored => Edit::new().set("enabled", true),
        };
        // What is no flag would be an error here, and not a refusal of the action.
        Some(edit.apply("x", Some(stored), now).unwrap_or_else(|problem| panic!("{self:?} of {stored}: {problem}")))
    }
}

/// The share of users who have the flag, in thousandths.
fn share(flag: &Flag, now: Timestamp) -> u32 {
    if flag.is_enabled() { flag.percentage_at(now).thousandths() } else { 0 }
}

/// The answers of a process that compiled the rules at one instant and is asked at another.
fn answers(stored: &str, compiled: Timestamp, now: Timestamp) -> Vec<bool> {
    let document = Document::from_texts([("x", stored.as_bytes())]).unwrap();
    let set = FlagSet::compile(&document, compiled);
    users().map(|user| set.answer(&Query::new(&Context::user(user), now)).is_enabled("x")).collect()
}

const FOREIGN: [&str; 3] =
    [r#""rollout_stages" : [ {"hours": 1.50} ]"#, r#""metadata": {"b":1.10, "a" : [ ]}"#, r#""current_stage":2"#];

#[test]
fn no_sequence_of_actions_takes_the_flag_from_anybody_but_those_that_are_meant_to() {
    let mut counts: BTreeMap<(String, bool), usize> = BTreeMap::new();
    let switches = ["\"enabled\": true", "\"on\" : false", "\"allowed_users\": []", "\"enabled\": true, \"on\": null"];
    let percentages = ["\"percentage\": 1e0", "\"rollout_percentage\":0", "\"schedule\": []", "\"percentage\": null"];
    for seed in 0..1_000 {
        let mut random = Random(seed);
        let stored = [random.pick(&switches), random.pick(&percentages)];
        let mut stored = format!("{{ {} }}", [&stored[..], &FOREIGN[..]].concat().join(",\n  "));
        let mut now: Timestamp = "2026-12-01T12:00:00Z".parse().unwrap();
        for step in 0..25 {
            let what = format!("seed {seed}, step {step}");
            let before: Flag = stored.parse().unwrap();
            let passed = random.pick(&[Duration::ZERO, MILLISECOND, HOUR, HOUR * 20, HOUR * 70]);
            let then = after(now, passed);
            assert!(share(&before, then) >= share(&before, now), "{what}: time alone lowers {stored}");
            now = then;

            let deed = Deed::any(&mut random, now);
            let edited = deed.done_to(&stored, now);
            *counts.entry((deed.name(), edited.is_some())).or_default() += 1;
            let Some(edited) = edited else { continue };
            let what = format!("{what}: {deed:?} of\n{stored}\nbecame\n{edited}\nat {now}");
            let flag: Flag = edited.parse().unwrap();
            for behind in [Duration::ZERO, MILLISECOND, Duration::from_secs(2), HOUR - MILLISECOND] {
                let clock = now.checked_sub(behind).unwrap();
                assert!(deed.may_lower() || share(&flag, clock) >= share(&before, clock), "{what}, {behind:?} behind");
            }
            for foreign in FOREIGN {
                assert!(edited.contains(foreign), "{what}");
            }
            let switched = match deed {
                Deed::Killed | Deed::Taken(Action::RollBack) => false,
                Deed::Restored => true,
                Deed::Taken(_) => before.is_enabled(),
            };
            assert_eq!(flag.is_enabled(), switched, "{what}");
            let far = after(now, HOUR * 100_000);
            if let Some(rollout) = Rollout::of(&flag, now) {
                assert!(rollout.stages.is_sorted_by(|a, b| a.at < b.at && a.percentage <= b.percentage), "{what}");
                let stops =
                    rollout.paused_since.is_some() || matches!(deed, Deed::Taken(Action::Pause | Action::GoBack));
                assert!(!stops || flag.percentage_at(far) == flag.percentage_at(now), "{what}");
                assert!(switched || rollout.paused_since.is_some(), "{what}");
            }
            if seed % 20 == 0 {
                for asked in [now.checked_sub(MILLISECOND).unwrap(), now, after(now, HOUR * 24), far] {
                    let expected = expected(&flag, asked);
                    for compiled in [Timestamp::MIN, now, far] {
                        assert_eq!(answers(&edited, compiled, asked), expected, "{what}, asked at {asked}");
                    }
                }
            }
            stored = edited;
        }
    }
    let taken = |name: &str, is_taken| counts.get(&(name.to_owned(), is_taken)).copied().unwrap_or_default();
    for action in ["Start", "Pause", "Resume", "Advance", "GoBack"] {
        let name = format!("Taken {action}");
        assert!(taken(&name, true) > 250 && taken(&name, false) > 250, "{name}: {counts:?}");
    }
    assert_eq!(taken("Taken RollBack", false), 0, "{counts:?}");
}

#[test]
fn pausing_and_resuming_at_any_time_moves_the_rest_of_the_plan_and_nothing_else() {
    let start: Timestamp = "2028-02-27T23:59:59.999Z".parse().unwrap();
    let plan = Action::Start(days(&[1, 10, 50, 100]).starting_at(start).unwrap());
    let zero: Timestamp = "2028-02-27T12:00:00Z".parse().unwrap();
    let started = Deed::Taken(plan).done_to(r#"{"percentage": 0}"#, zero).unwrap();
    let flag: Flag = started.parse().unwrap();
    for seed in 0..500 {
        let mut random = Random(seed);
        let paused_at = after(zero, MILLISECOND * u32::try_from(random.below(3 * 86_400_000)).unwrap());
        let stood = MILLISECOND * u32::try_from(random.below(9 * 86_400_000)).unwrap();
        let resumed_at = after(paused_at, stood);
        let paused = Deed::Taken(Action::Pause).done_to(&started, paused_at).unwrap();
        let resumed: Flag = Deed::Taken(Action::Resume).done_to(&paused, resumed_at).unwrap().parse().unwrap();
        for later in (0..200).map(|step| HOUR * step) {
            let (then, now) = (after(paused_at, later), after(resumed_at, later));
            assert_eq!(resumed.percentage_at(now), flag.percentage_at(then), "seed {seed}, {now}");
        }
    }
}
