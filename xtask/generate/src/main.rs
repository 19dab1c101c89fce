//! What `cargo xtask drift` asks of the product's own code: files that are made from it, and what files written by hand
//! must agree with. Prints JSON `{"files": [[path, text]], "faults": [text]}`; changes nothing.
//!
//! A program of its own, so that `xtask` need not link the product.

mod deployment;
mod openapi;
mod pages;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use roadstead_runtime::config::docs;
use serde::Serialize;

#[derive(Default, Serialize)]
struct Generated {
    files: Vec<(PathBuf, String)>,
    faults: Vec<String>,
}

fn main() -> Result<()> {
    let root = std::env::args_os().nth(1).context("usage: roadstead-generate REPOSITORY")?;
    let root = Path::new(&root);
    let mut generated = Generated::default();
    generated.files.push((".env.example".into(), docs::env_example()));
    generated.files.push(("docs/configuration.md".into(), docs::page()));
    let document = openapi::merge(&[
        serde_json::to_value(roadstead_cluster::openapi())?,
        serde_json::to_value(roadstead_user::openapi())?,
    ])?;
    generated.files.push(("docs/openapi.json".into(), format!("{}\n", serde_json::to_string_pretty(&document)?)));
    let yaml = serde_saphyr::to_string(&document).context("failed to write YAML")?;
    generated.files.push(("docs/swagger.yaml".into(), yaml));
    pages::check_errors(root, &mut generated.faults)?;
    pages::check_dependencies(root, &mut generated.faults)?;
    deployment::check(root, &mut generated.faults)?;
    println!("{}", serde_json::to_string(&generated)?);
    Ok(())
}
