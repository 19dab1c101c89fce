//! How many files and connections the process may hold open.

use anyhow::{Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A hub at rest holds about eighty: listeners, databases, the broker, worker threads.
pub const LEAST_FOR_A_HUB: u64 = 256;
/// An agent at rest holds about fifteen; each stream takes one more.
pub const LEAST_FOR_AN_AGENT: u64 = 64;
/// More helps nobody, and some programs walk through all that are allowed.
const MOST: u64 = 1 << 20;

/// Raises the soft limit to the hard one, as every connection takes a descriptor and service managers start programs with
/// 1,024 ([systemd](https://0pointer.net/blog/file-descriptor-limits.html)). Answers the limit. Fails where it stays below
/// `least`: a process that starts without a chance would die later, in the middle of something.
pub fn raise_descriptor_limit(least: u64) -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(MOST);
    let mut soft = limit.current.unwrap_or(MOST);
    let wanted = hard.min(MOST);
    if soft < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).is_ok() {
        soft = wanted;
    }
    ensure!(
        soft >= least,
        "this process may hold {soft} files and connections open, it needs at least {least}: raise the limit (ulimit -n)"
    );
    Ok(soft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_hard_one_and_too_few_are_refused() {
        let raised = raise_descriptor_limit(1).unwrap();
        let after = getrlimit(Resource::Nofile);
        assert_eq!(after.current.unwrap_or(MOST), raised);
        assert!(raised >= after.maximum.unwrap_or(MOST).min(MOST));
        let refusal = raise_descriptor_limit(u64::MAX).unwrap_err().to_string();
        assert!(refusal.contains("ulimit -n"), "{refusal}");
    }
}
