//! Entry: an input or an effect as a name with fields, for people and for machines.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::plugin::{Effect, Input};

/// Bytes of a payload that are shown unless all are asked for.
const SHOWN: usize = 32;

/// One input or effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub what: &'static str,
    /// The rest.
    pub fields: Vec<(&'static str, Field)>,
}

/// A field of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// A number.
    Number(u64),
    /// Players; none: everyone in the room.
    Users(Vec<u64>),
    /// Streams.
    Channels(Vec<u64>),
    /// A text.
    Text(String),
    /// A payload.
    Bytes(Vec<u8>),
}

impl From<u64> for Field {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Field {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Field {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<&str> for Field {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&[u8]> for Field {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<&[u64]> for Field {
    fn from(users: &[u64]) -> Self {
        Self::Users(users.to_vec())
    }
}

macro_rules! entry {
    ($what:expr $(, $name:ident = $value:expr)*) => {
        Entry { what: $what, fields: vec![$((stringify!($name), $value.into())),*] }
    };
}

impl Entry {
    /// How a room begins that opens.
    pub fn open(room: &str, args: &[u8]) -> Self {
        entry!("open", room = room, args = args)
    }

    /// An input.
    pub fn input(input: &Input<'_>) -> Self {
        let what = input.kind();
        match *input {
            Input::Join { user, profile: Some((version, profile)) } => {
                entry!(what, user = user, version = version, profile = profile)
            }
            Input::Join { user, profile: None } | Input::Rejoin { user } => entry!(what, user = user),
            Input::Leave { user, reason } => entry!(what, user = user, reason = reason),
            Input::Message { user, op, payload } => entry!(what, user = user, op = op, payload = payload),
            Input::Tick { dt_ms } => entry!(what, dt_ms = dt_ms),
            Input::Timer { id } => entry!(what, id = id),
            Input::Reply { token, status, body, text } => {
                entry!(what, token = token, status = status, body = body, text = text)
            }
            Input::Call { method, body } | Input::Query { method, body } => {
                entry!(what, method = method, body = body)
            }
            Input::Subscribe { channel, method, body } => {
                entry!(what, channel = channel, method = method, body = body)
            }
            Input::Unsubscribe { channel } => entry!(what, channel = channel),
        }
    }

    /// An effect.
    pub fn effect(effect: &Effect<'_>) -> Self {
        match *effect {
            Effect::Send { user, op, payload } => entry!("send", user = user, op = op, payload = payload),
            Effect::Broadcast { users, op, payload } => {
                entry!("broadcast", users = users, op = op, payload = payload)
            }
            Effect::Kick { user, reason } => entry!("kick", user = user, reason = reason),
            Effect::Transfer { user, room } => entry!("transfer", user = user, room = room),
            Effect::CreateRoom { room, args } => entry!("create-room", room = room, args = args),
            Effect::CloseRoom { reason } => entry!("close-room", reason = reason),
            Effect::SetTimer { id, after_ms } => entry!("set-timer", id = id, after_ms = after_ms),
            Effect::CancelTimer { id } => entry!("cancel-timer", id = id),
            Effect::PutProfile { user, bytes } => entry!("put-profile", user = user, profile = bytes),
            Effect::Call { token, service, instance, method, body } => entry!(
                "call",
                token = token,
                service = service,
                instance = instance,
                method = method,
                body = body
            ),
            Effect::SendChannels { channels, message } => {
                entry!("send-channels", channels = Field::Channels(channels.to_vec()), message = message)
            }
            Effect::EndChannel { channel, status, text } => {
                entry!("end-channel", channel = channel, status = status, text = text)
            }
        }
    }

    /// The response of a service method.
    pub fn answer(body: &[u8]) -> Self {
        entry!("answer", body = body)
    }

    /// One line, with payloads cut short unless `full`.
    pub fn line(&self, full: bool) -> String {
        let fields = self.fields.iter().map(|(name, field)| match field {
            Field::Number(number) => format!(" {name}={number}"),
            Field::Users(users) if users.is_empty() => format!(" {name}=everyone"),
            Field::Users(ids) | Field::Channels(ids) => {
                let ids: Vec<_> = ids.iter().map(u64::to_string).collect();
                format!(" {name}={}", ids.join(","))
            }
            // In quotes and escaped: what a client sent must not move a terminal's cursor.
            Field::Text(text) => format!(" {name}={text:?}"),
            Field::Bytes(bytes) if bytes.is_empty() => format!(" {name}=-"),
            Field::Bytes(bytes) if full || bytes.len() <= SHOWN => format!(" {name}={}", Hex(bytes)),
            Field::Bytes(bytes) => format!(" {name}={}… ({} bytes)", Hex(&bytes[..SHOWN]), bytes.len()),
        });
        std::iter::once(self.what.to_owned()).chain(fields).collect()
    }
}

/// An object with `what` and the fields; payloads are hexadecimal and whole.
impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len() + 1))?;
        map.serialize_entry("what", self.what)?;
        for (name, field) in &self.fields {
            match field {
                Field::Number(number) => map.serialize_entry(name, number)?,
                Field::Users(ids) | Field::Channels(ids) => map.serialize_entry(name, ids)?,
                Field::Text(text) => map.serialize_entry(name, text)?,
                Field::Bytes(bytes) => map.serialize_entry(name, &Hex(bytes).to_string())?,
            }
        }
        map.end()
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_line_or_an_object() {
        let send = Entry::effect(&Effect::Send { user: 7, op: 1002, payload: &[0, 255] });
        assert_eq!(send.line(false), "send user=7 op=1002 payload=00ff");
        let json = serde_json::to_string(&send).unwrap();
        assert_eq!(json, r#"{"what":"send","user":7,"op":1002,"payload":"00ff"}"#);
        let long = Entry::effect(&Effect::Broadcast { users: &[], op: 1, payload: &[1; 40] });
        let shown = "01".repeat(32);
        assert_eq!(long.line(false), format!("broadcast users=everyone op=1 payload={shown}… (40 bytes)"));
        assert_eq!(long.line(true), format!("broadcast users=everyone op=1 payload={}", "01".repeat(40)));
        let reply = Entry::input(&Input::Reply { token: 1, status: 0, body: b"", text: "\x1b[2J" });
        assert_eq!(reply.line(false), r#"reply token=1 status=0 body=- text="\u{1b}[2J""#);
    }
}
