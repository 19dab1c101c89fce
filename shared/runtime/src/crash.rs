//! What a process leaves behind when it breaks: the place where, and nothing of what it was working on.
//!
//! A panic's own text may hold what somebody sent: cutting a text in the middle of a character prints the text. So a text that
//! stands in the source is told, and one that was put together is not. Core files would hold every secret in memory: the
//! process has none, whatever the machine's settings say (a `core_pattern` that is a program is not asked about limits, but it is
//! about `PR_SET_DUMPABLE`). For the same reason no other program of the same user may look into its memory.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write as _;
use std::panic::{self, PanicHookInfo};

use rustix::process::{Resource, Rlimit, setrlimit};

/// Stands for a text that was put together from what the process was working on.
const WITHHELD: &str = "(its text may hold what somebody sent, and is not told)";

/// From now on panics are told without what they are about, and there are no core files. Called once, before anything is read
/// that is secret.
pub fn leave_nothing_behind() {
    panic::set_hook(Box::new(tell));
    // What the system refuses is no reason not to start: both are a second line.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

fn tell(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("without a name").to_owned();
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let text = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or(WITHHELD);
    let trace = Backtrace::capture();
    let trace = if trace.status() == BacktraceStatus::Captured { format!("\n{trace}") } else { String::new() };
    if tracing::dispatcher::has_been_set() {
        tracing::error!("thread {name} panicked at {place}: {text}{trace}");
    } else {
        let _ = writeln!(std::io::stderr(), "thread {name} panicked at {place}: {text}{trace}");
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const CANARY: &str = "c4nary-of-a-request-ä";
    /// Says that this process is the one that breaks.
    const CHILD: &str = "ROADSTEAD_CRASH_CHILD";

    /// What a handler does with what it was sent: cut in the middle of a character, it panics with all of it.
    fn first_letters(text: &str) -> &str {
        &text[..CANARY.len() - 1]
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a task that panics, and nothing else")]
    async fn child() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        leave_nothing_behind();
        let sent = CANARY.to_owned();
        let broken = tokio::spawn(async move { first_letters(&sent).len() }).await.unwrap_err();
        assert!(broken.is_panic());
        let told = tokio::spawn(async { panic!("a text of the source") }).await;
        assert!(told.is_err());
        let limit = rustix::process::getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        #[cfg(target_os = "linux")]
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), rustix::process::DumpableBehavior::NotDumpable);
    }

    #[test]
    fn l01_a_panic_tells_its_place_and_nothing_that_was_sent() {
        let name = concat!(module_path!(), "::child");
        let name = name.split_once("::").map_or(name, |(_, rest)| rest);
        let output = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        assert!(said.contains("crash.rs:") && said.contains("panicked at") && said.contains(WITHHELD), "{said}");
        assert!(said.contains("a text of the source"), "{said}");
        assert!(!said.contains("c4nary"), "{said}");
    }
}
