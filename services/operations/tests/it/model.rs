//! The short form of the model: `cargo xtask model` looks further.

#[path = "../../examples/model/machine.rs"]
mod machine;

use machine::Checked;
use stateright::{Checker as _, Expectation, Model as _};

fn check(checked: &Checked, most: usize) {
    let properties = checked.properties();
    let checker = checked.clone().checker().threads(2).target_state_count(most).spawn_bfs().join();
    assert!(checker.unique_state_count() > 1_000, "{} states", checker.unique_state_count());
    for (name, path) in checker.discoveries() {
        let property = properties.iter().find(|property| property.name == name).unwrap();
        assert!(matches!(property.expectation, Expectation::Sometimes), "violated: {name}\n{path:?}");
    }
}

#[test]
fn an_apply_is_done_once_whatever_dies() {
    check(&Checked { objects: 2, exec: false, crashes: 1, agent_crashes: 1 }, 60_000);
}

#[test]
fn a_command_is_never_run_twice() {
    check(&Checked { objects: 1, exec: true, crashes: 1, agent_crashes: 1 }, 60_000);
}
