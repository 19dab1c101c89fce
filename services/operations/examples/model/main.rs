//! Looks at every way an operation can go, up to a number of states: `cargo xtask model [STATES]`.
#![allow(
    clippy::allow_attributes,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "a program for developers"
)]

mod machine;

use std::time::Instant;

use machine::Checked;
use stateright::{Checker as _, Model as _};

fn main() {
    let most: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2_000_000);
    let cases = [
        ("apply of 2 objects", Checked { objects: 2, exec: false, crashes: 2, agent_crashes: 2 }),
        ("command", Checked { objects: 1, exec: true, crashes: 2, agent_crashes: 2 }),
    ];
    let mut violated = false;
    for (name, checked) in cases {
        // In breadth every short way, in depth some long ones.
        violated |= look(&format!("{name}, in breadth"), &checked, most, true);
        violated |= look(&format!("{name}, in depth"), &checked, most / 4, false);
    }
    std::process::exit(i32::from(violated));
}

/// Looks at one case; answers whether something is violated.
fn look(name: &str, checked: &Checked, most: usize, in_breadth: bool) -> bool {
    let began = Instant::now();
    let builder = checked.clone().checker().threads(2).target_state_count(most);
    let (states, different, depth, found) = if in_breadth {
        let checker = builder.spawn_bfs().join();
        (checker.state_count(), checker.unique_state_count(), checker.max_depth(), checker.discoveries())
    } else {
        let checker = builder.spawn_dfs().join();
        (checker.state_count(), checker.unique_state_count(), checker.max_depth(), checker.discoveries())
    };
    let seconds = began.elapsed().as_secs_f64();
    println!("{name}: {states} states, {different} of them different, depth {depth}, {seconds:.1} s");
    let mut violated = false;
    for property in checked.properties() {
        let sometimes = matches!(property.expectation, stateright::Expectation::Sometimes);
        match found.get(property.name) {
            Some(path) if !sometimes => {
                violated = true;
                println!("VIOLATED: {}\n{path:?}", property.name);
            }
            // A command has one object and is never cancelled between two.
            None if sometimes && in_breadth && !(checked.exec && property.name.contains("between two")) => {
                println!("not reached: {}", property.name);
            }
            _ => {}
        }
    }
    violated
}
