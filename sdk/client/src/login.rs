//! Login: who the client says it is.

use hotseat_packet::{LOGIN_CERTIFICATE, LOGIN_DEVICE, UserLoginInfo};

/// What a login sends. `Debug` hides the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    info: UserLoginInfo,
}

impl Login {
    /// By device id (at most 65,535 bytes): the same id is the same account.
    pub fn device(id: impl Into<String>) -> Self {
        Self {
            info: UserLoginInfo { login_way: LOGIN_DEVICE, device_id: id.into(), ..UserLoginInfo::default() },
        }
    }

    /// By signed token, a JWT (at most 65,535 bytes).
    pub fn token(jwt: impl Into<String>) -> Self {
        let client_certificate = jwt.into();
        Self {
            info: UserLoginInfo {
                login_way: LOGIN_CERTIFICATE,
                client_certificate,
                ..UserLoginInfo::default()
            },
        }
    }

    /// The fields as they are sent.
    pub fn info(&self) -> &UserLoginInfo {
        &self.info
    }
}

/// A login with every field chosen by the caller.
impl From<UserLoginInfo> for Login {
    fn from(info: UserLoginInfo) -> Self {
        Self { info }
    }
}
