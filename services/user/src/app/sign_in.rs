//! Who somebody from an identity provider is here. The provider's name for a person is `(issuer, subject)`, never the e-mail
//! address: addresses change hands (row A16 of `docs/reliability.md`).

use std::collections::BTreeSet;

use roadstead_auth::oidc::IdToken;
use roadstead_contracts::event::Fact;
use roadstead_contracts::identity::Role;
use roadstead_contracts::ids::{TypedId as _, UserId};
use roadstead_contracts::names::{Username, parse_email};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::Secret;

use super::{App, Issued, taken};
use crate::domain::{
    FROM_PROVIDER, FROM_SERVICE, NewAccount, NewSession, ProviderSettings, SessionOrigin, SignIn, User, UserChanges,
    UserRef, check_person_name,
};
use crate::oidc::refused;
use crate::store::UserChange;

/// How often another name is tried when one is taken.
const NAME_TRIES: u8 = 4;
/// Where sealed tokens of a provider stand.
const SEALED: (&str, &str) = ("sign_ins", "sealed_id_token");

impl App {
    /// The account of a person whom a provider vouches for; made when there is none.
    pub(super) async fn account_of(&self, provider: &ProviderSettings, token: &IdToken) -> Result<User> {
        let user = self.account_by_link(provider, token).await?;
        let event = self.event(Fact::UserChanged { user_id: user.id }, self.clock.now());
        if self.store.set_groups(user.id, &provider.groups(token), &event).await? {
            self.outbox.nudge();
        }
        Ok(user)
    }

    async fn account_by_link(&self, provider: &ProviderSettings, token: &IdToken) -> Result<User> {
        let mapped = provider.roles(token);
        if provider.require_role && mapped.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(not_linked("none of your groups has a role on this hub"));
        }
        let now = self.clock.now();
        let found = self.store.account_of_subject(&provider.issuer, &token.subject, now).await?;
        let Some(user) = found else { return self.first_login(provider, token, mapped).await };
        if !user.active {
            return Err(refused("the account is switched off"));
        }
        self.follow_roles(user, mapped).await
    }

    async fn first_login(
        &self,
        provider: &ProviderSettings,
        token: &IdToken,
        mapped: Option<BTreeSet<Role>>,
    ) -> Result<User> {
        let email = token.email.as_deref().and_then(|text| parse_email(text).ok());
        let verified = token.email_verified && email.is_some();
        let owner = match &email {
            Some(email) => self.store.account_by_email(email).await?,
            None => None,
        };
        if let Some(owner) = owner {
            let may = verified && provider.link_by_email && owner.active && owner.auth_source != FROM_SERVICE;
            if !may {
                return Err(not_linked("an account with this e-mail address exists already"));
            }
            self.store.link_subject(owner.id, &link(provider, token), self.clock.now()).await.map_err(taken)?;
            tracing::info!(user_id = %owner.id, "an account was linked to the identity provider {}", provider.name);
            return self.follow_roles(owner, mapped).await;
        }
        if provider.require_verified_email && !verified {
            return Err(not_linked("the identity provider does not call your e-mail address verified"));
        }
        self.make_account(provider, token, email, mapped).await
    }

    async fn make_account(
        &self,
        provider: &ProviderSettings,
        token: &IdToken,
        email: Option<String>,
        mapped: Option<BTreeSet<Role>>,
    ) -> Result<User> {
        let id: UserId = self.ids.next();
        let roles = mapped.filter(|roles| !roles.is_empty()).unwrap_or_else(|| self.options.default_roles.clone());
        let person = |field, text: &Option<String>| check_person_name(field, text.clone()).ok().flatten();
        let wished = [token.preferred_username.as_deref(), token.email.as_deref()];
        let name = wished.into_iter().flatten().find_map(plain_name);
        // `.invalid` never resolves (RFC 2606 §2).
        let email = email.unwrap_or_else(|| format!("{}@{}.invalid", id.uuid().simple(), provider.name));
        let mut new = NewAccount {
            id,
            username: Username::parse(&format!("user-{}", self.suffix()))?,
            email,
            first_name: person("first_name", &token.given_name),
            last_name: person("last_name", &token.family_name),
            source: FROM_PROVIDER,
            roles,
            created_at: self.clock.now(),
        };
        let event = self.event(Fact::UserCreated { user_id: id }, new.created_at);
        let link = link(provider, token);
        for attempt in 0..NAME_TRIES {
            if let Some(name) = &name {
                // Somebody else's name is never taken over: the newcomer gets another one.
                let text = if attempt == 0 { name.clone() } else { format!("{name}-{}", self.suffix()) };
                new.username = Username::parse(&text)?;
            }
            match self.store.insert_account(&new, Some(&link), None, &event).await {
                Err(fault) if fault.is_conflict("users_username_key") => {}
                Err(fault) if fault.is_conflict("users_email_key") => {
                    return Err(not_linked("an account with this e-mail address exists already"));
                }
                Err(fault) => return Err(self.linked_meanwhile(provider, token).await.ok_or(fault)?),
                Ok(user) => {
                    self.outbox.nudge();
                    tracing::info!(user_id = %user.id, "an account was made for the identity provider {}", provider.name);
                    return Ok(user);
                }
            }
        }
        Err(Error::new(Code::Conflict, "no free user name was found"))
    }

    /// Two first logins of one person at once: the second finds the link there.
    async fn linked_meanwhile(&self, provider: &ProviderSettings, token: &IdToken) -> Option<Error> {
        let found = self.store.account_of_subject(&provider.issuer, &token.subject, self.clock.now()).await.ok()?;
        found.map(|_| Error::new(Code::Conflict, "the account was made a moment ago, log in again"))
    }

    /// Roles come with each login where the provider's groups have roles here.
    async fn follow_roles(&self, user: User, mapped: Option<BTreeSet<Role>>) -> Result<User> {
        let Some(roles) = mapped else { return Ok(user) };
        let roles = if roles.is_empty() { self.options.default_roles.clone() } else { roles };
        if roles == user.roles {
            return Ok(user);
        }
        let now = self.clock.now();
        let event = self.event(Fact::UserChanged { user_id: user.id }, now);
        let changes = UserChanges { roles: Some(roles), ..UserChanges::default() };
        match self.store.change_user(user.id, &changes, user.id, now, &event).await.map_err(taken)? {
            UserChange::Done(changed) => {
                self.outbox.nudge();
                tracing::info!(user_id = %user.id, "an account's roles follow its groups at the identity provider");
                Ok(changed)
            }
            UserChange::LastAdmin => {
                tracing::warn!(user_id = %user.id, "the last admin keeps that role against the identity provider's word");
                Ok(user)
            }
            UserChange::Missing => Err(refused("the account is gone")),
        }
    }

    /// How a login came about, with the provider's token sealed.
    pub(super) fn sign_in(&self, provider: &ProviderSettings, token: &IdToken, text: &Secret) -> Result<SignIn> {
        let sealed = self.sealer.seal(SEALED.0, SEALED.1, &token.subject, text.expose().as_bytes());
        let sealed = sealed.map_err(|fault| {
            tracing::error!("a token of an identity provider could not be sealed: {fault}");
            Error::of(Code::Internal)
        })?;
        Ok(SignIn { sealed_id_token: Some(sealed.as_str().to_owned()), ..link(provider, token) })
    }

    /// The provider's token of a login, opened.
    pub(super) fn id_token_of(&self, sign_in: &SignIn) -> Option<Secret> {
        let sealed = roadstead_seal::Sealed::parse(sign_in.sealed_id_token.as_deref()?).ok()?;
        let plain = self.sealer.unseal(SEALED.0, SEALED.1, &sign_in.subject, &sealed).ok()?;
        std::str::from_utf8(&plain).ok().map(Secret::new)
    }

    /// Opens the session of a login. A browser's access token lives as long as the session: it is in a cookie that no
    /// script reads, and each use asks whether the session stands.
    pub(super) async fn open_sign_in(
        &self,
        user: User,
        sign_in: &SignIn,
        origin: SessionOrigin,
        browser: bool,
    ) -> Result<Issued> {
        let now = self.clock.now();
        let pair = self.fresh_pair(now)?;
        let session_id = self.ids.next();
        let session =
            NewSession { id: session_id, user_id: user.id, origin, created_at: now, pair: pair.stored.clone() };
        self.store.open_sign_in(&session, sign_in).await?;
        self.count("oidc", true);
        let lifetime = if browser { self.options.refresh_lifetime } else { self.options.access_lifetime };
        self.issue_for(pair, user, session_id, now, lifetime)
    }

    fn suffix(&self) -> String {
        let bytes = self.ids.random_bytes::<4>();
        bytes.iter().fold(String::new(), |text, byte| text + format!("{byte:02x}").as_str())
    }
}

fn link(provider: &ProviderSettings, token: &IdToken) -> SignIn {
    SignIn {
        provider: provider.name.clone(),
        issuer: provider.issuer.clone(),
        subject: token.subject.clone(),
        provider_session: token.session.clone(),
        sealed_id_token: None,
    }
}

fn not_linked(words: &'static str) -> Error {
    Error::new(Code::AccountNotLinked, words)
}

/// A name here for the one that the provider says: the part before `@`, other characters as hyphens. `None` when nothing
/// is left, or when it would read as a number or an id.
fn plain_name(text: &str) -> Option<String> {
    /// Room for a suffix.
    const LONGEST: usize = 40;
    let local = text.split('@').next().unwrap_or_default().to_lowercase();
    let plain: String = local
        .chars()
        .take(LONGEST)
        .map(|character| {
            let good = character.is_ascii_lowercase() || character.is_ascii_digit() || "._-".contains(character);
            if good { character } else { '-' }
        })
        .collect();
    let plain = plain.trim_matches(['.', '_', '-']);
    let name = if plain.len() < 3 { format!("{plain}-user") } else { plain.to_owned() };
    let name = name.trim_start_matches('-');
    matches!(UserRef::parse(name), Some(UserRef::Name(_))).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::plain_name;

    #[test]
    fn names_are_made_plain() {
        assert_eq!(plain_name("Ada.Lovelace@example.com").as_deref(), Some("ada.lovelace"));
        assert_eq!(plain_name("ada@corp").as_deref(), Some("ada"));
        assert_eq!(plain_name("a").as_deref(), Some("a-user"));
        assert_eq!(plain_name("jürgen").as_deref(), Some("j-rgen"));
        assert_eq!(plain_name(&"x".repeat(300)).map(|name| name.len()), Some(40));
        for odd in ["1234", "0198c5b0-0000-7000-8000-000000000001"] {
            assert_eq!(plain_name(odd), None, "{odd}");
        }
        assert_eq!(plain_name("").as_deref(), Some("user"));
    }
}
