//! Setting: how a value of each type is read from a text or a file, and written back.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use figment::value::{Num, Value};

/// What the texts of one flag or variable come to in the file's form. The error says what is allowed.
pub(crate) type Text = fn(&[String]) -> Result<Value, Refused>;

/// A value that is not allowed: what is shown of it, and what would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The value, if a part of the setting is wrong rather than all of it.
    pub(crate) value: Option<String>,
    /// What is allowed.
    pub(crate) allowed: String,
}

impl Refused {
    pub(crate) fn whole(allowed: impl Into<String>) -> Self {
        Self { value: None, allowed: allowed.into() }
    }

    pub(crate) fn part(value: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { value: Some(value.into()), allowed: allowed.into() }
    }
}

/// Reads and writes values of type `T`.
pub(crate) trait Setting<T> {
    /// What is allowed besides the type.
    type Range;
    const PLACEHOLDER: &'static str;
    const REPEATABLE: bool = false;

    /// A flag's or variable's texts in the file's form.
    fn from_texts(texts: &[String]) -> Result<Value, Refused> {
        // Clap refuses a second value for keys that are not repeatable, and a variable has one.
        Ok(Value::from(texts.last().cloned().unwrap_or_default()))
    }
    fn read(value: &Value, range: &Self::Range) -> Result<T, Refused>;
    fn to_toml(value: &T) -> Option<toml::Value>;
}

/// Shorthand for the default addresses.
pub(crate) trait AddressSetting {
    fn loopback(port: u16) -> Self;
}

impl AddressSetting for SocketAddr {
    fn loopback(port: u16) -> Self {
        Self::from((Ipv4Addr::LOCALHOST, port))
    }
}

impl Setting<Self> for SocketAddr {
    type Range = ();
    const PLACEHOLDER: &'static str = "ADDR:PORT";

    fn read(value: &Value, (): &()) -> Result<Self, Refused> {
        let allowed = "an IP address and a port such as 127.0.0.1:8888 or [::1]:0";
        value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| Refused::whole(allowed))
    }

    fn to_toml(value: &Self) -> Option<toml::Value> {
        Some(value.to_string().into())
    }
}

impl Setting<Self> for PathBuf {
    type Range = ();
    const PLACEHOLDER: &'static str = "PATH";

    fn read(value: &Value, (): &()) -> Result<Self, Refused> {
        let text = value.as_str().filter(|text| !text.is_empty());
        text.map(Self::from).ok_or_else(|| Refused::whole("a path that is not empty"))
    }

    fn to_toml(value: &Self) -> Option<toml::Value> {
        Some(value.display().to_string().into())
    }
}

impl Setting<Self> for Option<PathBuf> {
    type Range = ();
    const PLACEHOLDER: &'static str = "PATH";

    fn read(value: &Value, (): &()) -> Result<Self, Refused> {
        <PathBuf as Setting<PathBuf>>::read(value, &()).map(Some)
    }

    fn to_toml(value: &Self) -> Option<toml::Value> {
        value.as_ref().and_then(<PathBuf as Setting<PathBuf>>::to_toml)
    }
}

impl Setting<Self> for String {
    type Range = ();
    const PLACEHOLDER: &'static str = "TEXT";

    fn read(value: &Value, (): &()) -> Result<Self, Refused> {
        value.as_str().map(str::to_owned).ok_or_else(|| Refused::whole("a text"))
    }

    fn to_toml(value: &Self) -> Option<toml::Value> {
        Some(value.clone().into())
    }
}

impl Setting<Self> for Option<String> {
    type Range = ();
    const PLACEHOLDER: &'static str = "TEXT";

    fn read(value: &Value, (): &()) -> Result<Self, Refused> {
        let text = value.as_str().filter(|text| !text.is_empty());
        text.map(|text| Some(text.to_owned())).ok_or_else(|| Refused::whole("a text that is not empty"))
    }

    fn to_toml(value: &Self) -> Option<toml::Value> {
        value.as_ref().map(|text| text.clone().into())
    }
}

impl Setting<Self> for Option<u32> {
    type Range = RangeInclusive<u32>;
    const PLACEHOLDER: &'static str = "N";

    fn read(value: &Value, range: &Self::Range) -> Result<Self, Refused> {
        number(value, range).map(Some)
    }

    fn to_toml(value: &Self) -> Option<toml::Value> {
        value.map(|number| i64::from(number).into())
    }
}

/// A whole number within `range`, from a number of the file or a text.
fn number<T>(value: &Value, range: &RangeInclusive<T>) -> Result<T, Refused>
where
    T: TryFrom<i128> + PartialOrd + std::fmt::Display,
{
    let number = match value {
        Value::String(_, text) => text.replace('_', "").parse().ok(),
        Value::Num(_, Num::F32(_) | Num::F64(_)) => None,
        Value::Num(_, number) => {
            number.to_i128().or_else(|| number.to_u128().and_then(|it| it.try_into().ok()))
        }
        _ => None,
    };
    number
        .and_then(|number| T::try_from(number).ok())
        .filter(|number| range.contains(number))
        .ok_or_else(|| Refused::whole(format!("a whole number from {} to {}", range.start(), range.end())))
}

macro_rules! numbers {
    ($($ty:ty),+) => { $(
        impl Setting<Self> for $ty {
            type Range = RangeInclusive<Self>;
            const PLACEHOLDER: &'static str = "N";

            fn read(value: &Value, range: &Self::Range) -> Result<Self, Refused> {
                number(value, range)
            }

            fn to_toml(value: &Self) -> Option<toml::Value> {
                // Every range of the table ends far below i64::MAX.
                Some(i64::try_from(*value).unwrap_or(i64::MAX).into())
            }
        }
    )+ };
}
numbers!(u32, u64, usize);

/// Reads `on` and `off`.
pub(crate) struct Switch;

impl Setting<bool> for Switch {
    type Range = ();
    const PLACEHOLDER: &'static str = "on|off";

    fn read(value: &Value, (): &()) -> Result<bool, Refused> {
        match (value, value.as_str()) {
            (Value::Bool(_, on), _) => Ok(*on),
            (_, Some("on" | "true")) => Ok(true),
            (_, Some("off" | "false")) => Ok(false),
            _ => Err(Refused::whole("on or off")),
        }
    }

    fn to_toml(value: &bool) -> Option<toml::Value> {
        Some(if *value { "on" } else { "off" }.into())
    }
}

macro_rules! words {
    ($(#[doc = $doc:literal])+ $ty:ident ($allowed:literal) {
        $( $(#[doc = $word_doc:literal])+ $variant:ident = $word:literal, )+
    }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $ty { $( $(#[doc = $word_doc])+ $variant, )+ }

        impl $ty {
            /// Every value there is.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// Its name in flags and files.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            fn parse(text: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|word| word.as_str() == text)
            }
        }

        impl std::fmt::Display for $ty {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Setting<Self> for $ty {
            type Range = ();
            const PLACEHOLDER: &'static str = concat!($allowed);

            fn read(value: &Value, (): &()) -> Result<Self, Refused> {
                let words = Self::ALL.map(Self::as_str).join(" or ");
                value.as_str().and_then(Self::parse).ok_or_else(|| Refused::whole(words))
            }

            fn to_toml(value: &Self) -> Option<toml::Value> {
                Some(value.as_str().into())
            }
        }
    };
}

words! {
    /// What a node does.
    Role ("ROLES") {
        /// Takes client connections.
        Agent = "agent",
        /// Runs the rooms of the game-logic plugin.
        Game = "game",
        /// Hands out ids and numbers.
        Snowflake = "snowflake",
        /// Serves the rank plugin, if it is there.
        Rank = "rank",
        /// Serves the chat plugin, if it is there.
        Chat = "chat",
    }
}
words! {
    /// Who may log in.
    Auth ("dev|token") {
        /// Any device id has its stable account: for development and load tests.
        Dev = "dev",
        /// A token signed with the secret of `auth_key`.
        Token = "token",
    }
}
words! {
    /// What of a room survives the death of the process.
    Durable ("manifest|none|snapshot|journal") {
        /// What the plugin's manifest says.
        Manifest = "manifest",
        /// Nothing: rooms begin anew.
        None = "none",
        /// The last snapshot, half a minute old at most.
        Snapshot = "snapshot",
        /// Every input, but for the last moment.
        Journal = "journal",
    }
}
words! {
    /// The form of log lines.
    LogFormat ("text|json") {
        /// For people.
        Text = "text",
        /// One object a line, for machines.
        Json = "json",
    }
}

impl Setting<Self> for BTreeSet<Role> {
    type Range = ();
    const PLACEHOLDER: &'static str = "ROLES";

    fn read(value: &Value, (): &()) -> Result<Self, Refused> {
        let allowed = || format!("all, or a list of {}", Role::ALL.map(Role::as_str).join(", "));
        let mut roles = Self::new();
        let mut add = |text: &str| -> Result<(), Refused> {
            match (text.trim(), Role::parse(text.trim())) {
                ("all", _) => roles.extend(Role::ALL),
                (_, Some(role)) => roles.extend([role]),
                (other, None) => return Err(Refused::part(other, allowed())),
            }
            Ok(())
        };
        match value {
            Value::String(_, text) => text.split(',').try_for_each(add)?,
            Value::Array(_, items) => {
                for item in items {
                    add(item.as_str().ok_or_else(|| Refused::whole(allowed()))?)?;
                }
            }
            _ => return Err(Refused::whole(allowed())),
        }
        if roles.is_empty() { Err(Refused::whole(allowed())) } else { Ok(roles) }
    }

    fn to_toml(value: &Self) -> Option<toml::Value> {
        Some(value.iter().map(|role| toml::Value::from(role.as_str())).collect::<Vec<_>>().into())
    }
}
