//! What a run of tests came to, read from what libtest prints.

use std::collections::BTreeSet;
use std::time::Duration;

/// Lines of a failed test's message that the summary repeats; the whole is above it.
const MESSAGE_LINES: usize = 12;

/// So many of the tests that took longest are named at the end.
const LONGEST: usize = 12;

/// What a run of tests came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: usize,
    pub(super) failed: usize,
    /// Each failed test with what it said, so that the end of a long output tells what to look at.
    pub(super) failures: Vec<Failure>,
    /// Whether the lines that come now belong to the last failure's message.
    in_message: bool,
    /// Tests of which libtest said that they take long, and that have not ended.
    slow: BTreeSet<String>,
    /// Tests for which the others were waited for longest, the longest first.
    pub(super) longest: Vec<(Duration, String)>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) test: String,
    pub(super) message: Vec<String>,
}

impl Tally {
    /// Notes how long nothing had ended when this line came, where it is a test's end. Tests that run side by side share that
    /// time; those that take long run alone.
    pub(super) fn took(&mut self, line: &str, time: Duration) -> bool {
        let ended = line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "));
        if let Some((test, _)) = ended {
            self.longest.push((time, test.to_owned()));
            self.longest.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
            self.longest.truncate(LONGEST);
        }
        ended.is_some() || line.starts_with("running ")
    }

    /// Takes in one line of a test program.
    pub(super) fn add(&mut self, line: &str) {
        if let Some(test) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.failures.push(Failure { test: test.to_owned(), message: Vec::new() });
            self.in_message = false;
        } else if let Some(failure) = self.failures.last_mut() {
            let panic = line.starts_with("thread '") && line.contains("panicked at");
            // With RUST_BACKTRACE an error prints its own before the panic's.
            let over = line.trim().eq_ignore_ascii_case("stack backtrace:") || line.starts_with("test result: ");
            self.in_message = (self.in_message || panic) && !over;
            if self.in_message && failure.message.len() < MESSAGE_LINES {
                failure.message.push(line.to_owned());
            }
        }
        if let Some(test) = line.strip_prefix("test ") {
            if let Some(test) = test.strip_suffix(" has been running for over 60 seconds") {
                self.slow.insert(test.to_owned());
            } else if let Some((test, _)) = test.split_once(" ... ") {
                self.slow.remove(test);
            }
        }
        self.count(line);
    }

    /// The program that ran last was ended because nothing came of it: its tests that had not ended are failures.
    pub(super) fn hung(&mut self, silence: Duration) {
        let tests: Vec<String> = std::mem::take(&mut self.slow).into_iter().collect();
        let test = if tests.is_empty() { "a test program".to_owned() } else { tests.join(", ") };
        let message = vec![format!("did not end: no line for {} minutes", silence.as_secs() / 60)];
        self.failed += tests.len().max(1);
        self.failures.push(Failure { test, message });
        self.in_message = false;
    }

    /// Counts a program's last line: `test result: ok. 12 passed; 0 failed; …`.
    fn count(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        for count in counts.split("; ") {
            match count.split_once(' ').map(|(number, word)| (number.parse::<usize>(), word)) {
                Some((Ok(number), "passed")) => self.passed += number,
                Some((Ok(number), "failed")) => self.failed += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
            "test tests::results_are_added_up ... ok",
        ] {
            tally.add(line);
        }
        assert_eq!((tally.passed, tally.failed, tally.failures.len()), (15, 2, 0));
    }

    #[test]
    fn the_longest_are_kept() {
        let mut tally = Tally::default();
        for seconds in 0..40 {
            assert!(tally.took(&format!("test part::number_{seconds} ... ok"), Duration::from_secs(seconds * 7 % 40)));
        }
        assert!(!tally.took("something printed", Duration::from_secs(90)));
        assert!(tally.took("running 3 tests", Duration::from_secs(90)));
        let seconds: Vec<u64> = tally.longest.iter().map(|(time, _)| time.as_secs()).collect();
        assert_eq!(seconds, (28..40).rev().collect::<Vec<_>>());
    }

    #[test]
    fn the_end_repeats_what_failed_without_its_backtrace() {
        let mut tally = Tally::default();
        for line in [
            "---- replicas::a_test stdout ----",
            "3 right",
            "",
            "thread 'replicas::a_test' (12) panicked at tests/it/replicas.rs:24:27:",
            "called `Result::unwrap()` on an `Err` value: 2 failed",
            "",
            "Stack backtrace:",
            "   0: anyhow::error",
            "stack backtrace:",
            "   0: core::panicking",
            "--- cluster-1",
            "failures:",
            "    replicas::a_test",
            "test result: FAILED. 3 passed; 1 failed; 0 ignored",
        ] {
            tally.add(line);
        }
        assert_eq!(tally.failed, 1);
        assert_eq!(tally.failures.len(), 1);
        assert_eq!(tally.failures[0].test, "replicas::a_test");
        assert_eq!(tally.failures[0].message.len(), 3, "{:?}", tally.failures);
        assert!(tally.failures[0].message[1].ends_with("2 failed"));
    }

    #[test]
    fn a_test_that_does_not_end_is_a_failure_by_name() {
        let mut tally = Tally::default();
        for line in [
            "test a::slow has been running for over 60 seconds",
            "test a::stuck has been running for over 60 seconds",
            "test a::slow ... ok",
        ] {
            tally.add(line);
        }
        tally.hung(std::time::Duration::from_secs(600));
        assert_eq!((tally.failed, tally.failures[0].test.as_str()), (1, "a::stuck"));
        assert_eq!(tally.failures[0].message, ["did not end: no line for 10 minutes"]);
        tally.hung(std::time::Duration::from_secs(600));
        assert_eq!((tally.failed, tally.failures.len()), (2, 2));
    }
}
