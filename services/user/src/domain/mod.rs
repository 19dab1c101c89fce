//! Accounts, sessions, API keys and the rules about them. No I/O.

mod access_request;
mod api_key;
pub mod audit;
mod leaked;
mod local_account;
mod passkey;
mod password;
mod policy;
mod provider;
mod registration;
mod seed_roles;
mod session;
mod sign_in;
mod user;

pub use access_request::{
    AccessDecision, AccessEnd, AccessRequest, AccessState, NOTICE_CLAIM, NOTICE_TRIES, NOTICES_AT_ONCE,
    NewAccessRequest, Notice, OPEN_MAX, SECONDS_MIN, Wanted, check_words,
};
pub use api_key::{
    ApiKey, ApiKeyChanges, ApiKeyRef, End, KEYS_MAX, LIFE_DAYS_MAX, NewApiKey, NewSecret, OVERLAP_SECONDS_MAX,
    check_key_name, preview,
};
pub use local_account::{Authenticator, NewPassword, NewReset, RECOVERY_CODES, RESET_LIFE, SecondFactors, TakenReset};
pub use passkey::{
    CEREMONIES_MAX, CEREMONY_LIFE, CLOCKS_APART, Ceremony, KnownPasskey, PASSKEYS_MAX, Passkey, Purpose,
    RECENT_SIGN_IN, check_passkey_name, plain_transports,
};
pub use password::PasswordPolicy;
pub use policy::{PolicyChange, StoredRule};
pub use provider::{CALLBACK, PROVIDERS_MAX, ProviderSettings, is_safe, next_page};
pub use registration::{REGISTRATION_KEPT, REGISTRATION_LIFE, REGISTRATIONS_MAX, RegistrationState};
pub use seed_roles::{SEED_ROLES, parse_roles, permission_words, seed_name, seed_names};
pub use session::{
    NewPair, NewSession, REPEAT_WINDOW, SESSIONS_MAX, Session, SessionOrigin, TokenPair, TurnedIn, judge_turn_in,
};
pub use sign_in::{
    CODE_LIFE, FROM_PROVIDER, FROM_SERVICE, LOGIN_LIFE, LOGINS_MAX, LoginCode, Loopback, NewAccount, ProviderLogin,
    SignIn,
};
pub use user::{NAME_MAX, NewUser, User, UserChanges, UserRef, check_person_name};
