//! Login: who a client is. Pure, but for the clock that a token's expiry is held against.

use std::fmt;
use std::path::{Path, PathBuf};

use hotseat_packet::{LOGIN_CERTIFICATE, LOGIN_DEVICE, UserLoginInfo};
use jsonwebtoken::errors::{Error as JwtError, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::link::UserId;

/// Shortest token key, bytes: HS256 wants a key as long as its hash (RFC 7518, section 3.2).
pub const KEY_MIN: usize = 32;
/// How far the clocks of token issuer and node may differ, seconds.
const LEEWAY_S: u64 = 5;
/// Longest device id, bytes.
const DEVICE_MAX: usize = 256;
/// Largest user id: what a signed 64-bit field of a client or a database holds.
const USER_MAX: u64 = i64::MAX.unsigned_abs();

/// Decides who a client is. There is no way in without one of these.
pub enum Authenticator {
    /// Any device id gets the account that belongs to it. For development: whoever knows the id is the user.
    Dev,
    /// A token signed by whoever shares the key; see [`Self::token`].
    Token(Box<TokenKey>),
}

/// The key that tokens are signed with, HMAC-SHA256. Never shown.
pub struct TokenKey {
    key: DecodingKey,
    validation: Validation,
}

/// Why a token key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("token key file {} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The key is too short to be safe.
    #[error("token key has {bytes} bytes, at least {KEY_MIN} are needed")]
    Short {
        /// Its length.
        bytes: usize,
    },
}

/// Why a login is refused; the text is for the client and repeats nothing it sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// This node wants another kind of login.
    #[error("login_way {way} is not accepted here, this node takes {wanted}")]
    Way {
        /// What the client chose.
        way: i32,
        /// What it should have chosen.
        wanted: &'static str,
    },
    /// The device has no usable name.
    #[error("device id has {bytes} bytes, allowed are 1 to {DEVICE_MAX}")]
    Device {
        /// Its length.
        bytes: usize,
    },
    /// The token is not good.
    #[error("{0}")]
    Token(&'static str),
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

impl Authenticator {
    /// Takes tokens signed (HS256) with `key`.
    ///
    /// # Errors
    /// [`KeyError::Short`] below [`KEY_MIN`] bytes.
    pub fn token(key: &[u8]) -> Result<Self, KeyError> {
        if key.len() < KEY_MIN {
            return Err(KeyError::Short { bytes: key.len() });
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        // Who the token was made for is the issuer's concern; it is this node's key that counts.
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["exp", "sub"]);
        Ok(Self::Token(Box::new(TokenKey { key: DecodingKey::from_secret(key), validation })))
    }

    /// As [`Self::token`], with the key that a file holds. Of a file that is one line of text the line end does
    /// not count; any other file is taken byte for byte.
    ///
    /// # Errors
    /// [`KeyError`], naming the file or the length.
    pub fn token_from_file(path: &Path) -> Result<Self, KeyError> {
        let bytes = std::fs::read(path).map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
        let line = bytes.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        match line {
            Some(line) if line.iter().all(|byte| (0x20..0x7F).contains(byte)) => Self::token(line),
            _ => Self::token(&bytes),
        }
    }

    /// The account behind a login.
    ///
    /// # Errors
    /// [`LoginError`], for the client.
    pub fn check(&self, info: &UserLoginInfo) -> Result<UserId, LoginError> {
        match (self, info.login_way) {
            (Self::Dev, LOGIN_DEVICE) => {
                let device = if info.device_id.is_empty() { &info.open_udid } else { &info.device_id };
                device_user(device)
            }
            (Self::Dev, way) => Err(LoginError::Way { way, wanted: "1 (device id)" }),
            (Self::Token(key), LOGIN_CERTIFICATE) => key.user(&info.client_certificate),
            (Self::Token(_), way) => Err(LoginError::Way { way, wanted: "2 (signed token)" }),
        }
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dev => "Dev",
            Self::Token(_) => "Token(..)",
        })
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// The account of a device: the same on every node and after every restart.
fn device_user(device: &str) -> Result<UserId, LoginError> {
    if device.is_empty() || device.len() > DEVICE_MAX {
        return Err(LoginError::Device { bytes: device.len() });
    }
    let hash = Sha256::new().chain_update(b"hotseat-dev\0").chain_update(device).finalize();
    let mut head = [0; 8];
    head.copy_from_slice(&hash[..8]);
    Ok(UserId((u64::from_be_bytes(head) & USER_MAX).max(1)))
}

impl TokenKey {
    fn user(&self, token: &str) -> Result<UserId, LoginError> {
        if token.is_empty() {
            return Err(LoginError::Token("client_certificate is empty, it must hold the token"));
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation)
            .map_err(|error| LoginError::Token(words(&error)))?
            .claims;
        user(&claims.sub).ok_or(LoginError::Token(
            "claim sub of the token must be a user id: decimal, 1 to 9223372036854775807",
        ))
    }
}

fn user(sub: &str) -> Option<UserId> {
    // `parse` alone would take a plus sign.
    if !sub.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    sub.parse().ok().filter(|user| (1..=USER_MAX).contains(user)).map(UserId)
}

/// What is wrong with a token, without a byte of it.
fn words(error: &JwtError) -> &'static str {
    match error.kind() {
        ErrorKind::ExpiredSignature => "token has expired",
        ErrorKind::ImmatureSignature => "token is not valid yet",
        ErrorKind::InvalidSignature => "signature of the token does not match",
        ErrorKind::InvalidAlgorithm => "token is not signed with HS256",
        ErrorKind::MissingRequiredClaim(claim) if claim == "exp" => "token has no claim exp",
        ErrorKind::MissingRequiredClaim(_) => "token has no claim sub",
        ErrorKind::Json(_) => {
            "token's header or claims are not what they must be: exp a number, sub a string"
        }
        _ => "client_certificate is not a signed token (JWT)",
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
    use serde_json::{Value, json};

    use super::*;

    const KEY: &[u8] = b"a key of more than thirty-two bytes";

    fn device(way: i32, device_id: &str, open_udid: &str) -> UserLoginInfo {
        UserLoginInfo {
            login_way: way,
            device_id: device_id.to_owned(),
            open_udid: open_udid.to_owned(),
            ..UserLoginInfo::default()
        }
    }

    fn token(algorithm: Algorithm, key: &[u8], claims: &Value) -> String {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(key)).unwrap()
    }

    fn login(token: &str) -> Result<UserId, String> {
        let info =
            UserLoginInfo { login_way: 2, client_certificate: token.to_owned(), ..UserLoginInfo::default() };
        Authenticator::token(KEY).unwrap().check(&info).map_err(|error| error.to_string())
    }

    #[test]
    fn a_device_is_always_the_same_user() {
        let dev = Authenticator::Dev;
        // First 8 bytes of SHA-256 of "hotseat-dev\0tablet", top bit cleared, computed with sha256sum.
        let tablet = UserId(0x2A9F_EB3D_6C51_074A);
        assert_eq!(dev.check(&device(1, "tablet", "")), Ok(tablet));
        assert_eq!(dev.check(&device(1, "", "tablet")), Ok(tablet));
        assert_eq!(dev.check(&device(1, "tablet", "phone")), Ok(tablet));
        assert_ne!(dev.check(&device(1, "phone", "")), Ok(tablet));
        assert!(dev.check(&device(1, &"x".repeat(256), "")).is_ok());
    }

    #[test]
    fn a_bad_device_login_is_refused_in_words() {
        let dev = Authenticator::Dev;
        let table = [
            (device(1, "", ""), "device id has 0 bytes, allowed are 1 to 256"),
            (device(1, &"x".repeat(257), ""), "device id has 257 bytes, allowed are 1 to 256"),
            (device(2, "tablet", ""), "login_way 2 is not accepted here, this node takes 1 (device id)"),
            (device(-7, "tablet", ""), "login_way -7 is not accepted here, this node takes 1 (device id)"),
        ];
        for (info, words) in table {
            assert_eq!(dev.check(&info).unwrap_err().to_string(), words);
        }
        let refused = Authenticator::token(KEY).unwrap().check(&device(1, "tablet", "")).unwrap_err();
        assert_eq!(refused.to_string(), "login_way 1 is not accepted here, this node takes 2 (signed token)");
    }

    #[test]
    fn a_signed_token_names_the_user() {
        let soon = get_current_timestamp() + 60;
        for (sub, user) in [("1", 1), ("9223372036854775807", USER_MAX), ("007", 7)] {
            let claims = json!({ "sub": sub, "exp": soon, "aud": "anyone" });
            assert_eq!(login(&token(Algorithm::HS256, KEY, &claims)), Ok(UserId(user)));
        }
        let within_leeway = json!({ "sub": "7", "exp": get_current_timestamp() - 2 });
        assert_eq!(login(&token(Algorithm::HS256, KEY, &within_leeway)), Ok(UserId(7)));
    }

    #[test]
    fn a_bad_token_is_refused_in_words() {
        let now = get_current_timestamp();
        let good = json!({ "sub": "7", "exp": now + 60 });
        let sub = "claim sub of the token must be a user id: decimal, 1 to 9223372036854775807";
        let shape = "token's header or claims are not what they must be: exp a number, sub a string";
        let unsigned = {
            // {"alg":"none"} and the good claims' shape, without a signature.
            let none = "eyJhbGciOiJub25lIn0";
            let signed = token(Algorithm::HS256, KEY, &good);
            format!("{none}.{}.", signed.split('.').nth(1).unwrap())
        };
        let hs256 = |claims: Value| token(Algorithm::HS256, KEY, &claims);
        let table = [
            (hs256(json!({ "sub": "7", "exp": now - 60 })), "token has expired"),
            (hs256(json!({ "sub": "7", "exp": now + 60, "nbf": now + 50 })), "token is not valid yet"),
            (token(Algorithm::HS256, &[7; 40], &good), "signature of the token does not match"),
            (token(Algorithm::HS384, KEY, &good), "token is not signed with HS256"),
            (hs256(json!({ "sub": "7" })), "token has no claim exp"),
            (hs256(json!({ "exp": now + 60 })), shape),
            (hs256(json!({ "sub": 7, "exp": now + 60 })), shape),
            (hs256(json!({ "sub": "0", "exp": now + 60 })), sub),
            (hs256(json!({ "sub": "+7", "exp": now + 60 })), sub),
            (hs256(json!({ "sub": "", "exp": now + 60 })), sub),
            (hs256(json!({ "sub": "9223372036854775808", "exp": now + 60 })), sub),
            (unsigned, shape),
            (String::new(), "client_certificate is empty, it must hold the token"),
            ("not a token".to_owned(), "client_certificate is not a signed token (JWT)"),
            ("a.b.c".to_owned(), "client_certificate is not a signed token (JWT)"),
        ];
        for (token, words) in table {
            assert_eq!(login(&token), Err(words.to_owned()), "{token}");
        }
    }

    #[test]
    fn a_key_file_is_read_and_measured() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            Authenticator::token_from_file(&path)
        };
        let line = [&[b'k'; 32][..], b"\r\n"].concat();
        assert!(file("line", &line).is_ok());
        let short = file("short", &[&[b'k'; 31][..], b"\n"].concat()).unwrap_err();
        assert_eq!(short.to_string(), "token key has 31 bytes, at least 32 are needed");
        // The last byte of a binary key is part of it, whatever it is.
        assert!(file("binary", &[&[0xFF; 31][..], b"\n"].concat()).is_ok());
        let missing = Authenticator::token_from_file(&dir.path().join("missing")).unwrap_err();
        assert!(missing.to_string().contains("missing cannot be read: "), "{missing}");
        assert_eq!(format!("{:?}", Authenticator::token(KEY).unwrap()), "Token(..)");
    }
}
