//! Message: the payloads of the opcodes the agent handles itself.

use std::fmt;

use crate::{ReadError, Reader, WriteError, Writer};

/// [`UserLoginInfo::login_way`] of a device login (the original's "uuid").
pub const LOGIN_DEVICE: i32 = 1;
/// [`UserLoginInfo::login_way`] of a login with a signed token.
pub const LOGIN_CERTIFICATE: i32 = 2;

/// A payload with a fixed order of fields.
pub trait Message: Sized {
    /// Reads the fields in order. What follows them stays in the reader.
    ///
    /// # Errors
    /// That of the first field that cannot be read.
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError>;

    /// Writes the fields in order.
    ///
    /// # Errors
    /// That of the first field that cannot be written; the ones before it are in the writer.
    fn write(&self, writer: &mut Writer) -> Result<(), WriteError>;

    /// The message at the start of `payload`. Trailing bytes are ignored, as the original does, so that a
    /// newer peer may append fields.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn from_bytes(payload: &[u8]) -> Result<Self, ReadError> {
        Self::read(&mut Reader::new(payload))
    }

    /// The message as a payload.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn to_bytes(&self) -> Result<Vec<u8>, WriteError> {
        let mut writer = Writer::new();
        self.write(&mut writer)?;
        Ok(writer.into_bytes())
    }
}

/// `auto_id`: heartbeats and the ping of the reference game.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AutoId {
    /// Chosen by the asker, echoed in the answer.
    pub id: i32,
}

impl Message for AutoId {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self { id: reader.s32()? })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), WriteError> {
        writer.s32(self.id);
        Ok(())
    }
}

/// `error_info`: why a message or a login was refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorInfo {
    /// One of [`crate::code`], or from 1000 up the plugin's own.
    pub code: i32,
    /// The reason in words.
    pub msg: String,
}

impl Message for ErrorInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self { code: reader.s32()?, msg: reader.string()?.to_owned() })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), WriteError> {
        writer.s32(self.code).string(&self.msg)?;
        Ok(())
    }
}

/// `user_login_info`: who wants to log in. Its `Debug` hides the certificate, which is a secret.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct UserLoginInfo {
    /// [`LOGIN_DEVICE`] or [`LOGIN_CERTIFICATE`].
    pub login_way: i32,
    /// The device's open id; stands in where `device_id` is empty.
    pub open_udid: String,
    /// The signed token of a certificate login.
    pub client_certificate: String,
    /// The client's version number.
    pub client_version: i32,
    /// The user's language.
    pub user_lang: String,
    /// The application's id.
    pub app_id: String,
    /// The operating system's version.
    pub os_version: String,
    /// The device's name.
    pub device_name: String,
    /// The device's id, the account of a device login.
    pub device_id: String,
    /// What kind of id `device_id` is; the client's own numbering.
    pub device_id_type: i32,
    /// The address the client believes it has. The agent does not trust it.
    pub login_ip: String,
}

impl Message for UserLoginInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            login_way: reader.s32()?,
            open_udid: reader.string()?.to_owned(),
            client_certificate: reader.string()?.to_owned(),
            client_version: reader.s32()?,
            user_lang: reader.string()?.to_owned(),
            app_id: reader.string()?.to_owned(),
            os_version: reader.string()?.to_owned(),
            device_name: reader.string()?.to_owned(),
            device_id: reader.string()?.to_owned(),
            device_id_type: reader.s32()?,
            login_ip: reader.string()?.to_owned(),
        })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), WriteError> {
        writer.s32(self.login_way);
        writer.string(&self.open_udid)?.string(&self.client_certificate)?.s32(self.client_version);
        writer.string(&self.user_lang)?.string(&self.app_id)?.string(&self.os_version)?;
        writer.string(&self.device_name)?.string(&self.device_id)?.s32(self.device_id_type);
        writer.string(&self.login_ip)?;
        Ok(())
    }
}

impl fmt::Debug for UserLoginInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserLoginInfo")
            .field("login_way", &self.login_way)
            .field("open_udid", &self.open_udid)
            .field("client_certificate", &format_args!("<{} bytes>", self.client_certificate.len()))
            .field("client_version", &self.client_version)
            .field("user_lang", &self.user_lang)
            .field("app_id", &self.app_id)
            .field("os_version", &self.os_version)
            .field("device_name", &self.device_name)
            .field("device_id", &self.device_id)
            .field("device_id_type", &self.device_id_type)
            .field("login_ip", &self.login_ip)
            .finish()
    }
}

/// `seed_info`: both public values of the key exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeedInfo {
    /// For the key of what the client sends.
    pub client_send_seed: i32,
    /// For the key of what the client receives.
    pub client_receive_seed: i32,
}

impl Message for SeedInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self { client_send_seed: reader.s32()?, client_receive_seed: reader.s32()? })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), WriteError> {
        writer.s32(self.client_send_seed).s32(self.client_receive_seed);
        Ok(())
    }
}

/// `user_snapshot`: who the player is after a login.
///
/// The original has `uid` only; its clients ignore the bytes of `user`. Read from an original server, `user`
/// is `uid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UserSnapshot {
    /// The low 31 bits of the user id, what the original's clients read.
    pub uid: i32,
    /// The full user id.
    pub user: u64,
}

impl UserSnapshot {
    /// The snapshot of `user`.
    pub const fn new(user: u64) -> Self {
        Self { uid: (user & 0x7FFF_FFFF) as i32, user }
    }
}

impl Message for UserSnapshot {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let uid = reader.s32()?;
        let user = if reader.is_empty() { u64::from(uid.cast_unsigned()) } else { reader.u64()? };
        Ok(Self { uid, user })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), WriteError> {
        writer.s32(self.uid).u64(self.user);
        Ok(())
    }
}
