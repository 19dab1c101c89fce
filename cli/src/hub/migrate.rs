//! `roadstead migrate …`: the databases' schemas.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use comfy_table::Cell;
use roadstead_runtime::config::Settings;
use roadstead_store::Migrator;
use serde::Serialize;

use crate::args::hub::{DatabaseName, MigrateArgs, MigrateCommand};
use crate::client::Output;
use crate::wiring::open_for_tools;

/// The databases that steps are kept for.
const DIALECTS: [&str; 2] = ["postgres", "sqlite"];

#[derive(Serialize)]
struct Step {
    service: &'static str,
    version: i64,
    name: String,
    applied_at: Option<chrono::DateTime<chrono::Utc>>,
}

/// Runs `migrate …`.
pub async fn migrate(args: &MigrateArgs, output: Output) -> Result<()> {
    if let MigrateCommand::New { service, name, folder } = &args.command {
        return new(*service, name, folder, output);
    }
    let settings = super::settings_for_tools(&args.database)?;
    match &args.command {
        MigrateCommand::Up { service } => up(&settings, *service, output).await,
        MigrateCommand::Down { service, steps } => down(&settings, *service, *steps, output).await,
        MigrateCommand::Status { service } => {
            let steps = status(&settings, *service).await?;
            output.print(&steps, |steps| table(steps))
        }
        MigrateCommand::New { .. } => Ok(()),
    }
}

fn chosen(service: Option<DatabaseName>) -> Vec<&'static str> {
    service.map_or_else(|| DatabaseName::ALL.iter().map(|name| name.as_str()).collect(), |name| vec![name.as_str()])
}

async fn up(settings: &Settings, service: Option<DatabaseName>, output: Output) -> Result<()> {
    for service in chosen(service) {
        let opened = open_for_tools(settings, service).await?;
        let steps = Migrator::of(service).up(&opened).await.with_context(|| format!("failed to migrate {service}"))?;
        opened.close().await;
        let word = if steps == 1 { "step" } else { "steps" };
        output.say(&format!("{service}: {steps} {word} applied"))?;
    }
    Ok(())
}

/// Without a service: the steps that were applied last, wherever they are.
async fn down(settings: &Settings, service: Option<DatabaseName>, steps: usize, output: Output) -> Result<()> {
    ensure!(steps > 0, "--steps must be at least 1");
    for _ in 0..steps {
        let newest = status(settings, service)
            .await?
            .into_iter()
            .filter(|step| step.applied_at.is_some())
            .max_by_key(|step| (step.applied_at, step.version));
        let Some(newest) = newest else {
            return output.say("no step is in");
        };
        let opened = open_for_tools(settings, newest.service).await?;
        let undone = Migrator::of(newest.service).down(&opened, 1).await;
        opened.close().await;
        undone.with_context(|| format!("failed to take {} back from {}", newest.name, newest.service))?;
        output.say(&format!("{}: {:06} {} taken back", newest.service, newest.version, newest.name))?;
    }
    Ok(())
}

async fn status(settings: &Settings, service: Option<DatabaseName>) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for service in chosen(service) {
        let opened = open_for_tools(settings, service).await?;
        let states = Migrator::of(service).status(&opened).await;
        opened.close().await;
        for state in states.with_context(|| format!("failed to read the schema of {service}"))? {
            steps.push(Step { service, version: state.version, name: state.name, applied_at: state.applied_at });
        }
    }
    Ok(steps)
}

fn table(steps: &[Step]) -> String {
    let rows = steps
        .iter()
        .map(|step| {
            let applied = step.applied_at.map_or_else(|| "pending".to_owned(), |time| time.to_rfc3339());
            vec![
                Cell::new(step.service),
                Cell::new(format!("{:06}", step.version)),
                Cell::new(&step.name),
                Cell::new(applied),
            ]
        })
        .collect();
    crate::client::table(&["SERVICE", "STEP", "NAME", "APPLIED"], rows)
}

fn new(service: DatabaseName, name: &str, folder: &Path, output: Output) -> Result<()> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    ensure!(
        !name.is_empty() && name.len() <= 64 && name.bytes().all(good),
        "the name must be 1 to 64 of a-z, 0-9 and _"
    );
    let service = service.as_str();
    let mut next = 1;
    for dialect in DIALECTS {
        let there = folder.join(dialect).join(service);
        fs::create_dir_all(&there).with_context(|| format!("failed to make {}", there.display()))?;
        for entry in fs::read_dir(&there).with_context(|| format!("failed to read {}", there.display()))? {
            let file = entry?.file_name();
            let number = file.to_string_lossy().split('_').next().and_then(|digits| digits.parse::<u32>().ok());
            next = next.max(number.map_or(0, |number| number + 1));
        }
    }
    let mut made = Vec::new();
    for dialect in DIALECTS {
        for direction in ["up", "down"] {
            let file = folder.join(dialect).join(service).join(format!("{next:06}_{name}.{direction}.sql"));
            if file.exists() {
                bail!("{} is there already", file.display());
            }
            fs::write(&file, format!("-- {service} {next:06} {name}: {direction} ({dialect})\n"))
                .with_context(|| format!("failed to write {}", file.display()))?;
            made.push(file.display().to_string());
        }
    }
    output.print(&made, |made| made.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::OutputFormat;

    #[test]
    fn new_steps_are_numbered_on() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::new(OutputFormat::Json);
        new(DatabaseName::User, "add_thing", folder.path(), output).unwrap();
        new(DatabaseName::User, "add_more", folder.path(), output).unwrap();
        for dialect in DIALECTS {
            let there = folder.path().join(dialect).join("user");
            assert!(there.join("000001_add_thing.up.sql").exists());
            assert!(there.join("000002_add_more.down.sql").exists());
        }
        for bad in ["", "Add", "a/b", "../x"] {
            assert!(new(DatabaseName::User, bad, folder.path(), output).is_err(), "{bad}");
        }
    }
}
