//! The project's own commands: `cargo xtask help` lists them.
//!
//! One file per command. Links neither the services nor their libraries, so that the first `cargo xtask` on a clean clone
//! starts after seconds; what must be asked of the product's code is asked of its binaries.

mod campaign;
mod ci;
mod conformance;
mod demo;
mod deps;
mod dev;
mod drift;
mod fuzz;
mod lines;
mod model;
mod mutants;
mod repository;
mod rewrap;
mod rig;
mod run;
mod soak;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Roadstead's development commands", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// From nothing to the namespaces of two real clusters, printed through the hub
    Demo(demo::Arguments),
    /// Every test, with real servers and a real cluster; the last line counts them
    Test(test::Arguments),
    /// Kill processes while the product works, for as long as you like, and check what became of the work
    Campaign(campaign::Arguments),
    /// A thousand fake agents under a steady load, for as long as you like: everything done, nothing twice, no growth
    Soak(soak::Arguments),
    /// Everything that must hold before a change goes in
    Ci(ci::Arguments),
    /// Kubernetes' own tests, directly and through the hub; takes an hour
    Conformance(conformance::Arguments),
    /// The tunnel's codec and state machine and the parsers of credentials under a fuzzer
    Fuzz(fuzz::Arguments),
    /// Every way an operation can go, to a number of states
    Model(model::Arguments),
    /// Faults put into what decides about credentials, rights and secrets: how many the tests catch
    Mutants(mutants::Arguments),
    /// Many sealed rows put under a new master key while they are used, on both databases
    Rewrap(rewrap::Arguments),
    /// RabbitMQ, PostgreSQL and Redis for development and tests
    Dev(dev::Arguments),
    /// Check that dependencies point one way and libraries stay with their owners
    Deps,
    /// Make the generated files again
    Drift(drift::Arguments),
    /// Check that no file is too long
    Lines,
    /// Clean up behind a run that was ended by force
    #[command(hide = true)]
    Watch(rig::Watch),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Campaign(arguments) => campaign::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::Ci(arguments) => ci::run(&arguments),
        Command::Conformance(arguments) => conformance::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Model(arguments) => model::run(&arguments),
        Command::Mutants(arguments) => mutants::run(&arguments),
        Command::Rewrap(arguments) => rewrap::run(&arguments),
        Command::Dev(arguments) => dev::run(&arguments),
        Command::Deps => deps::run(),
        Command::Drift(arguments) => drift::run(&arguments),
        Command::Lines => lines::run(),
        Command::Watch(run) => rig::watch(&run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
