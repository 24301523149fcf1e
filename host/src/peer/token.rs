//! Token: the secret that all nodes of a cluster share.

use std::hint::black_box;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tonic::codegen::http::{HeaderMap, HeaderValue, header};

use super::{SecurityError, read};

/// The shortest secret, bytes: 128 bits even if it is written in hexadecimal digits.
pub const TOKEN_MIN: usize = 32;

/// The longest, bytes: it goes with every request.
const TOKEN_MAX: usize = 1024;

/// What goes before it in the metadata (RFC 6750, section 2.1).
const SCHEME: &str = "Bearer ";

const KEY: &str = "peer_token_file";

/// Why a request is not a peer's. The texts are for whoever sent it and repeat nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// It shows no secret.
    #[error(
        "this node answers its peers alone: metadata authorization must be `Bearer` and the cluster's token"
    )]
    Missing,
    /// It shows another one.
    #[error("the token in metadata authorization is not this cluster's")]
    Wrong,
}

/// The secret, as it is shown and as it is compared.
#[derive(Clone)]
pub(super) struct Token {
    header: HeaderValue,
    digest: [u8; 32],
}

impl Token {
    pub(super) fn read(path: &Path) -> Result<Self, SecurityError> {
        let bytes = read(KEY, path)?;
        let wrong = |problem| SecurityError::Content { key: KEY, path: path.to_owned(), problem };
        let line = bytes.strip_suffix(b"\n").map_or(&bytes[..], |it| it.strip_suffix(b"\r").unwrap_or(it));
        if !(TOKEN_MIN..=TOKEN_MAX).contains(&line.len()) {
            let held = line.len();
            return Err(wrong(format!("holds {held} bytes: allowed is {TOKEN_MIN} to {TOKEN_MAX}")));
        }
        let text = std::str::from_utf8(line).ok().filter(|text| text.bytes().all(|b| b.is_ascii_graphic()));
        let header = text.and_then(|text| HeaderValue::try_from(format!("{SCHEME}{text}")).ok());
        let mut header = header.ok_or_else(|| {
            wrong(
                "is not one line of printable ASCII without spaces, such as `openssl rand -hex 32` makes"
                    .into(),
            )
        })?;
        // Whoever prints headers does not print this one.
        header.set_sensitive(true);
        Ok(Self { header, digest: Sha256::digest(line).into() })
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Unauthenticated> {
        let mut shown = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (shown.next(), shown.next()) else { return Err(Unauthenticated::Missing) };
        let (scheme, token) =
            value.as_bytes().split_at_checked(SCHEME.len()).ok_or(Unauthenticated::Missing)?;
        if !scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) {
            return Err(Unauthenticated::Missing);
        }
        // Digests have one length, and how far two of them agree tells nothing about the secret; all bytes are looked
        // at all the same.
        let shown: [u8; 32] = Sha256::digest(token).into();
        let differ = self.digest.iter().zip(shown).fold(0, |differ, (a, b)| black_box(differ | (a ^ b)));
        if differ == 0 { Ok(()) } else { Err(Unauthenticated::Wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn token(bytes: impl AsRef<[u8]>) -> Result<Token, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, bytes).unwrap();
        Token::read(&path).map_err(|error| error.to_string())
    }

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (header::AUTHORIZATION, value.parse().unwrap())).collect()
    }

    #[test]
    fn a_file_holds_one_long_line() {
        for good in [SECRET.to_owned(), format!("{SECRET}\n"), format!("{SECRET}\r\n"), "x".repeat(1024)] {
            assert!(token(&good).is_ok(), "{good:?}");
        }
        for bad in [&SECRET[1..], &format!("{}\r\n", &SECRET[1..]), "", &"x".repeat(1025)] {
            let error = token(bad).err().unwrap();
            assert!(error.contains("peer_token_file ") && error.contains("32 to 1024"), "{error}");
        }
        for bad in [format!("{SECRET} {SECRET}"), format!("{SECRET}\n\n"), format!("{SECRET}\u{e9}")] {
            let error = token(&bad).err().unwrap();
            assert!(error.contains("printable ASCII") && !error.contains(SECRET), "{error}");
        }
        assert!(token([0xFF; 40]).err().unwrap().contains("printable ASCII"));
        let missing = Token::read(Path::new("/nowhere/token")).err().unwrap().to_string();
        assert!(missing.starts_with("peer_token_file /nowhere/token cannot be read: "), "{missing}");
    }

    #[test]
    fn only_the_whole_secret_will_do() {
        let token = token(SECRET).unwrap();
        let bearer = format!("Bearer {SECRET}");
        assert_eq!(token.check(&headers(&[&bearer])), Ok(()));
        assert_eq!(token.check(&headers(&[&format!("bearer {SECRET}")])), Ok(()));
        let longer = format!("{bearer}0");
        for wrong in ["Bearer x", "Bearer ", &bearer[..bearer.len() - 1], &longer] {
            assert_eq!(token.check(&headers(&[wrong])), Err(Unauthenticated::Wrong), "{wrong}");
        }
        for missing in [&[][..], &["Basic abc="], &[""], &[SECRET], &[&bearer, &bearer]] {
            assert_eq!(token.check(&headers(missing)), Err(Unauthenticated::Missing), "{missing:?}");
        }
        assert_eq!(format!("{:?}", token.header()), "Sensitive");
    }
}
