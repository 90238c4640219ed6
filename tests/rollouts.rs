//! Rollouts by plans: what is in force when, what each action makes of it, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use serde_json::{Value, json};
use tower_flags::document::Edit;
use tower_flags::operate::rollout::{Action, Plan, Rollout};
use tower_flags::{Flag, Percentage, Timestamp};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MILLISECOND: Duration = Duration::from_millis(1);

/// 5 % for a day, 25 % for two days, then everybody.
const STAGES: &str = r#"{"stages": [
    {"percentage": 5, "hours": 24}, {"percentage": 25, "hours": 48}, {"percentage": 100, "hours": 1}
]}"#;

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Noon of the day on which most of these tests begin.
fn noon() -> Timestamp {
    instant("2026-12-01T12:00:00Z")
}

fn after(instant: Timestamp, duration: Duration) -> Timestamp {
    instant.checked_add(duration).unwrap()
}

fn plan(json: &str) -> Plan {
    json.parse().unwrap()
}

fn start(json: &str) -> Action {
    Action::Start(plan(json))
}

/// What an action makes of a stored text.
fn act(stored: &str, action: &Action, now: Timestamp) -> Result<String, String> {
    let flag: Flag = stored.parse().unwrap();
    let edit = action.edit(&flag, now).map_err(|problem| problem.to_string())?;
    Ok(edit.apply("x", Some(stored), now).unwrap_or_else(|problem| panic!("{stored} by {action:?}: {problem}")))
}

fn done(stored: &str, action: &Action, now: Timestamp) -> String {
    act(stored, action, now).unwrap_or_else(|problem| panic!("{stored} by {action:?}: {problem}"))
}

fn refused(stored: &str, action: &Action, now: Timestamp) -> String {
    act(stored, action, now).map_or_else(|problem| problem, |text| panic!("{action:?} made {text} of {stored}"))
}

/// The percentage that a stored text puts in force.
fn share(stored: &str, now: Timestamp) -> String {
    stored.parse::<Flag>().unwrap().percentage_at(now).to_string()
}

fn rollout_of(stored: &str, now: Timestamp) -> Rollout {
    Rollout::of(&stored.parse().unwrap(), now).unwrap()
}

/// When each stage begins, in hours after `zero`, and its percentage.
fn stages(stored: &str, zero: Timestamp) -> Vec<(f64, f64)> {
    let hours = |at: Timestamp| {
        let (later, earlier) = (at.saturating_duration_since(zero), zero.saturating_duration_since(at));
        (later.as_secs_f64() - earlier.as_secs_f64()) / 3600.0
    };
    let share = |percentage: Percentage| f64::from(percentage.thousandths()) / 1000.0;
    let stages = rollout_of(stored, zero).stages;
    stages.iter().map(|stage| (hours(stage.at), share(stage.percentage))).collect()
}

// ---------------------------------------------------------------------------------------------- plans

#[test]
fn a_plan_is_in_force_to_the_millisecond() {
    // Over a leap day and a change of the clocks in most of Europe: days are 24 hours.
    for (start, days) in [("2028-02-28T12:30:00.250Z", 3), ("2026-03-28T23:00:00+01:00", 1)] {
        let plans = [
            json!({"start": start, "days": [{"day": 0, "percentage": 1}, {"day": days, "percentage": 25.5}]}),
            json!({"start": start, "stages": [{"percentage": 1, "hours": days * 24}, {"percentage": 25.5}]}),
        ];
        for plan in plans {
            let started = done(r#"{"percentage": 0}"#, &self::start(&plan.to_string()), noon());
            let (first, second) = (instant(start), after(instant(start), DAY * days));
            for (at, before, from) in [(first, "0", "1"), (second, "1", "25.5")] {
                assert_eq!(share(&started, at.checked_sub(MILLISECOND).unwrap()), before, "{plan}");
                assert_eq!(share(&started, at.checked_sub(Duration::from_nanos(1)).unwrap()), before, "{plan}");
                assert_eq!(share(&started, at), from, "{plan}");
                assert_eq!(share(&started, after(at, MILLISECOND)), from, "{plan}");
            }
        }
    }
    let leap = done(
        r#"{"percentage": 0}"#,
        &start(r#"{"start": "2028-02-28T12:30:00Z", "days": [{"day": 2, "percentage": 1}]}"#),
        noon(),
    );
    assert!(leap.contains("2028-03-01T12:30:00Z"), "{leap}");
}

#[test]
fn numbers_are_taken_exactly() {
    let text = r#"{"stages": [
        {"percentage": 0.29, "hours": 0.001}, {"percentage": 2.90e-1, "hours": 1.5e0}, {"percentage": 99.999}
    ]}"#;
    let started = done(r#"{"percentage": 0}"#, &start(text), noon());
    let percent = |thousandths| Percentage::from_thousandths(thousandths).unwrap();
    let lasting = Plan::stages([
        (percent(290), Duration::from_millis(3600)),
        (percent(290), Duration::from_secs(5400)),
        (percent(99_999), Duration::ZERO),
    ]);
    assert_eq!(plan(text), lasting.unwrap());
    assert_eq!(
        started,
        r#"{"schedule":[{"at":"2026-12-01T12:00:00Z","percentage":0.29},{"at":"2026-12-01T12:00:03.6Z","percentage":0.29},{"at":"2026-12-01T13:30:03.6Z","percentage":99.999}],"enabled":true}"#
    );
}

#[test]
fn a_plan_without_a_start_begins_with_the_edit_and_one_that_began_is_where_it_would_be() {
    let started = done(r#"{"percentage": 0}"#, &start(STAGES), noon());
    assert_eq!(stages(&started, noon()), [(0.0, 5.0), (24.0, 25.0), (72.0, 100.0)]);
    let days = r#"{"start": "2026-11-29T12:00:00Z", "days": [{"day": 0, "percentage": 1}, {"day": 2, "percentage": 10}, {"day": 4, "percentage": 20}]}"#;
    let started = done(r#"{"percentage": 0}"#, &start(days), noon());
    assert_eq!(stages(&started, noon()), [(-48.0, 1.0), (0.0, 10.0), (48.0, 20.0)]);
    assert_eq!(share(&started, noon()), "10");
    let raised = done(r#"{"percentage": 5}"#, &start(days), noon());
    assert_eq!(stages(&raised, noon()), [(-1.0, 5.0), (0.0, 10.0), (48.0, 20.0)], "it never was at 1 %");
    let earlier = done(r#"{"percentage": 5}"#, &start(days), after(noon(), DAY));
    assert_eq!(stages(&earlier, noon()), [(0.0, 10.0), (48.0, 20.0)]);
}

#[test]
fn what_is_wrong_in_a_plan_is_named() {
    let many: Vec<Value> = (0..101).map(|day| json!({"day": day, "percentage": 1})).collect();
    let many = json!({ "days": many }).to_string();
    for (text, expected) in [
        ("[]", "line 1, column 1: expected an object with stages or days, found a list of 0"),
        ("{}", "line 1, column 1: expected either stages or days, found neither"),
        (r#"{"days": [], "stages": []}"#, "line 1, column 1: expected either stages or days, found both"),
        (r#"{"stages": null}"#, "line 1, column 1: expected either stages or days, found neither"),
        (r#"{"days": []}"#, "line 1, column 10: days: expected 1 to 100 stages, found none"),
        (&many, "line 1, column 9: days: expected 1 to 100 stages, found more"),
        (
            r#"{"stage": []}"#,
            "line 1, column 11: stage: expected only the keys start, stages, days, found \"stage\"; did you mean \"stages\"?",
        ),
        (
            r#"{"days": [{"day": 0, "percentage": 1, "hours": 3}]}"#,
            "line 1, column 48: days.0.hours: expected only the keys day, percentage, found \"hours\"",
        ),
        (
            r#"{"days": [{"day": 1, "percentage": 1}], "days": []}"#,
            "line 1, column 49: days: expected each key once, found \"days\" twice",
        ),
        (
            r#"{"days": [{"day": 0, "percentage": 1}, {"day": 0, "percentage": 2}]}"#,
            "line 1, column 10: days.1.day: expected a day after 0, the one before it, found 0",
        ),
        (
            r#"{"days": [{"day": 0.5, "percentage": 1}]}"#,
            "line 1, column 19: days.0.day: expected a whole number of days, found 0.5; stages can last a part of a day, in hours",
        ),
        (
            r#"{"days": [{"day": -1, "percentage": 1}]}"#,
            "line 1, column 19: days.0.day: expected a whole number of days, found -1",
        ),
        (
            r#"{"days": [{"day": 0, "percentage": 10}, {"day": 3, "percentage": 9.999}]}"#,
            "line 1, column 10: days.1.percentage: expected at least the 10 % before it, found 9.999 %",
        ),
        (
            r#"{"stages": [{"percentage": 5}, {"percentage": 9}]}"#,
            "line 1, column 13: stages.0.hours: expected the key \"hours\", found none",
        ),
        (
            r#"{"stages": [{"percentage": 5, "hours": 0}, {"percentage": 9}]}"#,
            "line 1, column 12: stages.0.hours: expected more than 0 hours, and at most 1000000, found 0 hours",
        ),
        (
            r#"{"stages": [{"percentage": 5, "hours": 0.0001}, {"percentage": 9}]}"#,
            "line 1, column 40: stages.0.hours: expected a number of hours with at most three decimals, found 0.0001",
        ),
        (
            r#"{"stages": [{"percentage": 5, "hours": "2"}, {"percentage": 9}]}"#,
            "line 1, column 40: stages.0.hours: expected a number of hours with at most three decimals, found the text \"2\"",
        ),
        (
            r#"{"stages": [{"percentage": 100.001}]}"#,
            "line 1, column 28: stages.0.percentage: expected a number from 0 to 100 with at most three decimals, found 100.001",
        ),
        (
            r#"{"stages": [{"hours": 1}]}"#,
            "line 1, column 13: stages.0.percentage: expected the key \"percentage\", found none",
        ),
        (
            r#"{"start": "2026-12-01", "stages": [{"percentage": 1}]}"#,
            "line 1, column 11: start: expected an RFC 3339 instant with an offset, such as 2026-12-01T09:00:00Z, found the text \"2026-12-01\"",
        ),
        (
            r#"{"start": "9999-12-31T00:00:00Z", "days": [{"day": 1, "percentage": 1}]}"#,
            "line 1, column 11: start: expected steps until 9999-12-31T23:59:59.999999999Z, found a later one",
        ),
    ] {
        assert_eq!(text.parse::<Plan>().unwrap_err().to_string(), expected, "{text}");
    }
}

#[test]
fn a_plan_is_a_part_of_other_json_and_of_values() {
    #[derive(Debug, serde::Deserialize)]
    struct Asked {
        plan: Plan,
    }
    let text = format!("{{\"plan\": {STAGES}}}");
    assert_eq!(serde_json::from_str::<Asked>(&text).unwrap().plan, plan(STAGES));
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::from_value::<Asked>(value).unwrap().plan, plan(STAGES));
    let wrong = serde_json::from_str::<Asked>(r#"{"plan": {"stages": [{"percentage": 5, "hour": 1}]}}"#).unwrap_err();
    // The line and column after it are `serde_json`'s.
    let expected =
        "stages.0.hour: expected only the keys percentage, hours, found \"hour\"; did you mean \"hours\"? at line";
    assert!(wrong.to_string().starts_with(expected), "{wrong}");
}

#[test]
fn lengths_that_no_instant_can_reach_are_refused() {
    let percent = Percentage::HUNDRED;
    let hours = Plan::stages([(percent, Duration::MAX), (percent, HOUR)]).unwrap_err();
    assert_eq!(hours.path, "stages.0.hours");
    assert!(Plan::stages(std::iter::repeat((percent, HOUR))).is_err(), "without an end");
    assert_eq!(Plan::days([(u32::MAX, percent)]).unwrap_err().path, "days.0.day");
    let far = Plan::days([(1_000_000, percent)]).unwrap();
    assert!(far.clone().starting_at(noon()).is_ok());
    let start = instant("9000-01-01T00:00:00Z");
    assert!(far.clone().starting_at(start).is_err());
    assert!(refused("true", &Action::Start(far), start).starts_with("start: expected steps until 9999"));
}

// ---------------------------------------------------------------------------------------------- starting

#[test]
fn a_plan_takes_the_flag_from_nobody() {
    let later =
        r#"{"start": "2026-12-02T12:00:00Z", "stages": [{"percentage": 25, "hours": 48}, {"percentage": 100}]}"#;
    let fixed = r#"{"enabled": true, "percentage": 10}"#;
    let held = done(fixed, &start(later), noon());
    assert_eq!(stages(&held, noon()), [(-1.0, 10.0), (24.0, 25.0), (72.0, 100.0)]);
    let behind = noon().checked_sub(HOUR).unwrap();
    assert_eq!(share(&held, behind), "10", "also in processes whose clocks are behind");
    let at_once = done(fixed, &start(r#"{"stages": [{"percentage": 10, "hours": 1}, {"percentage": 11}]}"#), noon());
    assert_eq!(stages(&at_once, noon()), [(-1.0, 10.0), (0.0, 10.0), (1.0, 11.0)]);
    let back = done(&done(fixed, &start(r#"{"stages": [{"percentage": 50}]}"#), noon()), &Action::GoBack, noon());
    assert_eq!(share(&back, after(noon(), DAY)), "10", "what was in force before the plan");
    assert!(!held.contains("\"percentage\": 10"), "{held}");

    let nobody = done(r#"{"percentage": 0}"#, &start(later), noon());
    assert_eq!(stages(&nobody, noon()), [(24.0, 25.0), (72.0, 100.0)], "nobody has it, so there is nothing to hold");
    let by_list = done(r#"{"allowed_users": ["alice"]}"#, &start(later), noon());
    assert_eq!(stages(&by_list, noon()), [(24.0, 25.0), (72.0, 100.0)]);

    for (stored, plan, now, expected) in [
        (fixed, r#"{"stages": [{"percentage": 9.999}]}"#, noon(), "the 10 % in force, found a plan with 9.999 %"),
        ("true", STAGES, noon(), "the 100 % in force, found a plan with 5 %"),
        (r#"{"percentage": 30}"#, later, noon(), "the 30 % in force, found a plan with 25 %"),
        (&held, STAGES, noon(), "the 10 % in force, found a plan with 5 %"),
        (&held, STAGES, after(noon(), DAY), "the 25 % in force, found a plan with 5 %"),
        // What would be in force by then counts, and not the first stage.
        (r#"{"percentage": 30}"#, later, instant("2026-12-03T12:00:00Z"), "the 30 % in force, found a plan with 25 %"),
    ] {
        let problem = refused(stored, &start(plan), now);
        let help = "first; a plan takes the flag from nobody; going back and rolling back do";
        assert_eq!(problem, format!("expected at least {expected} {help}"), "{stored}");
    }
    assert_eq!(share(&done(r#"{"percentage": 30}"#, &start(later), instant("2026-12-05T12:00:00Z")), noon()), "0");
}

#[test]
fn the_stage_that_holds_what_is_in_force_counts_as_one() {
    let days: Vec<Value> = (1..=100).map(|day| json!({"day": day, "percentage": 50})).collect();
    let longest = start(&json!({ "days": days }).to_string());
    assert_eq!(stages(&done(r#"{"percentage": 0}"#, &longest, noon()), noon()).len(), 100);
    assert_eq!(
        refused(r#"{"percentage": 1}"#, &longest, noon()),
        "expected at most 99 stages, since one holds what is in force until then, found 100"
    );
}

#[test]
fn starting_names_no_other_key() {
    let stored = "{\n  \"on\" : true,\n  \"rollout_percentage\": 2.50e1,\n  \"metadata\": {\"b\":1.10},\n  \"rollout_stages\": [ {\"h\": 1.0} ]\n}";
    assert_eq!(
        done(stored, &start(r#"{"stages": [{"percentage": 25}]}"#), noon()),
        "{\n  \"on\" : true,\n  \"metadata\": {\"b\":1.10},\n  \"rollout_stages\": [ {\"h\": 1.0} ],\n  \"schedule\": [{\"at\":\"2026-12-01T11:00:00Z\",\"percentage\":25},{\"at\":\"2026-12-01T12:00:00Z\",\"percentage\":25}]\n}"
    );
    let without = done(r#"{"percentage": 25}"#, &start(r#"{"stages": [{"percentage": 25}]}"#), noon());
    assert!(without.ends_with(r#","enabled":true}"#), "for other readers: {without}");
}

#[test]
fn another_plan_takes_the_place_of_one_that_moves_or_stands() {
    let started = done(r#"{"percentage": 0}"#, &start(STAGES), noon());
    let paused = done(&started, &Action::Pause, after(noon(), HOUR));
    for stored in [&started, &paused] {
        let now = after(noon(), HOUR * 2);
        let again = done(stored, &start(STAGES), now);
        assert_eq!(stages(&again, now), [(-1.0, 5.0), (0.0, 5.0), (24.0, 25.0), (72.0, 100.0)]);
        assert_eq!(rollout_of(&again, now).paused_since, None);
    }
}

#[test]
fn no_plan_undoes_a_kill() {
    for stored in ["false", r#"{"enabled": false, "percentage": 50}"#] {
        let started = done(stored, &start(STAGES), noon());
        let rollout = rollout_of(&started, after(noon(), DAY * 9));
        assert!(rollout.is_killed && rollout.paused_since == Some(noon()), "{started}");
        assert_eq!((rollout.current, rollout.next_at), (Some(0), None));
        // Restored it is at its beginning, and goes on when it is resumed.
        let now = after(noon(), DAY * 9);
        let restored = Edit::new().set("enabled", true).apply("x", Some(&started), now).unwrap();
        assert_eq!(share(&restored, after(now, DAY)), "5");
        let resumed = done(&restored, &Action::Resume, now);
        assert_eq!(stages(&resumed, now), [(-216.0, 5.0), (24.0, 25.0), (72.0, 100.0)]);
    }
}

// ---------------------------------------------------------------------------------------------- actions

#[test]
fn a_pause_keeps_what_is_in_force_and_the_steps_to_come_move_by_it() {
    let started = done(r#"{"percentage": 0}"#, &start(STAGES), noon());
    let paused = done(&started, &Action::Pause, after(noon(), HOUR * 30));
    assert!(paused.contains(r#""paused_at":"2026-12-02T18:00:00Z""#), "{paused}");
    for hours in [30, 72, 10_000] {
        assert_eq!(share(&paused, after(noon(), HOUR * hours)), "25");
    }
    assert_eq!(rollout_of(&paused, after(noon(), HOUR * 40)).paused_since, Some(after(noon(), HOUR * 30)));
    assert_eq!(done(&paused, &Action::Pause, after(noon(), HOUR * 40)), paused, "it stands already");

    let resumed = done(&paused, &Action::Resume, after(noon(), HOUR * 50));
    assert_eq!(stages(&resumed, noon()), [(0.0, 5.0), (24.0, 25.0), (92.0, 100.0)], "by the 20 hours it stood");
    assert!(!resumed.contains("paused_at"), "{resumed}");
    assert_eq!(done(&resumed, &Action::Resume, after(noon(), HOUR * 60)), resumed, "it moves already");
}

#[test]
fn a_pause_at_a_step_is_behind_it_and_one_before_the_start_moves_the_start() {
    let started = done(r#"{"percentage": 0}"#, &start(STAGES), noon());
    let step = after(noon(), DAY);
    for (now, expected) in [(step.checked_sub(MILLISECOND).unwrap(), "5"), (step, "25")] {
        let paused = done(&started, &Action::Pause, now);
        assert_eq!((share(&paused, now).as_str(), share(&paused, after(now, DAY)).as_str()), (expected, expected));
        let resumed = done(&paused, &Action::Resume, after(now, DAY));
        assert_eq!(share(&resumed, after(now, DAY)), expected);
        assert_eq!(share(&resumed, after(now, DAY + MILLISECOND)), "25");
    }
    let later = start(r#"{"start": "2026-12-02T12:00:00Z", "stages": [{"percentage": 5}]}"#);
    let paused = done(&done(r#"{"percentage": 0}"#, &later, noon()), &Action::Pause, after(noon(), HOUR));
    assert_eq!(stages(&done(&paused, &Action::Resume, after(noon(), HOUR * 3)), noon()), [(26.0, 5.0)]);
}

#[test]
fn advancing_makes_the_next_step_now_and_later_ones_keep_their_distances() {
    let started = done(r#"{"percentage": 0}"#, &start(STAGES), noon());
    let now = after(noon(), HOUR);
    let advanced = done(&started, &Action::Advance, now);
    assert_eq!(stages(&advanced, noon()), [(0.0, 5.0), (1.0, 25.0), (49.0, 100.0)]);
    assert_eq!((share(&started, now).as_str(), share(&advanced, now).as_str()), ("5", "25"));
    let again = refused(&advanced, &Action::Advance, now);
    assert_eq!(
        again,
        "schedule: expected a stage that began earlier, found one that began in this very millisecond; somebody else \
         has just advanced it"
    );
    let last = done(&advanced, &Action::Advance, after(now, MILLISECOND));
    assert_eq!(share(&last, after(now, MILLISECOND)), "100");
    assert_eq!(
        refused(&last, &Action::Advance, after(noon(), DAY)),
        "schedule: expected a stage to come, found the last one in force, at 100 %"
    );

    let later = start(r#"{"start": "2027-12-01T12:00:00Z", "stages": [{"percentage": 5}]}"#);
    let waiting = done(r#"{"percentage": 0}"#, &later, noon());
    assert_eq!(stages(&done(&waiting, &Action::Advance, now), noon()), [(1.0, 5.0)], "before its start, it starts");
}

#[test]
fn a_plan_that_stands_still_goes_on_standing_after_it_is_advanced() {
    let started = done(r#"{"percentage": 0}"#, &start(STAGES), noon());
    let paused = done(&started, &Action::Pause, after(noon(), HOUR));
    // The instants of the steps pass while it stands.
    let now = after(noon(), HOUR * 100);
    let advanced = done(&paused, &Action::Advance, now);
    assert_eq!(stages(&advanced, noon()), [(0.0, 5.0), (100.0, 25.0), (148.0, 100.0)]);
    assert_eq!(rollout_of(&advanced, after(now, DAY * 9)).paused_since, Some(now));
    assert_eq!(share(&advanced, after(now, DAY * 9)), "25");
    let resumed = done(&advanced, &Action::Resume, after(now, HOUR * 10));
    assert_eq!(stages(&resumed, noon()), [(0.0, 5.0), (100.0, 25.0), (158.0, 100.0)]);
}

#[test]
fn going_back_puts_the_stage_before_into_force_and_stands_still_in_it() {
    let started = done(r#"{"percentage": 0}"#, &start(STAGES), noon());
    let now = after(noon(), HOUR * 100);
    let back = done(&started, &Action::GoBack, now);
    assert_eq!(stages(&back, noon()), [(0.0, 5.0), (24.0, 25.0), (148.0, 100.0)], "it lasts the 48 hours it lasted");
    for later in [Duration::ZERO, HOUR, DAY * 1000] {
        assert_eq!(share(&back, after(now, later)), "25");
    }
    assert_eq!(share(&back, now.checked_sub(MILLISECOND).unwrap()), "25", "also in processes whose clocks are behind");
    let resumed = done(&back, &Action::Resume, after(now, HOUR * 2));
    assert_eq!(stages(&resumed, noon()), [(0.0, 5.0), (24.0, 25.0), (150.0, 100.0)]);

    let twice = done(&back, &Action::GoBack, after(now, HOUR));
    assert_eq!(share(&twice, after(now, DAY * 9)), "5");
    // As long as the stage that was taken back was to last, its first time included.
    assert_eq!(stages(&twice, noon()), [(0.0, 5.0), (225.0, 25.0), (349.0, 100.0)]);
    assert_eq!(
        refused(&twice, &Action::GoBack, after(now, DAY)),
        "schedule: expected a stage before the one in force, found the first one; rolling back switches the flag off"
    );
    let forward = done(&back, &Action::Advance, after(now, HOUR));
    assert_eq!(share(&forward, after(now, HOUR)), "100", "tried again at once, on purpose");
}

#[test]
fn a_stage_that_was_hastened_is_not_left_as_fast_the_second_time() {
    let started = done(r#"{"percentage": 0}"#, &start(STAGES), noon());
    let hastened = done(&started, &Action::Advance, after(noon(), Duration::from_secs(2)));
    let now = after(noon(), HOUR);
    let resumed = done(&done(&hastened, &Action::GoBack, now), &Action::Resume, now);
    assert_eq!(stages(&resumed, now), [(-1.0, 5.0), (48.0, 25.0), (96.0, 100.0)]);
}

#[test]
fn rolling_back_switches_off_and_keeps_the_plan_where_it_stood() {
    let started = done(r#"{"percentage": 0}"#, &start(STAGES), noon());
    let night = after(noon(), HOUR * 30);
    let off = done(&started, &Action::RollBack, night);
    assert_eq!(stages(&off, noon()), stages(&started, noon()));
    let rollout = rollout_of(&off, after(night, DAY * 9));
    assert!(rollout.is_killed && !rollout.is_finished && rollout.paused_since == Some(night));
    assert_eq!(done(&off, &Action::RollBack, after(night, HOUR)), off, "twice is once");

    for action in [Action::Resume, Action::Advance] {
        assert_eq!(
            refused(&off, &action, after(night, HOUR)),
            "enabled: expected a flag that is switched on, found one that is switched off; restore it first; its plan \
             stands still until it is resumed"
        );
    }
    assert_eq!(done(&off, &Action::Pause, after(night, HOUR)), off);
    let lower = done(&off, &Action::GoBack, after(night, HOUR));
    assert!(rollout_of(&lower, night).is_killed, "one stage lower for when it comes back");

    let morning = after(noon(), HOUR * 40);
    let restored = Edit::new().set("enabled", true).apply("x", Some(&off), morning).unwrap();
    assert_eq!(share(&restored, after(morning, DAY * 9)), "25", "where it stood, and it stands still");
    let resumed = done(&restored, &Action::Resume, morning);
    assert_eq!(stages(&resumed, noon()), [(0.0, 5.0), (24.0, 25.0), (82.0, 100.0)]);
}

#[test]
fn rolling_back_is_never_refused() {
    let planned = r#"{"schedule": [], "paused_at": "2027-01-01T00:00:00Z"}"#;
    for stored in ["true", "false", r#"{"percentage": 5}"#, r#"{"enabled": true, "schedule": []}"#, planned] {
        let off: Flag = done(stored, &Action::RollBack, noon()).parse().unwrap();
        assert!(!off.is_enabled());
        let stands = Rollout::of(&off, noon()).is_none_or(|rollout| rollout.paused_since == Some(noon()));
        assert!(stands, "{stored} stands at once, also where a pause was to come");
    }
}

#[test]
fn what_has_no_plan_and_what_has_no_stage_for_it_is_refused() {
    let no_plan = "schedule: expected a plan, found none; start one first";
    for action in [Action::Pause, Action::Resume, Action::Advance, Action::GoBack] {
        assert_eq!(refused(r#"{"percentage": 5}"#, &action, noon()), no_plan);
    }
    let later = start(r#"{"start": "2026-12-02T12:00:00Z", "stages": [{"percentage": 5}]}"#);
    let waiting = done(r#"{"percentage": 0}"#, &later, noon());
    assert_eq!(
        refused(&waiting, &Action::GoBack, noon()),
        "schedule: expected a stage in force, found a plan that has not begun"
    );
    assert_eq!(
        refused(&waiting, &Action::Pause, after(noon(), DAY)),
        "schedule: expected a stage to come, found the last one in force, at 5 %"
    );
    let far = r#"{"schedule": [{"at": "2026-12-01T00:00:00Z", "percentage": 1}, {"at": "2026-12-01T01:00:00Z", "percentage": 2}, {"at": "9999-12-31T23:59:59Z", "percentage": 5}], "paused_at": "2026-12-01T02:00:00Z"}"#;
    for action in [Action::Resume, Action::GoBack] {
        let problem = refused(far, &action, noon());
        assert_eq!(
            problem, "schedule: expected steps until 9999-12-31T23:59:59.999999999Z, found a later one",
            "{action:?}"
        );
    }
}

#[test]
fn a_pause_that_somebody_wrote_for_later_is_kept_in_its_place() {
    let stored = |paused_at: &str| {
        format!(
            r#"{{"enabled": true, "schedule": [{{"at": "2026-12-01T00:00:00Z", "percentage": 1}}, {{"at": "2026-12-03T12:00:00Z", "percentage": 5}}, {{"at": "2026-12-07T12:00:00Z", "percentage": 9}}], "paused_at": "{paused_at}"}}"#
        )
    };
    // A day after the next step, which is two days ahead.
    let advanced = done(&stored("2026-12-04T12:00:00Z"), &Action::Advance, noon());
    assert!(advanced.contains(r#""paused_at": "2026-12-02T12:00:00Z""#), "{advanced}");
    // Before the next step, which is made all the same.
    let advanced = done(&stored("2026-12-02T12:00:00Z"), &Action::Advance, noon());
    assert_eq!(rollout_of(&advanced, noon()).paused_since, Some(noon()), "{advanced}");
    assert_eq!(share(&advanced, after(noon(), DAY * 9)), "5");

    let stored = stored("2026-12-02T12:00:00Z");
    let waiting = rollout_of(&stored, noon());
    assert_eq!((waiting.next_at, waiting.paused_since), (None, None), "it does not stand yet, and will not get there");
    let resumed = done(&stored, &Action::Resume, noon());
    assert_eq!(stages(&resumed, noon()), stages(&stored, noon()), "it has not stood still");
    assert_eq!(rollout_of(&done(&stored, &Action::Pause, noon()), noon()).paused_since, Some(noon()));
}

#[test]
fn what_a_rollout_is_now_is_told() {
    let later = r#"{"start": "2026-12-02T12:00:00Z", "stages": [{"percentage": 5, "hours": 24}, {"percentage": 100}]}"#;
    let stored = done(r#"{"percentage": 0}"#, &start(later), noon());
    let next = |hours| Some(after(noon(), HOUR * hours));
    for (hours, current, percentage, next_at, is_finished) in [
        (0, None, "0", next(24), false),
        (24, Some(0), "5", next(48), false),
        (47, Some(0), "5", next(48), false),
        (48, Some(1), "100", None, true),
        (9999, Some(1), "100", None, true),
    ] {
        let is = rollout_of(&stored, after(noon(), HOUR * hours));
        assert_eq!((is.current, is.percentage.to_string().as_str()), (current, percentage), "after {hours} hours");
        assert_eq!((is.next_at, is.is_finished, is.paused_since), (next_at, is_finished, None), "after {hours} hours");
    }
    assert_eq!(Rollout::of(&Flag::on(), noon()), None);
    let empty = rollout_of(r#"{"schedule": []}"#, noon());
    assert!(empty.is_finished && empty.current.is_none() && empty.stages.is_empty());
}
