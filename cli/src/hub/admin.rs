//! `roadstead admin recover`: works on the database, for when nobody can log in any more. A running hub takes it in: the
//! events about it leave through its outbox.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, Utc};
use roadstead_auth::password;
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::identity::Role;
use roadstead_contracts::names::Username;
use roadstead_runtime::config::Settings;
use roadstead_runtime::{Clock as _, Ids, Secret, SystemClock};
use roadstead_store::Migrator;
use roadstead_user::domain::{NewPassword, NewUser, SecondFactors, User, UserChanges, UserRef};
use roadstead_user::store::{Store, UserChange};
use serde::Serialize;

use crate::args::hub::{AdminArgs, AdminCommand};
use crate::client::Output;
use crate::wiring::open_for_tools;

/// Random bytes of the password: 144 bits, 24 characters to copy.
const PASSWORD_BYTES: usize = 18;

#[derive(Serialize)]
struct Recovered {
    username: String,
    password: String,
    created: bool,
    /// What went with the old password: the new one would not log in beside it.
    removed_passkeys: usize,
    removed_authenticator_app: bool,
}

/// Runs `admin …`.
pub async fn admin(args: &AdminArgs, output: Output) -> Result<()> {
    let settings = super::settings_for_tools(&args.database)?;
    let username = match &args.command {
        AdminCommand::Recover { username } => username,
        AdminCommand::Rewrap { rotate, service } => {
            return super::rewrap::run(&settings, *service, *rotate, output).await;
        }
    };
    let recovered = recover(&settings, username).await?;
    output.print(&recovered, words)
}

fn words(recovered: &Recovered) -> String {
    let word = if recovered.created { "was made" } else { "has a new password; its sessions have ended" };
    let mut gone = Vec::new();
    if recovered.removed_passkeys > 0 {
        gone.push(format!("passkeys ({})", recovered.removed_passkeys));
    }
    if recovered.removed_authenticator_app {
        gone.push("authenticator app".to_owned());
    }
    let gone = if gone.is_empty() {
        String::new()
    } else {
        format!("\nRemoved: its {} and its recovery codes. Add them anew.", gone.join(", its "))
    };
    format!(
        "Account {} {word}.{gone}\n\n  User      {}\n  Password  {}\n\nShown once. It stays valid: change it.",
        recovered.username, recovered.username, recovered.password
    )
}

async fn recover(settings: &Settings, username: &str) -> Result<Recovered> {
    let Ok(username) = Username::parse(username) else {
        bail!("{username} is no user name: 3 to 50 of a-z, 0-9, '.', '_' and '-'");
    };
    let opened = open_for_tools(settings, roadstead_user::NAME).await?;
    Migrator::of(roadstead_user::NAME).up(&opened).await.context("failed to bring the user database up to date")?;
    let store: Arc<dyn Store> = roadstead_store::share!(opened => dyn Store);
    let ids = Ids::system(SystemClock::shared());
    let now = SystemClock.now();
    let secret = ids.token(PASSWORD_BYTES);
    let hash = hash(secret.clone()).await?;
    let found = store.user(&UserRef::Name(username.clone())).await.context("failed to look the account up")?;
    let created = found.is_none();
    let gone = if let Some(user) = found {
        restore(store.as_ref(), &user, &hash, &ids, now).await?
    } else {
        make(store.as_ref(), &username, hash, &ids, now).await?;
        SecondFactors::default()
    };
    opened.close().await;
    Ok(Recovered {
        username: username.as_str().to_owned(),
        password: secret.expose().to_owned(),
        created,
        removed_passkeys: gone.passkeys,
        removed_authenticator_app: gone.authenticator_app,
    })
}

async fn hash(secret: Secret) -> Result<String> {
    let hashed = tokio::task::spawn_blocking(move || password::hash(&secret)).await?;
    hashed.context("failed to hash the password")
}

fn event(fact: Fact, ids: &Ids, now: DateTime<Utc>) -> Event {
    Event { id: ids.next(), at: now, fact }
}

/// Gives an account its rights and a password that logs in by itself. Answers what it asked for beside the old one.
async fn restore(store: &dyn Store, user: &User, hash: &str, ids: &Ids, now: DateTime<Utc>) -> Result<SecondFactors> {
    let mut roles = user.roles.clone();
    roles.insert(Role::Admin);
    let changes = UserChanges { active: Some(true), roles: Some(roles), ..UserChanges::default() };
    let changed = event(Fact::UserChanged { user_id: user.id }, ids, now);
    match store.change_user(user.id, &changes, user.id, now, &changed).await.context("failed to change the account")? {
        UserChange::Done(_) => {}
        UserChange::Missing | UserChange::LastAdmin => bail!("the account was removed meanwhile"),
    }
    let changed = event(Fact::UserChanged { user_id: user.id }, ids, now);
    let app = store.authenticator(user.id).await.context("failed to look its authenticator app up")?;
    let passkeys = store.passkeys(user.id).await.context("failed to look its passkeys up")?.len();
    // Whoever lost everything has no second proof either; and an intruder's passkey would sign in without the password.
    let new = NewPassword { remove_second_factors: true, ..NewPassword::new(hash) };
    if !store.set_password(user.id, &new, now, &changed).await.context("failed to set the password")? {
        bail!("the account was removed meanwhile");
    }
    Ok(SecondFactors { passkeys, authenticator_app: app.is_some_and(|app| app.confirmed) })
}

async fn make(store: &dyn Store, username: &Username, hash: String, ids: &Ids, now: DateTime<Utc>) -> Result<()> {
    let new = NewUser {
        id: ids.next(),
        username: username.clone(),
        // Nothing is ever sent there: `.invalid` never resolves (RFC 2606 §2).
        email: format!("{username}@roadstead.invalid"),
        first_name: None,
        last_name: None,
        password_hash: hash,
        roles: [Role::Admin].into(),
        created_at: now,
    };
    let created = event(Fact::UserCreated { user_id: new.id }, ids, now);
    store.insert_user(&new, None, &created).await.context("failed to make the account")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use roadstead_runtime::config::{MapEnv, ServiceRole};
    use roadstead_user::domain::Passkey;

    use super::*;

    #[tokio::test]
    async fn regression_a_recovered_password_logs_in_where_there_were_second_factors() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().display());
        let settings =
            Settings::load(ServiceRole::Tool, None, &MapEnv::new([("ROADSTEAD_DATABASE_URL", url)])).unwrap();
        let first = recover(&settings, "owner").await.unwrap();
        assert!(first.removed_passkeys == 0 && !first.removed_authenticator_app);
        assert!(!words(&first).contains("Removed"));
        let opened = open_for_tools(&settings, roadstead_user::NAME).await.unwrap();
        let store: Arc<dyn Store> = roadstead_store::share!(opened => dyn Store);
        let (ids, now) = (Ids::system(SystemClock::shared()), SystemClock.now());
        let (user, _) = store.user_for_login("owner").await.unwrap().unwrap();
        let passkey = Passkey {
            id: ids.next(),
            user_id: user.id,
            credential_id: "key".to_owned(),
            public_key: vec![1],
            name: "telephone".to_owned(),
            transports: Vec::new(),
            sign_count: 0,
            backup_eligible: false,
            backed_up: false,
            created_at: now,
            last_used_at: None,
        };
        store.insert_passkey(&passkey, &["code".to_owned()]).await.unwrap();
        assert!(store.begin_authenticator(user.id, "sealed", now).await.unwrap());
        assert!(store.confirm_authenticator(user.id, 1, &["another".to_owned()], now).await.unwrap());
        let second = recover(&settings, "owner").await.unwrap();
        assert!(second.removed_passkeys == 1 && second.removed_authenticator_app);
        assert!(
            words(&second).contains("Removed: its passkeys (1), its authenticator app and its recovery codes."),
            "{}",
            words(&second)
        );
        // Nothing is asked for beside the password: this is what a login looks at.
        assert!(store.passkeys(user.id).await.unwrap().is_empty());
        assert!(store.authenticator(user.id).await.unwrap().is_none());
        assert_eq!(store.recovery_codes_left(user.id).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn an_account_is_made_and_then_restored() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().display());
        let env = MapEnv::new([("ROADSTEAD_DATABASE_URL", url)]);
        let settings = Settings::load(ServiceRole::Tool, None, &env).unwrap();
        let first = recover(&settings, "Owner").await.unwrap();
        assert!(first.created && first.username == "owner");
        let second = recover(&settings, "owner").await.unwrap();
        assert!(!second.created && second.password != first.password);
        let opened = open_for_tools(&settings, roadstead_user::NAME).await.unwrap();
        let store: Arc<dyn Store> = roadstead_store::share!(opened => dyn Store);
        let (user, stored) = store.user_for_login("owner").await.unwrap().unwrap();
        let stored = stored.unwrap();
        assert!(user.active && user.is_admin());
        assert!(password::verify(&Secret::new(second.password), &stored));
        assert!(!password::verify(&Secret::new(first.password), &stored));
        assert!(recover(&settings, "no such name!").await.is_err());
    }
}
