//! How a text from a file or the environment becomes a typed value.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::Secret;

/// A type that a setting can have.
pub trait Setting: Sized {
    /// Whether the text must never be shown, and `NAME_FILE` is read too.
    const SECRET: bool = false;
    /// What a reader of the documentation should write.
    const KIND: &'static str;
    /// Reads the text; the error says what was expected and never repeats the text.
    fn parse(text: &str) -> Result<Self, String>;
    /// Stands in for a text that could not be read, so that the other problems are found in the same run.
    fn fallback() -> Self;
    /// The text in the form in which two names are compared (`60m` and `1h` are the same).
    fn canonical(text: &str) -> String {
        text.trim().to_owned()
    }
}

impl Setting for String {
    const KIND: &'static str = "text";
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
    fn fallback() -> Self {
        Self::new()
    }
}

impl Setting for Secret {
    const SECRET: bool = true;
    const KIND: &'static str = "secret";
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::new(text))
    }
    fn fallback() -> Self {
        Self::default()
    }
    fn canonical(text: &str) -> String {
        text.to_owned()
    }
}

impl<T: Setting> Setting for Option<T> {
    const SECRET: bool = T::SECRET;
    const KIND: &'static str = T::KIND;
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::parse(text).map(Some) }
    }
    fn fallback() -> Self {
        None
    }
    fn canonical(text: &str) -> String {
        T::canonical(text)
    }
}

impl Setting for PathBuf {
    const KIND: &'static str = "path";
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::from(text))
    }
    fn fallback() -> Self {
        Self::new()
    }
}

impl Setting for bool {
    const KIND: &'static str = "true or false";
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err("must be true or false".to_owned()),
        }
    }
    fn fallback() -> Self {
        false
    }
    fn canonical(text: &str) -> String {
        Self::parse(text).map_or_else(|_| text.to_owned(), |value| value.to_string())
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            const KIND: &'static str = "number";
            fn parse(text: &str) -> Result<Self, String> {
                text.trim().parse().map_err(|_| format!("must be a whole number from 0 to {}", <$type>::MAX))
            }
            fn fallback() -> Self {
                1
            }
        }
    )*};
}
integers!(u8, u32, u64, usize);

impl Setting for u16 {
    const KIND: &'static str = "port";
    fn parse(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| "must be a port from 0 to 65535".to_owned())
    }
    fn fallback() -> Self {
        0
    }
}

impl Setting for IpAddr {
    const KIND: &'static str = "IP address";
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "localhost" => Ok(Self::V4(Ipv4Addr::LOCALHOST)),
            text => text.parse().map_err(|_| "must be an IP address to listen on".to_owned()),
        }
    }
    fn fallback() -> Self {
        Self::V4(Ipv4Addr::LOCALHOST)
    }
}

impl Setting for Duration {
    const KIND: &'static str = "duration (30s, 5m, 24h; a bare number is seconds)";
    fn parse(text: &str) -> Result<Self, String> {
        duration(text.trim()).ok_or_else(|| "must be a duration such as 500ms, 30s, 5m, 24h or 7d".to_owned())
    }
    fn fallback() -> Self {
        Self::from_secs(1)
    }
    fn canonical(text: &str) -> String {
        Self::parse(text).map_or_else(|_| text.to_owned(), |value| format!("{value:?}"))
    }
}

/// Reads `1h30m`, `500ms` or a bare number of seconds.
fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        let unit_text = rest.get(digits..)?;
        let end = unit_text.find(|character: char| character.is_ascii_digit()).unwrap_or(unit_text.len());
        let unit = match unit_text.get(..end)? {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            "d" => Duration::from_hours(24),
            _ => return None,
        };
        total = total.checked_add(unit.checked_mul(u32::try_from(number).ok()?)?)?;
        rest = unit_text.get(end..)?;
    }
    (!text.is_empty()).then_some(total)
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub usize);

impl Setting for Bytes {
    const KIND: &'static str = "size (1MiB, 64KiB; a bare number is bytes)";
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (digits, factor) = text
            .strip_suffix("MiB")
            .map(|digits| (digits, 1024 * 1024))
            .or_else(|| text.strip_suffix("KiB").map(|digits| (digits, 1024)))
            .unwrap_or((text, 1));
        digits
            .trim()
            .parse::<usize>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| "must be a size such as 65536, 64KiB or 1MiB".to_owned())
    }
    fn fallback() -> Self {
        Self(1)
    }
}

impl Setting for Vec<IpNet> {
    const KIND: &'static str = "addresses or ranges (10.0.0.0/8, …)";
    fn parse(text: &str) -> Result<Self, String> {
        words(text)
            .map(|word| {
                word.parse::<IpNet>()
                    .or_else(|_| word.parse::<IpAddr>().map(IpNet::from))
                    .map_err(|_| "must be IP addresses or CIDR ranges, separated by commas".to_owned())
            })
            .collect()
    }
    fn fallback() -> Self {
        Self::new()
    }
}

impl Setting for Vec<String> {
    const KIND: &'static str = "names (front.mesh, …)";
    fn parse(text: &str) -> Result<Self, String> {
        Ok(words(text).map(str::to_owned).collect())
    }
    fn fallback() -> Self {
        Self::new()
    }
}

impl Setting for Vec<u16> {
    const KIND: &'static str = "ports (8007, 8080, …)";
    fn parse(text: &str) -> Result<Self, String> {
        words(text).map(|word| word.parse().map_err(|_| "must be ports, separated by commas".to_owned())).collect()
    }
    fn fallback() -> Self {
        Self::new()
    }
}

impl Setting for BTreeMap<String, String> {
    const KIND: &'static str = "pairs (name=value, …)";
    fn parse(text: &str) -> Result<Self, String> {
        words(text)
            .map(|word| match word.split_once('=') {
                Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => {
                    Ok((name.trim().to_owned(), value.trim().to_owned()))
                }
                _ => Err("must be name=value pairs, separated by commas".to_owned()),
            })
            .collect()
    }
    fn fallback() -> Self {
        Self::new()
    }
}

/// Words between commas; spaces around them do not count, empty ones neither.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// Makes an enum a setting by its words.
macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $first:literal $(| $word:literal)*,)* } otherwise $fallback:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// The word for it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $first,)* }
            }
        }

        impl Setting for $name {
            const KIND: &'static str = choices!(@kind $($first)*);
            fn parse(text: &str) -> Result<Self, String> {
                match text.trim().to_ascii_lowercase().as_str() {
                    $($first $(| $word)* => Ok(Self::$variant),)*
                    _ => Err(concat!("must be ", choices!(@kind $($first)*)).to_owned()),
                }
            }
            fn fallback() -> Self {
                Self::$fallback
            }
            fn canonical(text: &str) -> String {
                Self::parse(text).map_or_else(|_| text.to_owned(), |value| value.as_str().to_owned())
            }
        }
    )*};
    (@kind $first:literal $($rest:literal)*) => { concat!($first $(, ", ", $rest)*) };
}

choices! {
    /// How access tokens are signed.
    JwtAlgorithm {
        /// Ed25519 with a published key set.
        Eddsa = "eddsa",
        /// HMAC-SHA-256 with the shared secret of the seeds.
        Hs256 = "hs256",
    } otherwise Eddsa

    /// Who may make an account.
    Registration {
        /// Anyone who reaches the door.
        Open = "open",
        /// Nobody; an admin makes accounts.
        Closed = "closed",
        /// Anyone asks, an admin confirms.
        Confirmed = "confirmed",
        /// Open on loopback and under `dev`, closed otherwise. Loading resolves it.
        Auto = "auto",
    } otherwise Closed

    /// Whether passwords from known leaks are refused.
    Leaked {
        /// Refused.
        Refuse = "true",
        /// Taken.
        Take = "false",
        /// Taken on loopback and under `dev`, refused otherwise. Loading resolves it.
        Auto = "auto",
    } otherwise Refuse

    /// Role of a new account.
    DefaultRole {
        /// Reads what was granted.
        Viewer = "viewer",
        /// Changes what was granted.
        Operator = "operator",
        /// Everything.
        Admin = "admin",
    } otherwise Viewer

    /// What the words of roles are asked of.
    Strategy {
        /// Nothing: everybody may do everything. Only for development.
        NoAuth = "no-auth",
        /// The hub's own tables.
        DatabaseRbac = "database-rbac",
        /// Casbin, with the model and the lines of files beside the hub's own.
        Casbin = "casbin",
    } otherwise DatabaseRbac

    /// Least level that is logged.
    LogLevel {
        /// Everything.
        Trace = "trace",
        /// For hunting.
        Debug = "debug",
        /// What the system does.
        Info = "info",
        /// It recovered.
        Warn = "warn" | "warning",
        /// Somebody must act.
        Error = "error" | "fatal" | "panic",
    } otherwise Info

    /// How log lines look.
    LogFormat {
        /// One JSON object a line.
        Json = "json",
        /// For people.
        Console = "console" | "text",
        /// Console on a terminal, JSON otherwise.
        Auto = "auto",
    } otherwise Auto
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, seconds) in
            [("30s", 30), ("5m", 300), ("24h", 86_400), ("1h30m", 5_400), ("7d", 604_800), ("60", 60)]
        {
            assert_eq!(Duration::parse(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        assert_eq!(Duration::parse("500ms").unwrap(), Duration::from_millis(500));
        for bad in ["", "s", "5x", "-5s", "5 m", "99999999999999999999s", "1.5h", "5m3"] {
            assert!(Duration::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Duration::canonical("60m"), Duration::canonical("1h"));
    }

    #[test]
    fn lists_and_pairs_are_read() {
        assert_eq!(Vec::<u16>::parse("8007, 8080").unwrap(), [8007, 8080]);
        assert!(Vec::<u16>::parse("8007,70000").is_err());
        assert_eq!(Vec::<IpNet>::parse("10.0.0.0/8,127.0.0.1").unwrap().len(), 2);
        assert_eq!(BTreeMap::parse("a=b, c=d").unwrap().len(), 2);
        assert!(BTreeMap::parse("a").is_err());
        assert_eq!(Bytes::parse("64KiB").unwrap(), Bytes(65_536));
        assert!(Bytes::parse("99999999999999999999MiB").is_err());
    }
}
