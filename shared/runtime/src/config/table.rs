//! One row for each setting: its key, its default and every name it may be set by. Environment, files, `.env.example`
//! and the documentation page are all made from these rows.

use super::ServiceRole;

/// A name in the environment that sets a row, besides `ROADSTEAD_<KEY>`.
#[derive(Debug, Clone, Copy)]
pub struct Alias {
    /// The variable.
    pub name: &'static str,
    /// For which processes it counts.
    pub on: On,
    /// Unit put behind a bare number (`m` for a variable that counts minutes).
    pub unit: &'static str,
    /// Who documented it.
    pub from: &'static str,
}

/// For which processes a name counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// For each.
    Any,
    /// Only for `serve <service>`: the name is too common to mean us on somebody's desk.
    Serve,
    /// Only for one service.
    Only(ServiceRole),
}

impl On {
    /// Whether a name counts for a process.
    pub fn counts(self, role: ServiceRole) -> bool {
        match self {
            Self::Any => true,
            Self::Serve => role.is_mesh(),
            Self::Only(only) => role == only,
        }
    }
}

/// What a row says besides key, default and documentation.
#[derive(Debug, Clone, Copy)]
pub enum Note {
    /// A name in the environment.
    Env(Alias),
    /// A path in seed 000's hub file; `MCKMT_<PATH>` in the environment sets it too.
    Hub(&'static str),
    /// The default of `roadstead up`.
    Up(&'static str),
    /// The mesh does not start without it; `.env.example` asks for it first.
    Must,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Dotted path in our own file.
    pub key: &'static str,
    /// Beginning of our own name in the environment.
    pub prefix: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// The default of `serve`.
    pub default: &'static str,
    /// What to write.
    pub kind: &'static str,
    /// Whether it is never shown.
    pub secret: bool,
    /// Brings a text into the form in which two names are compared.
    pub canonical: fn(&str) -> String,
    /// The rest.
    pub notes: &'static [Note],
}

impl Row {
    /// Our own name in the environment.
    pub fn env_name(&self) -> String {
        format!("{}{}", self.prefix, upper(self.key))
    }

    /// The default for a process.
    pub fn default_for(&self, role: ServiceRole) -> &'static str {
        self.notes
            .iter()
            .find_map(|note| match note {
                Note::Up(text) if !role.is_mesh() => Some(*text),
                _ => None,
            })
            .unwrap_or(self.default)
    }

    /// Every name in the environment with where it counts, its unit and its origin; ours first.
    pub fn names(&self) -> Vec<(String, On, &'static str, &'static str)> {
        let mut names = vec![(self.env_name(), On::Any, "", "")];
        for note in self.notes {
            match note {
                Note::Env(alias) => names.push((alias.name.to_owned(), alias.on, alias.unit, alias.from)),
                Note::Hub(path) => names.push((format!("MCKMT_{}", upper(path)), On::Any, "", "seed 000")),
                Note::Up(_) | Note::Must => {}
            }
        }
        names
    }

    /// Whether the mesh does not start without it.
    pub fn is_must(&self) -> bool {
        self.notes.iter().any(|note| matches!(note, Note::Must))
    }

    /// Paths in a file: ours, then seed 000's.
    pub fn paths(&self) -> impl Iterator<Item = &'static str> {
        let hub = self.notes.iter().filter_map(|note| match note {
            Note::Hub(path) => Some(*path),
            _ => None,
        });
        std::iter::once(self.key).chain(hub)
    }
}

pub(super) fn upper(path: &str) -> String {
    path.replace('.', "_").to_ascii_uppercase()
}

/// A documented name of seeds 000.
pub(super) const fn mckmt(name: &'static str) -> Note {
    Note::Env(Alias { name, on: On::Any, unit: "", from: "seed 000" })
}

/// A documented name of seeds 001 or 004.
pub(super) const fn kubesage(name: &'static str) -> Note {
    Note::Env(Alias { name, on: On::Any, unit: "", from: "seeds 001, 004" })
}

/// A documented name of seed 002.
pub(super) const fn kubeop(name: &'static str) -> Note {
    Note::Env(Alias { name, on: On::Any, unit: "", from: "seed 002" })
}

/// A name of the seeds that counts minutes.
pub(super) const fn minutes(name: &'static str) -> Note {
    Note::Env(Alias { name, on: On::Any, unit: "m", from: "seed 004" })
}

/// A name of the seeds that is too common to count outside `serve`.
pub(super) const fn bare(name: &'static str) -> Note {
    Note::Env(Alias { name, on: On::Serve, unit: "", from: "seeds 001, 004" })
}

/// A name of the seeds that means another row for each service.
pub(super) const fn only(name: &'static str, role: ServiceRole) -> Note {
    Note::Env(Alias { name, on: On::Only(role), unit: "", from: "seed 001" })
}

/// A short name of ours.
pub(super) const fn short(name: &'static str) -> Note {
    Note::Env(Alias { name, on: On::Any, unit: "", from: "" })
}

/// A path of seed 000's hub file.
pub(super) const fn hub(path: &'static str) -> Note {
    Note::Hub(path)
}

/// The default of `roadstead up`.
pub(super) const fn up(text: &'static str) -> Note {
    Note::Up(text)
}

/// Defines a section: the struct, its rows, and how it is read.
macro_rules! section {
    ($($(#[doc = $about:literal])+ $name:ident $prefix:literal $(as $environment:literal)? {
        $($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:literal $([$($note:expr),* $(,)?])?;)*
    })*) => {$(
        $(#[doc = $about])+
        #[derive(Debug, Clone)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)*
        }

        impl $name {
            const PREFIX: &'static str = concat!("ROADSTEAD_" $(, $environment)?);

            /// The rows of this section.
            pub const ROWS: &'static [$crate::config::table::Row] = &[
                $($crate::config::table::Row {
                    key: concat!($prefix, stringify!($field)),
                    prefix: Self::PREFIX,
                    doc: concat!($($doc),+),
                    default: $default,
                    kind: <$type as $crate::config::value::Setting>::KIND,
                    secret: <$type as $crate::config::value::Setting>::SECRET,
                    canonical: <$type as $crate::config::value::Setting>::canonical,
                    notes: &[$($($note),*)?],
                },)*
            ];

            pub(in crate::config) fn read(values: &mut $crate::config::layers::Values) -> Self {
                Self { $($field: values.get(concat!($prefix, stringify!($field))),)* }
            }
        }
    )*};
}
pub(super) use section;
