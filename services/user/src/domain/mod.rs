//! Accounts, sessions, API keys and the rules about them. No I/O.

mod api_key;
pub mod audit;
mod leaked;
mod local_account;
mod password;
mod provider;
mod seed_roles;
mod session;
mod sign_in;
mod user;

pub use api_key::{
    ApiKey, ApiKeyChanges, ApiKeyRef, End, KEYS_MAX, LIFE_DAYS_MAX, NewApiKey, NewSecret, OVERLAP_SECONDS_MAX,
    check_key_name, preview,
};
pub use local_account::{Authenticator, NewReset, RECOVERY_CODES, RESET_LIFE};
pub use password::PasswordPolicy;
pub use provider::{CALLBACK, PROVIDERS_MAX, ProviderSettings, is_safe, next_page};
pub use seed_roles::{SEED_ROLES, parse_roles, permission_words, seed_name, seed_names};
pub use session::{
    NewPair, NewSession, REPEAT_WINDOW, SESSIONS_MAX, Session, SessionOrigin, TokenPair, TurnedIn, judge_turn_in,
};
pub use sign_in::{
    CODE_LIFE, FROM_PROVIDER, FROM_SERVICE, LOGIN_LIFE, LOGINS_MAX, LoginCode, Loopback, NewAccount, ProviderLogin,
    SignIn,
};
pub use user::{NAME_MAX, NewUser, User, UserChanges, UserRef, check_person_name};
