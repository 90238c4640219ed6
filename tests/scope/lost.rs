//! Code that runs on a task or thread of its own: there is no request around, which is counted, logged
//! and told by `try_flag`; flags that are taken along work.

use axum::Router;
use axum::routing::get;
use tokio::sync::Mutex;
use tokio::task::{JoinSet, spawn_blocking};
use tower_flags::request::{OutOfScopeError, reads_out_of_scope};
use tower_flags::{FlagLayer, Flags, flag, try_flag, variant};

use super::support::{Log, get_as, memory, mine, serve};

/// The count is one for the whole process: tests that read out of scope take turns.
pub(crate) static READS: Mutex<()> = Mutex::const_new(());

#[tokio::test]
async fn tasks_and_threads_of_their_own_have_no_flags_unless_they_take_them_along() {
    fn here() -> (bool, Result<bool, OutOfScopeError>, bool) {
        (flag("mine"), try_flag("mine"), Flags::current().is_some())
    }

    async fn handler(flags: Flags) -> String {
        assert_eq!(here(), (true, Ok(true), true));
        let lost = (false, Err(OutOfScopeError), false);
        assert_eq!(tokio::spawn(async { here() }).await.unwrap(), lost);
        assert_eq!(spawn_blocking(here).await.unwrap(), lost);
        assert_eq!(std::thread::spawn(here).join().unwrap(), lost);
        let mut set = JoinSet::new();
        set.spawn(async { here() });
        assert_eq!(set.join_next().await.unwrap().unwrap(), lost);

        let taken = flags.clone();
        assert!(tokio::spawn(async move { taken.is_enabled("mine") }).await.unwrap());
        let taken = flags.clone();
        assert!(spawn_blocking(move || taken.is_enabled("mine")).await.unwrap());
        assert!(std::thread::spawn(move || flags.is_enabled("mine")).join().unwrap());
        assert_eq!(here(), (true, Ok(true), true));
        "reached".to_owned()
    }

    let _turn = READS.lock().await;
    let address = serve(Router::new().route("/", get(handler)).layer(FlagLayer::new(mine("alice")))).await;
    let before = reads_out_of_scope();
    assert_eq!(get_as(address, "/", "alice").await.text(), "reached");
    assert_eq!(reads_out_of_scope() - before, 4, "each `flag`, and no `try_flag`");
}

#[tokio::test]
async fn reads_out_of_scope_are_counted_each_and_logged_once_for_each_place() {
    fn one_place() -> bool {
        flag("mine")
    }

    let _turn = READS.lock().await;
    let log = Log::open();
    let router = Router::new()
        .layer(FlagLayer::new(memory(r#"{"mine": true, "page": {"enabled": true, "variants": {"a": 100}}}"#)))
        .route("/one", get(|| async { one_place().to_string() }))
        .route("/another", get(|| async { (flag("mine") || variant("page").is_some()).to_string() }));
    let address = serve(router).await;
    let before = reads_out_of_scope();
    for path in ["/one", "/one", "/another", "/one", "/another"] {
        assert_eq!(get_as(address, path, "alice").await.text(), "false");
    }
    assert_eq!(reads_out_of_scope() - before, 3 + 2 * 2);
    let lines = log.lines("flag read as its default");
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines.iter().all(|line| line.contains("WARN") && line.contains("tests/scope/lost.rs")), "{lines:#?}");
    assert!(lines[0].contains("mine") && lines[0].contains("no FlagLayer around"), "{lines:#?}");
    assert!(lines[2].contains("page"), "{lines:#?}");
}

#[tokio::test]
async fn try_flag_tells_an_unknown_name_from_no_request() {
    assert_eq!(try_flag("nothing"), Err(OutOfScopeError));
    let router = Router::new().route("/", get(|| async { format!("{:?}", try_flag("nothing")) }));
    let address = serve(router.layer(FlagLayer::new(mine("alice")))).await;
    assert_eq!(get_as(address, "/", "alice").await.text(), "Ok(false)");
}
