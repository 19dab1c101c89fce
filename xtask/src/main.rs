//! The project's own commands: `cargo xtask help` lists them.
//!
//! One file per command. Links neither the services nor their libraries, so that the first `cargo xtask` on a clean clone
//! starts after seconds; what must be asked of the product's code is asked of its binaries.

mod ci;
mod demo;
mod deps;
mod dev;
mod drift;
mod lines;
mod repository;
mod rig;
mod run;
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
    /// Everything that must hold before a change goes in
    Ci(ci::Arguments),
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
        Command::Ci(arguments) => ci::run(&arguments),
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
