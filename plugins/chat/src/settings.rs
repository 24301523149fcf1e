//! What the operator sets: keys of `[plugin_config.chat]`, all of them numbers but the last.
//!
//! | Key | Default | Allowed | What |
//! |---|---|---|---|
//! | `retention` | 1,024 | 1 to `max_retention` | messages an endpoint keeps, unless `Configure` says otherwise |
//! | `max_retention` | 65,536 | 1 to 1,000,000 | the most that `Configure` may ask for |
//! | `max_body_bytes` | 65,536 | 0 to 262,144 | the largest body of a message |
//! | `messages_per_minute` | 60 | 0 to 60,000 | what a sender may post on average; 0 for no limit |
//! | `burst` | 10 | 1 to 10,000 | what a sender may post at once |
//! | `max_endpoints` | 65,536 | 1 to 10,000,000 | endpoints of a shard |
//! | `max_members` | 10,000 | 0 to 100,000 | members of an endpoint; also users muted in it |
//! | `max_subscribers` | 20,000 | 0 to 100,000 | open streams of an endpoint |
//! | `max_mib` | 96 | 1 to 256 | memory all of a shard's messages, members and streams may take |
//! | `words` | | 20,000 words of 64 code points | words that are masked, between commas or line ends |
//!
//! A sender's rate counts in each shard on its own. What is at a bound is refused with status 8, nothing is dropped
//! for it. Settings are read when a shard begins, is restored or changes its version; a value that is not allowed
//! keeps it from doing so.

use hotseat_guest::Shard;

use crate::rate::Limit;
use crate::words::Words;

/// The operator's settings, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the keys in this module's table")]
pub struct Settings {
    pub retention: u32,
    pub max_retention: u32,
    pub max_body_bytes: usize,
    /// `messages_per_minute` and `burst`.
    pub rate: Limit,
    pub max_endpoints: usize,
    pub max_members: usize,
    pub max_subscribers: usize,
    /// `max_mib`, in bytes.
    pub max_bytes: u64,
    pub words: Words,
}

impl Default for Settings {
    fn default() -> Self {
        match Self::parse(|_| None) {
            Ok(settings) => settings,
            Err(error) => unreachable!("the defaults are allowed: {error}"),
        }
    }
}

impl Settings {
    /// The settings of a shard.
    ///
    /// # Errors
    /// As for [`parse`](Settings::parse).
    pub fn read(shard: &Shard) -> Result<Self, String> {
        Self::parse(|key| shard.config(key))
    }

    /// Reads and checks the settings.
    ///
    /// # Errors
    /// If a value is not allowed, with key, value and what is.
    pub fn parse(value: impl Fn(&str) -> Option<Vec<u8>>) -> Result<Self, String> {
        let number = |key: &str, default: u64, low: u64, high: u64| {
            let Some(bytes) = value(key) else { return Ok(default) };
            let text = String::from_utf8_lossy(&bytes);
            let number = text.trim().parse().ok().filter(|number| (low..=high).contains(number));
            number.ok_or_else(|| format!("setting {key}: {text:?} is not allowed: must be {low} to {high}"))
        };
        let max_retention = number("max_retention", 65_536, 1, 1_000_000)?;
        let words = value("words").unwrap_or_default();
        let words = String::from_utf8(words).map_err(|_| "setting words is not UTF-8".to_owned())?;
        Ok(Self {
            retention: number("retention", max_retention.min(1_024), 1, max_retention)? as u32,
            max_retention: max_retention as u32,
            max_body_bytes: number("max_body_bytes", 65_536, 0, 262_144)? as usize,
            rate: Limit {
                per_minute: number("messages_per_minute", 60, 0, 60_000)?,
                burst: number("burst", 10, 1, 10_000)?,
            },
            max_endpoints: number("max_endpoints", 65_536, 1, 10_000_000)? as usize,
            max_members: number("max_members", 10_000, 0, 100_000)? as usize,
            max_subscribers: number("max_subscribers", 20_000, 0, 100_000)? as usize,
            max_bytes: number("max_mib", 96, 1, 256)? << 20,
            words: Words::parse(&words).map_err(|error| format!("setting words: {error}"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(key: &'static str, text: &'static str) -> Result<Settings, String> {
        Settings::parse(|asked| (asked == key).then(|| text.as_bytes().to_vec()))
    }

    #[test]
    fn values_are_read_and_the_others_stay() {
        assert_eq!(parse("retention", " 7\n").unwrap(), Settings { retention: 7, ..Settings::default() });
        assert_eq!(parse("max_mib", "2").unwrap().max_bytes, 2 << 20);
        assert_eq!(parse("messages_per_minute", "0").unwrap().rate.per_minute, 0);
        assert_eq!(parse("max_retention", "10").unwrap().retention, 10);
        assert!(parse("words", "a,b").unwrap().words.mask(b"b").is_some());
    }

    #[test]
    fn refusals_name_key_value_and_range() {
        for (key, text, expected) in [
            ("retention", "0", "setting retention: \"0\" is not allowed: must be 1 to 65536"),
            ("retention", "", "setting retention: \"\" is not allowed: must be 1 to 65536"),
            ("max_body_bytes", "-1", "setting max_body_bytes: \"-1\" is not allowed: must be 0 to 262144"),
            ("burst", "many", "setting burst: \"many\" is not allowed: must be 1 to 10000"),
            ("max_mib", "1e3", "setting max_mib: \"1e3\" is not allowed: must be 1 to 256"),
        ] {
            assert_eq!(parse(key, text), Err(expected.into()));
        }
        let bytes = Settings::parse(|key| (key == "words").then(|| vec![0xff]));
        assert_eq!(bytes, Err("setting words is not UTF-8".into()));
        let long = Settings::parse(|key| (key == "words").then(|| vec![b'x'; 65]));
        assert!(long.is_err_and(|error| error.starts_with("setting words: word 1 has 65")));
    }
}
