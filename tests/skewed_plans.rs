//! Plans that a process whose clock runs ahead has paused or killed: elsewhere their pause is still to come.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::SystemTime;

use tower_flags::document::Edit;
use tower_flags::operate::rollout;
use tower_flags::store::{AppliedChange, Author, Change, MemoryStore, StoreExt};
use tower_flags::{Flag, Timestamp};

const HOUR: i64 = 60 * 60 * 1000;
const MINUTES: i64 = 5 * 60 * 1000;

fn now() -> i64 {
    Timestamp::from(SystemTime::now()).unix_millis()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(millis)
}

/// A flag at 5 % whose plan goes on in two hours, paused this long after `zero` where that is said.
fn planned(zero: i64, enabled: bool, paused_after: Option<i64>) -> String {
    let (first, second) = (at(zero - HOUR), at(zero + 2 * HOUR));
    let paused_at = paused_after.map(|millis| format!(r#","paused_at":"{}""#, at(zero + millis))).unwrap_or_default();
    format!(
        r#"{{"enabled":{enabled},"schedule":[{{"at":"{first}","percentage":5}},{{"at":"{second}","percentage":50}}]{paused_at}}}"#
    )
}

async fn changed(stored: &str, change: Change) -> AppliedChange {
    let (store, alice) = (MemoryStore::new(), Author::new("alice"));
    store.change("x", Change::put_text(stored), &alice).await.unwrap();
    store.change("x", change, &alice).await.unwrap()
}

/// The instant in a stored text, in milliseconds.
fn paused_at(changed: &AppliedChange) -> Option<i64> {
    let text: serde_json::Value = serde_json::from_str(changed.definition.as_ref().unwrap()).unwrap();
    text.get("paused_at").map(|at| at.as_str().unwrap().parse::<Timestamp>().unwrap().unix_millis())
}

fn share(changed: &AppliedChange, millis: i64) -> String {
    changed.definition.as_ref().unwrap().parse::<Flag>().unwrap().percentage_at(at(millis)).to_string()
}

#[track_caller]
fn assert_said(changed: &AppliedChange, seconds: std::ops::RangeInclusive<i64>) {
    let said: Vec<String> = seconds.map(|seconds| format!("the plan's pause was {seconds} s ahead")).collect();
    assert_eq!(changed.notes.len(), 1, "{:?}", changed.notes);
    assert!(said.iter().any(|said| changed.notes[0].starts_with(said)), "{:?}", changed.notes);
    assert!(changed.notes[0].contains("clock runs ahead"), "{:?}", changed.notes);
}

#[tokio::test]
async fn a_restored_plan_stands_still_from_now_on() {
    // A clock that is minutes ahead, and one that is so far ahead that the plan would come to its end.
    for ahead in [MINUTES, 24 * HOUR] {
        let begun = now();
        let restored = changed(&planned(begun, false, Some(ahead)), Change::restore()).await;
        let paused = paused_at(&restored).unwrap();
        assert!((begun..=now()).contains(&paused), "{restored:?}");
        assert_eq!(share(&restored, begun + 9 * HOUR), "5", "it does not run on");
        assert_said(&restored, (ahead - 60_000) / 1000..=ahead / 1000);
    }
}

#[tokio::test]
async fn a_flag_that_is_killed_or_rolled_back_a_second_time_stops_now() {
    for (what, again) in [("kill", Change::kill()), ("roll back", rollout::roll_back())] {
        for enabled in [false, true] {
            let begun = now();
            let killed = changed(&planned(begun, enabled, Some(MINUTES)), again.clone()).await;
            assert!((begun..=now()).contains(&paused_at(&killed).unwrap()), "{what}: {killed:?}");
            assert_said(&killed, 240..=300);
        }
    }
    let edited = changed(
        &planned(now(), true, Some(MINUTES)),
        Change::edit(Edit::new().set("enabled", false).set("owner", "me")),
    )
    .await;
    assert!(paused_at(&edited).unwrap() <= now(), "a kill among other keys is one, too");
}

#[tokio::test]
async fn a_resumed_plan_goes_on_without_moving_its_steps() {
    let begun = now();
    let resumed = changed(&planned(begun, true, Some(MINUTES)), rollout::resume()).await;
    assert_eq!(paused_at(&resumed), None);
    assert_eq!((share(&resumed, begun + 2 * HOUR - 1), share(&resumed, begun + 2 * HOUR)), ("5".into(), "50".into()));
    assert_said(&resumed, 240..=300);
}

#[tokio::test]
async fn pausing_going_back_and_advancing_leave_no_pause_in_the_future() {
    let begun = now();
    let paused = changed(&planned(begun, true, Some(MINUTES)), rollout::pause()).await;
    assert!((begun..=now()).contains(&paused_at(&paused).unwrap()), "{paused:?}");
    assert_said(&paused, 240..=300);
    let advanced = changed(&planned(begun, true, Some(MINUTES)), rollout::advance()).await;
    assert!((begun..=now()).contains(&paused_at(&advanced).unwrap()), "{advanced:?}");
    assert_eq!(share(&advanced, begun + 9 * HOUR), "50", "in its new stage it stands still");
    // In its second stage, from which it goes back to the first.
    let second = planned(begun - 3 * HOUR, true, Some(3 * HOUR + MINUTES));
    let back = changed(&second, rollout::go_back()).await;
    assert!((begun..=now()).contains(&paused_at(&back).unwrap()), "{back:?}");
    assert_eq!(share(&back, begun + 9 * HOUR), "5");
}

#[tokio::test]
async fn a_pause_that_somebody_wrote_for_later_stays_where_nothing_is_switched() {
    let begun = now();
    for change in [
        Change::edit(Edit::new().set("owner", "me")),
        // It is on already, and its plan runs.
        Change::restore(),
        Change::edit(Edit::new().set("enabled", true)),
        // Whoever says both means both.
        Change::edit(Edit::new().set("enabled", false).set("paused_at", at(begun + MINUTES).to_string())),
    ] {
        let edited = changed(&planned(begun, true, Some(MINUTES)), change).await;
        assert_eq!((paused_at(&edited), edited.notes.len()), (Some(begun + MINUTES), 0), "{edited:?}");
    }
}

#[tokio::test]
async fn a_plan_that_stood_still_in_the_past_stays_there() {
    for change in [Change::restore(), Change::kill(), rollout::roll_back(), rollout::pause()] {
        let begun = now();
        let edited = changed(&planned(begun, false, Some(-MINUTES)), change.clone()).await;
        assert_eq!((paused_at(&edited), edited.notes.len()), (Some(begun - MINUTES), 0), "{edited:?}");
    }
}
