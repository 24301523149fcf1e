//! Keys and values: what a table takes.

use super::{DiscoveryError, KEY_MAX_BYTES, VALUE_MAX_BYTES};

/// Characters of a bad key that are shown.
const SHOWN: usize = 64;

pub(super) fn check(key: &str) -> Result<(), DiscoveryError> {
    let why = if key.is_empty() || key.len() > KEY_MAX_BYTES {
        format!("the key has {} bytes: allowed is 1 to {KEY_MAX_BYTES}", key.len())
    } else if key.starts_with('/') {
        "the key begins with a slash: allowed is NAME/NAME".to_owned()
    } else if key.chars().any(char::is_control) {
        "the key has control characters: allowed are printable ones".to_owned()
    } else {
        return Ok(());
    };
    Err(DiscoveryError::Entry { key: key.chars().take(SHOWN).collect(), why })
}

pub(super) fn check_with(key: &str, value: &[u8]) -> Result<(), DiscoveryError> {
    check(key)?;
    if value.len() <= VALUE_MAX_BYTES {
        return Ok(());
    }
    let why = format!("the value has {} bytes: allowed is up to {VALUE_MAX_BYTES}", value.len());
    Err(DiscoveryError::Entry { key: key.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_texts_without_a_slash_in_front() {
        for good in ["nodes/game-1", "a", "räume/1", &"k".repeat(KEY_MAX_BYTES)] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "/nodes/1", "a\nb", "a\0", &"k".repeat(KEY_MAX_BYTES + 1)] {
            assert!(matches!(check(bad), Err(DiscoveryError::Entry { .. })), "{bad:?}");
        }
        assert!(check_with("a", &vec![0; VALUE_MAX_BYTES]).is_ok());
        let error = check_with("a", &vec![0; VALUE_MAX_BYTES + 1]).unwrap_err().to_string();
        assert_eq!(error, "entry \"a\": the value has 1048577 bytes: allowed is up to 1048576");
    }
}
