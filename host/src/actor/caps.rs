//! Caps: what an operator lets manifests ask for.

use hotseat_build::Limits;

/// The most that the manifest of a plugin may say, key by key of its table `[limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// `memory_mib`.
    pub memory_mib: u64,
    /// `deadline_ms`.
    pub deadline_ms: u64,
    /// `snapshot_max_bytes`.
    pub snapshot_max_bytes: u64,
    /// `tick_hz`.
    pub tick_hz: u64,
}

/// A manifest asks for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the manifest asks for limits.{key} = {value}, this node allows {cap} (setting plugin_cap, PLUGIN.{key})"
)]
pub struct TooMuchAsked {
    /// The key.
    pub key: &'static str,
    /// What stands there.
    pub value: u64,
    /// What is allowed.
    pub cap: u64,
}

impl Caps {
    /// What is allowed where the operator has said nothing.
    pub const DEFAULT: Self =
        Self { memory_mib: 1024, deadline_ms: 1000, snapshot_max_bytes: 256 << 20, tick_hz: 100 };

    /// The keys that can be set.
    pub const KEYS: [&'static str; 4] = ["memory_mib", "deadline_ms", "snapshot_max_bytes", "tick_hz"];

    /// The cap of that key; none if there is no such key.
    pub fn of(&mut self, key: &str) -> Option<&mut u64> {
        Some(match key {
            "memory_mib" => &mut self.memory_mib,
            "deadline_ms" => &mut self.deadline_ms,
            "snapshot_max_bytes" => &mut self.snapshot_max_bytes,
            "tick_hz" => &mut self.tick_hz,
            _ => return None,
        })
    }

    /// Whether a manifest keeps to them.
    ///
    /// # Errors
    /// The first key that does not.
    pub fn check(&self, limits: &Limits) -> Result<(), TooMuchAsked> {
        let asked = [
            limits.memory_mib.into(),
            limits.deadline_ms.into(),
            limits.snapshot_max_bytes,
            limits.tick_hz.into(),
        ];
        let caps = [self.memory_mib, self.deadline_ms, self.snapshot_max_bytes, self.tick_hz];
        for ((key, value), cap) in Self::KEYS.into_iter().zip(asked).zip(caps) {
            if value > cap {
                return Err(TooMuchAsked { key, value, cap });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_cap_and_is_named() {
        let mut limits = Limits::default();
        Caps::DEFAULT.check(&limits).unwrap();
        limits.tick_hz = 1000;
        let error = Caps::DEFAULT.check(&limits).unwrap_err().to_string();
        for word in ["limits.tick_hz = 1000", "allows 100", "plugin_cap"] {
            assert!(error.contains(word), "{error}");
        }
        for key in Caps::KEYS {
            let mut caps =
                Caps { memory_mib: 4096, deadline_ms: 10_000, snapshot_max_bytes: 1 << 30, tick_hz: 1000 };
            *caps.of(key).unwrap() = 0;
            assert_eq!(caps.check(&limits).unwrap_err().key, key);
        }
        assert!(Caps::DEFAULT.clone().of("fsync_ms").is_none());
    }
}
