//! `rewrap`: the long form of the test that puts sealed rows under a new master key while they are used. The short form is
//! part of `test`.

use anyhow::Result;
use clap::Args;

use crate::rig::Rig;
use crate::run;

#[derive(Args)]
pub(crate) struct Arguments {
    /// So many rows in each database
    #[arg(long, default_value_t = 100_000)]
    rows: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut rig = Rig::new("rewrap")?;
    let servers = rig.servers()?;
    let mut command = run::cargo(&["test", "--package", "roadstead-store", "--test", "it"]);
    command.args(["--", "--include-ignored", "--nocapture", "--test-threads", "1", "rows_follow_while_they_are_used"]);
    run::visible(command.envs(servers).env("ROADSTEAD_TEST_REWRAP_ROWS", arguments.rows.to_string()))
}
