//! Table: the macro that makes a struct, its defaults, its reader and its flags of one list of keys.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::KEYS;
use super::setting::Text;

/// One key as the other layers see it.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// Its name in the file; the flag has `-` for `_`, the environment upper case after `HOTSEAT_`.
    pub(crate) name: &'static str,
    /// The help text.
    pub(crate) help: &'static str,
    /// The help's heading.
    pub(crate) heading: &'static str,
    /// What the help calls its value.
    pub(crate) placeholder: &'static str,
    /// Whether the flag may be given more than once.
    pub(crate) repeatable: bool,
    /// Turns the texts of a flag or a variable into what the file would hold.
    pub(crate) text: Text,
}

impl Key {
    /// The flag's name without the dashes.
    pub(crate) fn flag(&self) -> &'static str {
        FLAGS.get(self.name).map_or(self.name, String::as_str)
    }
}

/// Clap wants names that live as long as the program.
static FLAGS: LazyLock<BTreeMap<&'static str, String>> =
    LazyLock::new(|| KEYS.iter().map(|key| (key.name, key.name.replace('_', "-"))).collect());

macro_rules! keys {
    (@kind $ty:ty) => { $ty };
    (@kind $ty:ty, $kind:ty) => { $kind };
    (@range) => { () };
    (@range $range:expr) => { $range };
    ($( $heading:literal { $(
        $(#[doc = $doc:literal])+
        $name:ident: $ty:ty $(as $kind:ty)? = $default:expr $(, in $range:expr)?;
    )+ } )+) => {
        /// Every setting of a node. [`Config::load`] is the way to one that holds together; the defaults do too.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Config { $($( $(#[doc = $doc])+ pub $name: $ty, )+)+ }

        impl Default for Config {
            fn default() -> Self {
                Self { $($( $name: $default, )+)+ }
            }
        }

        /// All keys, in the order of the help.
        pub(crate) static KEYS: &[table::Key] = &[ $($( table::Key {
            name: stringify!($name),
            help: concat!($($doc),+),
            heading: $heading,
            placeholder: <keys!(@kind $ty $(, $kind)?) as setting::Setting<$ty>>::PLACEHOLDER,
            repeatable: <keys!(@kind $ty $(, $kind)?) as setting::Setting<$ty>>::REPEATABLE,
            text: <keys!(@kind $ty $(, $kind)?) as setting::Setting<$ty>>::from_texts,
        }, )+)+ ];

        impl Config {
            /// Takes every key from the layers, or its default.
            fn read(layers: &layers::Layers) -> Result<Self, ConfigError> {
                let defaults = Self::default();
                Ok(Self { $($( $name: layers.get::<keys!(@kind $ty $(, $kind)?), $ty>(
                    stringify!($name), defaults.$name, &keys!(@range $($range)?),
                )?, )+)+ })
            }

            /// The present values in the file's form; none where nothing is set.
            pub(crate) fn values(&self) -> Vec<(&'static table::Key, Option<toml::Value>)> {
                let values = [ $($(
                    <keys!(@kind $ty $(, $kind)?) as setting::Setting<$ty>>::to_toml(&self.$name),
                )+)+ ];
                KEYS.iter().zip(values).collect()
            }
        }
    };
}
pub(crate) use keys;
