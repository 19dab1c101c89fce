//! Accounts, sessions, API keys and the rules about them. No I/O.

mod api_key;
mod password;
mod seed_roles;
mod session;
mod user;

pub use api_key::{ApiKey, ApiKeyChanges, ApiKeyRef, End, KEYS_MAX, LIFE_DAYS_MAX, NewApiKey, check_key_name, preview};
pub use password::PasswordPolicy;
pub use seed_roles::{SEED_ROLES, parse_roles, permission_words, seed_name, seed_names};
pub use session::{
    NewPair, NewSession, REPEAT_WINDOW, SESSIONS_MAX, Session, SessionOrigin, TokenPair, TurnedIn, judge_turn_in,
};
pub use user::{NAME_MAX, NewUser, User, UserChanges, UserRef, check_person_name};
