//! `ci`: everything that must hold before a change goes in, with the time each step took.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use crate::run::{cargo, visible};
use crate::{deps, drift, lines, test};

#[derive(Args)]
#[group(skip)]
pub(crate) struct Arguments {
    /// Leave out what takes longest
    #[arg(long)]
    without_tests: bool,
    #[command(flatten)]
    test: test::Arguments,
}

type Step<'a> = (&'static str, Box<dyn Fn() -> Result<()> + 'a>);

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut steps: Vec<Step<'_>> = vec![
        ("fmt", Box::new(|| visible(&mut cargo(&["fmt", "--all", "--check"])))),
        ("lines", Box::new(lines::run)),
        ("deps", Box::new(deps::run)),
        (
            "clippy",
            Box::new(|| {
                visible(&mut cargo(&[
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--keep-going",
                    "--",
                    "--deny",
                    "warnings",
                ]))
            }),
        ),
        ("doc", Box::new(document)),
        ("deny", Box::new(deny)),
        ("drift", Box::new(|| drift::run(&drift::Arguments { check: true, write: false }))),
    ];
    if !arguments.without_tests {
        steps.push(("test", Box::new(|| test::run(&arguments.test))));
    }
    let mut results = Vec::new();
    for (name, step) in steps {
        println!("\n=== {name}");
        let started = Instant::now();
        let result = step();
        if let Err(error) = &result {
            eprintln!("error: {error:#}");
        }
        results.push((name, started.elapsed(), result.is_ok()));
    }
    println!();
    for (name, time, ok) in &results {
        println!("{:<8} {:>7.1} s  {}", name, time.as_secs_f64(), if *ok { "ok" } else { "FAILED" });
    }
    let total: Duration = results.iter().map(|(_, time, _)| *time).sum();
    println!("{:<8} {:>7.1} s", "all", total.as_secs_f64());
    if results.iter().any(|(_, _, ok)| !ok) {
        bail!("not everything holds");
    }
    Ok(())
}

fn document() -> Result<()> {
    visible(
        cargo(&["doc", "--workspace", "--keep-going", "--no-deps", "--document-private-items", "--quiet"])
            .env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private_intra_doc_links"),
    )
}

/// Licences, bans and sources. Advisories need a database from the network each time: `cargo deny check advisories`, by hand.
fn deny() -> Result<()> {
    if !cargo(&["deny", "--version"]).output().is_ok_and(|output| output.status.success()) {
        eprintln!("installing cargo-deny, once");
        // Without optimisation: it builds in half the time and this workspace is checked in seconds all the same.
        visible(cargo(&["install", "--locked", "--debug", "cargo-deny"]).env("CARGO_PROFILE_DEV_DEBUG", "false"))?;
    }
    visible(&mut cargo(&["deny", "--workspace", "check", "bans", "licenses", "sources"]))
}
