//! The hub's own certificate authority and the certificate of its Kubernetes door, in the hub's folder.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use roadstead_auth::authority::Authority;
use roadstead_http_kit::tls::Files;
use roadstead_runtime::config::Settings;
use roadstead_runtime::{Clock, Secret};

/// Largest PEM file that is read.
const FILE_MAX: u64 = 64 * 1024;

/// What the Kubernetes door is served with.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// Key and chain of the door.
    pub files: Files,
    /// The authority's certificate, for clients.
    pub authority_file: PathBuf,
    /// The same, PEM.
    pub authority: String,
}

/// Makes the authority on the first start, and a certificate of the door on each.
pub(super) fn ensure(folder: &Path, settings: &Settings, clock: &dyn Clock) -> Result<Certificates> {
    let (authority_file, key_file) = (folder.join("ca.pem"), folder.join("ca-key.pem"));
    let kept = read(&authority_file)?.zip(read(&key_file)?);
    let authority = if let Some((certificate, key)) = kept {
        Authority { certificate, key: Secret::new(key) }
    } else {
        let authority = Authority::generate(clock.now()).context("failed to make a certificate authority")?;
        write(folder, &key_file, authority.key.expose(), 0o600)?;
        write(folder, &authority_file, &authority.certificate, 0o644)?;
        authority
    };
    let files = Files { key: folder.join("kubernetes-key.pem"), certificate: folder.join("kubernetes.pem") };
    let leaf = authority.issue(&names(settings), clock.now()).context("failed to issue a certificate")?;
    write(folder, &files.key, leaf.key.expose(), 0o600)?;
    write(folder, &files.certificate, &leaf.chain, 0o644)?;
    Ok(Certificates { files, authority_file, authority: authority.certificate })
}

/// The names and addresses under which the door is reached.
fn names(settings: &Settings) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let server = &settings.server;
    let bound = server.kubernetes_host.unwrap_or(server.host);
    if !bound.is_unspecified() {
        names.push(bound.to_string());
    }
    for url in [&server.kubernetes_public_url, &server.public_url].into_iter().flatten() {
        let host = url.parse::<reqwest::Url>().ok().and_then(|url| url.host_str().map(str::to_owned));
        names.extend(host.map(|host| host.trim_matches(['[', ']']).to_owned()));
    }
    names.sort();
    names.dedup();
    names
}

fn read(file: &Path) -> Result<Option<String>> {
    match fs::metadata(file) {
        Ok(data) if data.len() <= FILE_MAX => {
            fs::read_to_string(file).map(Some).with_context(|| format!("failed to read {}", file.display()))
        }
        Ok(_) => anyhow::bail!("{} is too large", file.display()),
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(fault).with_context(|| format!("failed to read {}", file.display())),
    }
}

fn write(folder: &Path, path: &Path, text: &str, mode: u32) -> Result<()> {
    let shown = path.display();
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(|| format!("failed to write {shown}"))?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes()).with_context(|| format!("failed to write {shown}"))?;
    file.persist(path).with_context(|| format!("failed to write {shown}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use roadstead_runtime::SystemClock;
    use roadstead_runtime::config::{MapEnv, ServiceRole};

    use super::*;

    #[test]
    fn the_authority_stays_and_keys_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::load(ServiceRole::Up, None, &MapEnv::default()).unwrap();
        let first = ensure(folder.path(), &settings, &SystemClock).unwrap();
        let second = ensure(folder.path(), &settings, &SystemClock).unwrap();
        assert_eq!(first.authority, second.authority);
        for (name, mode) in [("ca-key.pem", 0o600), ("kubernetes-key.pem", 0o600), ("ca.pem", 0o644)] {
            assert_eq!(fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
        }
    }
}
