//! The methods by name: requests are decoded, answers encoded here.

use hotseat_guest::{Failure, Service, Shard};
use hotseat_services::chat::{Nil, method};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::chat::Chat;
use crate::log::Encoded;
use crate::pump::ROUND;
use crate::settings::Settings;
use crate::version::Version;

/// The most bytes of messages in one answer; at least one message is in it.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Field numbers of `Chat.List`.
const MESSAGES: u32 = 1;
const CUT: u32 = 2;

impl<V: Version> Service for Chat<V> {
    const SCHEMA: u32 = V::SCHEMA;

    fn open(shard: &Shard, _key: &str) -> Result<Self, String> {
        Settings::read(shard).map(Self::new)
    }

    fn migrate(_shard: &Shard, from: u32, bytes: &[u8]) -> Result<Self, String> {
        V::migrate(from, bytes)
    }

    fn loaded(&mut self, shard: &Shard) -> Result<(), String> {
        self.restored(Settings::read(shard)?);
        Ok(())
    }

    fn call(&mut self, shard: &Shard, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let done = match method {
            method::SEND => self.post(shard, decode(body)?).map(drop),
            method::POST => return self.post(shard, decode(body)?).map(|posted| posted.encode_to_vec()),
            method::REG => self.reg(id(body)?),
            method::UNREG => self.unreg(shard, id(body)?),
            method::JOIN => self.join(&decode(body)?),
            method::LEAVE => self.leave(shard, &decode(body)?),
            method::CONFIGURE => self.configure(shard, &decode(body)?),
            method::MUTE => self.mute(shard, &decode(body)?),
            method::UNMUTE => self.unmute(&decode(body)?),
            _ => Err(Failure::unimplemented(method)),
        };
        done.map(|()| Nil {}.encode_to_vec())
    }

    fn query(&self, shard: &Shard, method: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        match method {
            method::QUERY => self.range(&decode(body)?),
            method::LATEST => self.newest(&decode(body)?),
            method::MEMBERS => self.members(&decode(body)?).map(|users| users.encode_to_vec()),
            method::PRESENCE => self.presence(&decode(body)?).map(|users| users.encode_to_vec()),
            method::DESCRIBE => {
                self.describe(shard, id(body)?).map(|description| description.encode_to_vec())
            }
            _ => Err(Failure::unimplemented(method)),
        }
    }

    fn subscribe(&mut self, shard: &Shard, channel: u64, method: &str, body: &[u8]) -> Result<(), Failure> {
        match method {
            method::SUBSCRIBE => self.open_stream(shard, channel, &decode(body)?),
            _ => Err(Failure::unimplemented(method)),
        }
    }

    fn unsubscribe(&mut self, _shard: &Shard, channel: u64) {
        self.close_stream(channel);
    }

    fn timer(&mut self, shard: &Shard, id: u64) {
        if id == ROUND {
            self.round(shard);
        }
    }
}

fn decode<M: Message + Default>(body: &[u8]) -> Result<M, Failure> {
    M::decode(body).map_err(|error| Failure::undecodable(format!("the request does not decode: {error}")))
}

fn id(body: &[u8]) -> Result<u64, Failure> {
    decode::<hotseat_services::chat::Id>(body).map(|id| id.id)
}

/// The encoded `Chat.List` of messages that are encoded already, as many as fit. They are listed rising, also if they
/// come the other way round.
pub(crate) fn list<'a>(messages: impl Iterator<Item = &'a Encoded>, newest_first: bool) -> Vec<u8> {
    let mut listed: Vec<&Encoded> = Vec::new();
    let (mut bytes, mut cut) = (0, false);
    for message in messages {
        let length = message.bytes().len();
        let size = key_len(MESSAGES) + encoded_len_varint(length as u64) + length;
        if !listed.is_empty() && bytes + size > MAX_ANSWER_BYTES {
            cut = true;
            break;
        }
        bytes += size;
        listed.push(message);
    }
    if newest_first {
        listed.reverse();
    }
    let mut list = Vec::with_capacity(bytes + 2);
    for message in listed {
        encode_key(MESSAGES, WireType::LengthDelimited, &mut list);
        encode_varint(message.bytes().len() as u64, &mut list);
        list.extend_from_slice(message.bytes());
    }
    if cut {
        prost::encoding::bool::encode(CUT, &true, &mut list);
    }
    list
}
