//! `fuzz`: the tunnel's codec and state machine and the parsers of credentials under libFuzzer (see `fuzz/README.md`).

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::repository::root;
use crate::run;

const TARGETS: [&str; 11] = [
    "frame",
    "hostile",
    "pair",
    "websocket",
    "tokens",
    "signed",
    "stored",
    "headers",
    "kubernetes",
    "connection",
    "passkeys",
];

/// What `cargo fuzz` passes too, as far as a stable compiler takes it: counters at each edge, and comparisons.
const INSTRUMENTATION: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Clink-dead-code -Ccodegen-units=1";

#[derive(Args)]
pub(crate) struct Arguments {
    /// One target only
    #[arg(long)]
    target: Option<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Run this input once instead
    #[arg(long, requires = "target")]
    input: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let crate_folder = root().join("fuzz");
    let built = root().join("target/fuzz");
    // With a target named, instrumentation is for what is fuzzed, not for build scripts.
    let triple = host()?;
    run::visible(
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--release", "--target", &triple, "--target-dir"])
            .arg(&built)
            .env("RUSTFLAGS", INSTRUMENTATION)
            .current_dir(&crate_folder),
    )?;
    for target in TARGETS {
        if arguments.target.as_deref().is_some_and(|wanted| wanted != target) {
            continue;
        }
        let mut command = Command::new(built.join(&triple).join("release").join(target));
        if let Some(input) = &arguments.input {
            command.arg(input);
        } else {
            let corpus = built.join("corpus").join(target);
            let artifacts = built.join("artifacts").join(target);
            for folder in [&corpus, &artifacts] {
                fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
            }
            command
                .arg(format!("-max_total_time={}", arguments.seconds))
                .arg(format!("-artifact_prefix={}/", artifacts.display()))
                .args(["-max_len=4096", "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=1"])
                .arg(corpus);
            // Inputs that pass the first checks; what is found beside them goes to the corpus.
            let seeds = crate_folder.join("seeds").join(target);
            if seeds.exists() {
                command.arg(seeds);
            }
        }
        println!("=== {target}");
        run::visible(&mut command)?;
    }
    Ok(())
}

/// The triple of this machine's compiler.
fn host() -> Result<String> {
    let said = run::captured(Command::new("rustc").arg("-vV"))?;
    said.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).context("rustc names no host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_run_and_every_seed_has_one() {
        let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
        let mut built: Vec<&str> = manifest
            .split("[[bin]]")
            .skip(1)
            .filter_map(|bin| bin.split("name = \"").nth(1)?.split('"').next())
            .collect();
        let mut run = TARGETS.to_vec();
        built.sort_unstable();
        run.sort_unstable();
        assert_eq!(built, run);
        for folder in fs::read_dir(root().join("fuzz/seeds")).unwrap() {
            let name = folder.unwrap().file_name();
            assert!(name.to_str().is_some_and(|name| TARGETS.contains(&name)), "{name:?}");
        }
    }
}
