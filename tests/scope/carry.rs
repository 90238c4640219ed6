//! Flags that are taken along: into tasks, threads, streams, and the drops of all of them.

use std::future::pending;
use std::pin::pin;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{JoinSet, yield_now};
use tower_flags::request::reads_out_of_scope;
use tower_flags::{Context, FlagLayer, Flags, FlagsExt, flag, spawn, spawn_blocking, try_flag};

use super::lost::READS;
use super::support::{get_as, memory, mine, serve};
use super::{Guard, assert_callers_see_their_own_flags};

async fn below() -> bool {
    yield_now().await;
    flag("mine")
}

fn flags_with_mine() -> Flags {
    Flags::builder().on("mine").build(Context::user("alice"))
}

#[tokio::test]
async fn tasks_that_are_given_the_flags_of_the_caller_see_them() {
    async fn handler(flags: Flags) -> String {
        let mut set = JoinSet::new();
        set.spawn(below().in_current_flags());
        let thread = flags.clone();
        let seen = [
            spawn(below()).await.unwrap(),
            spawn(async { spawn(below()).await.unwrap() }).await.unwrap(),
            spawn_blocking(|| flag("mine")).await.unwrap(),
            set.join_next().await.unwrap().unwrap(),
            tokio::spawn(below().in_flags(flags.clone())).await.unwrap(),
            tokio::spawn(flags.scope(below())).await.unwrap(),
            std::thread::spawn(move || thread.sync_scope(|| flag("mine"))).join().unwrap(),
        ];
        assert_eq!(seen, [seen[0]; 7]);
        seen[0].to_string()
    }
    assert_callers_see_their_own_flags(Router::new().route("/", get(handler)), "/").await;
}

#[tokio::test]
async fn what_is_carried_is_the_request_s_own_value_and_ends_with_the_work() {
    async fn handler(flags: Flags) -> String {
        let carried = spawn(async { Flags::current() }).await.unwrap().unwrap();
        assert!(carried.ptr_eq(&flags));
        let other = flags_with_mine();
        assert!(other.sync_scope(|| Flags::current().unwrap()).ptr_eq(&other));
        assert!(other.scope(async { Flags::current().unwrap() }).await.ptr_eq(&other), "the inner one counts");
        Flags::current().unwrap().ptr_eq(&flags).to_string()
    }
    let address = serve(Router::new().route("/", get(handler)).layer(FlagLayer::new(mine("alice")))).await;
    assert_eq!(get_as(address, "/", "alice").await.text(), "true");
    assert!(try_flag("mine").is_err());
}

#[tokio::test]
async fn a_stream_that_another_task_polls_reads_the_flags_it_took_along() {
    async fn handler() -> Body {
        let lines = stream::iter(0..3).then(|_| async { format!("{},", below().await) });
        let (send, mut receive) = unbounded_channel();
        // The stream runs on a task without flags, and brings its own.
        let mut lines = Box::pin(lines.in_current_flags());
        tokio::spawn(async move {
            assert!(try_flag("mine").is_err());
            while let Some(line) = lines.next().await {
                send.send(line).unwrap();
            }
        });
        let mut text = String::new();
        while let Some(line) = receive.recv().await {
            text.push_str(&line);
        }
        Body::from(Bytes::from(text))
    }
    let address = serve(Router::new().route("/", get(handler)).layer(FlagLayer::new(mine("alice")))).await;
    assert_eq!(get_as(address, "/", "alice").await.text(), "true,true,true,");
    assert_eq!(get_as(address, "/", "bob").await.text(), "false,false,false,");
    assert_eq!(stream::iter(0..3).in_flags(flags_with_mine()).size_hint(), (3, Some(3)));
}

#[tokio::test]
async fn futures_and_streams_are_dropped_in_the_scope_they_took_along() {
    fn next(reports: &mut UnboundedReceiver<Option<bool>>) -> Option<bool> {
        reports.try_recv().unwrap()
    }
    let (report, mut reports) = unbounded_channel();
    let guarded = || {
        let guard = Guard(report.clone());
        async move {
            let _guard = guard;
            pending::<()>().await;
        }
    };
    drop(guarded().in_flags(flags_with_mine()));
    assert_eq!(next(&mut reports), Some(true), "before the first poll");
    {
        let mut future = pin!(guarded().in_flags(flags_with_mine()));
        assert!(future.as_mut().now_or_never().is_none());
    }
    assert_eq!(next(&mut reports), Some(true), "after the first poll");
    drop(stream::once(guarded()).in_flags(flags_with_mine()));
    assert_eq!(next(&mut reports), Some(true), "a stream");
    let task = tokio::spawn(guarded().in_flags(flags_with_mine()));
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(next(&mut reports), Some(true), "an aborted task");
    drop(guarded());
    assert_eq!(next(&mut reports), None, "without flags");
}

#[tokio::test]
async fn where_there_are_no_flags_none_are_taken_along() {
    let _turn = READS.lock().await;
    let before = reads_out_of_scope();
    assert!(!spawn(below()).await.unwrap());
    assert!(!spawn_blocking(|| flag("mine")).await.unwrap());
    let carrier = below().in_current_flags();
    assert_eq!(reads_out_of_scope() - before, 2);
    // What is in scope where it is polled is not taken away.
    assert!(flags_with_mine().scope(carrier).await);
}

#[tokio::test]
async fn a_task_outlives_its_request_and_keeps_its_answers_through_a_reload() {
    let rules = memory(r#"{"mine": true}"#);
    let (report, mut reports) = unbounded_channel();
    let (go, wait) = tokio::sync::watch::channel(false);
    let handler = async move || {
        let (report, mut wait) = (report.clone(), wait.clone());
        spawn(async move {
            wait.wait_for(|&go| go).await.unwrap();
            report.send(flag("mine")).unwrap();
        });
    };
    let address = serve(Router::new().route("/", get(handler)).layer(FlagLayer::new(rules.clone()))).await;
    get_as(address, "/", "alice").await;
    rules.set("mine", false).unwrap();
    go.send(true).unwrap();
    assert_eq!(reports.recv().await, Some(true));
}
