//! Names of the application's own types, which may run any code while they are asked for their text.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use tower_flags::source::{Env, Layered};
use tower_flags::{Context, Flag, FlagName, Flags, Memory, flag, try_flag, variant};

/// Runs something whenever it is asked.
struct Busy<F>(&'static str, F);

impl<F: Fn()> FlagName for Busy<F> {
    fn name(&self) -> &str {
        self.1();
        self.0
    }

    fn default_answer(&self) -> bool {
        self.1();
        true
    }
}

fn answers() -> Flags {
    Flags::builder().on("mine").variant("page", "a", 1).build(Context::anonymous())
}

/// Enters a scope of its own, by every way there is, and reads in it.
fn enters_a_scope() {
    let other = Flags::builder().off("mine").build(Context::anonymous());
    assert!(!other.sync_scope(|| flag("mine")));
    let future = other.scope(async { flag("mine") });
    assert!(!futures_util::FutureExt::now_or_never(future).unwrap());
}

#[test]
fn a_name_may_enter_a_scope_while_it_is_read() {
    answers().sync_scope(|| {
        assert!(flag(Busy("mine", enters_a_scope)));
        assert!(flag(Busy("mine", enters_a_scope)));
        assert_eq!(variant(Busy("page", enters_a_scope)).as_deref(), Some("a"));
        assert_eq!(try_flag(Busy("mine", enters_a_scope)), Ok(true));
        let unknown = Busy("unknown", enters_a_scope);
        assert!(flag(&unknown) && try_flag(&unknown).unwrap(), "its own default");
    });
}

#[test]
fn a_name_may_read_flags_while_it_is_read() {
    let reads = || assert!(flag("mine"));
    answers().sync_scope(|| {
        assert!(flag(Busy("mine", reads)));
        assert_eq!(variant(Busy("page", reads)).as_deref(), Some("a"));
    });
}

/// Fails a test that waits for itself, instead of hanging.
fn in_time(work: impl FnOnce() + Send + 'static) {
    let (done, wait) = channel();
    thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    wait.recv_timeout(Duration::from_secs(30)).expect("nothing waits for itself, and nothing panics");
}

#[test]
fn a_name_may_change_the_rules_that_it_is_used_on() {
    in_time(|| {
        let memory = Memory::new();
        let changes = || memory.set("another", true).unwrap();
        memory.set(Busy("mine", changes), true).unwrap();
        assert!(memory.remove(Busy("mine", changes)));

        let layered = Layered::over(memory.clone()).with(Env::from_pairs([("FF_MINE", "on")]));
        assert_eq!(layered.part_of(Busy("mine", changes)).as_deref(), Some("env"));
    });
}

#[test]
fn so_may_a_definition() {
    struct Changing(Memory);

    impl From<Changing> for Flag {
        fn from(Changing(memory): Changing) -> Self {
            memory.set("another", true).unwrap();
            Flag::on()
        }
    }

    in_time(|| {
        let memory = Memory::new();
        memory.set("mine", Changing(memory.clone())).unwrap();
        assert!(memory.remove("mine") && memory.remove("another"));
    });
}
