//! A shard with typed methods.

use chat::{Chat, V1, Version};
use hotseat_guest::Failure;
use hotseat_guest::testing::{Setup, TestShard};
use hotseat_services::chat::{
    ConsumeLatest, ConsumeRange, Consumer, Description, Id, List, Member, Message, Page, Posted, Settings,
    Silence, Users, method,
};
use prost::Message as _;

/// The default of `retention`.
pub(crate) const RETENTION: i64 = 1024;

pub(crate) struct Shard<V: Version = V1> {
    pub(crate) inner: TestShard<Chat<V>>,
    next_channel: u64,
    settings: Vec<(String, String)>,
}

impl Shard {
    pub(crate) fn open() -> Self {
        Self::with(&[])
    }

    /// A shard with settings.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Self {
        let settings: Vec<_> = settings.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        Self { inner: setup(&settings).open_shard("chat#0").unwrap(), next_channel: 1, settings }
    }

    /// A shard with the endpoint 1.
    pub(crate) fn registered(settings: &[(&str, &str)]) -> Self {
        let mut shard = Self::with(settings);
        shard.reg(1).unwrap();
        shard
    }
}

impl<V: Version> Shard<V> {
    pub(crate) fn swap<N: Version>(self) -> Result<Shard<N>, String> {
        let Self { inner, next_channel, settings } = self;
        inner.swap().map(|inner| Shard { inner, next_channel, settings })
    }

    fn unit(&mut self, method: &str, request: &impl prost::Message) -> Result<(), Failure> {
        self.inner.call(method, &request.encode_to_vec()).map(|answer| assert_eq!(answer, b""))
    }

    fn ask<R: prost::Message + Default>(
        &self,
        method: &str,
        request: &impl prost::Message,
    ) -> Result<R, Failure> {
        self.inner.query(method, &request.encode_to_vec()).map(|answer| R::decode(answer.as_slice()).unwrap())
    }

    pub(crate) fn reg(&mut self, id: u64) -> Result<(), Failure> {
        self.unit(method::REG, &Id { id })
    }

    pub(crate) fn unreg(&mut self, id: u64) -> Result<(), Failure> {
        self.unit(method::UNREG, &Id { id })
    }

    pub(crate) fn send(&mut self, message: &Message) -> Result<(), Failure> {
        self.unit(method::SEND, message)
    }

    /// Posts to the endpoint 1.
    pub(crate) fn post(&mut self, sender: u64, body: impl AsRef<[u8]>) -> Result<Posted, Failure> {
        let message = Message { id: 1, body: body.as_ref().into(), sender, ..Message::default() };
        let answer = self.inner.call(method::POST, &message.encode_to_vec())?;
        Ok(Posted::decode(answer.as_slice()).unwrap())
    }

    /// Posts many numbered messages to the endpoint 1, as the system.
    pub(crate) fn fill(&mut self, count: usize) {
        for _ in 0..count {
            self.post(0, "x").unwrap();
        }
    }

    pub(crate) fn query(&self, from: i64, to: i64) -> Result<List, Failure> {
        self.ask(method::QUERY, &ConsumeRange { id: 1, from, to })
    }

    pub(crate) fn latest(&self, length: i64) -> Result<List, Failure> {
        self.ask(method::LATEST, &ConsumeLatest { id: 1, length })
    }

    pub(crate) fn describe(&self) -> Description {
        self.ask(method::DESCRIBE, &Id { id: 1 }).unwrap()
    }

    /// Subscribes to the endpoint 1; returns the channel.
    pub(crate) fn subscribe(&mut self, from: i64) -> u64 {
        self.subscribe_as(0, from).unwrap()
    }

    pub(crate) fn subscribe_as(&mut self, user: u64, from: i64) -> Result<u64, Failure> {
        let channel = self.next_channel;
        self.next_channel += 1;
        let consumer = Consumer { id: 1, from, user }.encode_to_vec();
        self.inner.subscribe(channel, method::SUBSCRIBE, &consumer).map(|()| channel)
    }

    /// What a stream got since this was last asked.
    pub(crate) fn got(&mut self, channel: u64) -> Vec<Message> {
        self.inner.sent(channel).iter().map(|bytes| Message::decode(bytes.as_slice()).unwrap()).collect()
    }

    /// The offsets of what a stream got since this was last asked.
    pub(crate) fn offsets(&mut self, channel: u64) -> Vec<i64> {
        self.got(channel).iter().map(|message| message.offset).collect()
    }

    /// Status and text with which the shard ended a stream.
    pub(crate) fn ended(&self, channel: u64) -> Option<(u32, String)> {
        self.inner
            .ended(channel)
            .map(|outcome| outcome.unwrap_err())
            .map(|failure| (failure.status, failure.text))
    }

    pub(crate) fn join(&mut self, user: u64) -> Result<(), Failure> {
        self.unit(method::JOIN, &Member { id: 1, user })
    }

    pub(crate) fn leave(&mut self, user: u64) -> Result<(), Failure> {
        self.unit(method::LEAVE, &Member { id: 1, user })
    }

    pub(crate) fn members(&self, after: u64, length: u32) -> Vec<u64> {
        self.ask::<Users>(method::MEMBERS, &Page { id: 1, after, length }).unwrap().users
    }

    pub(crate) fn presence(&self, after: u64, length: u32) -> Vec<u64> {
        self.ask::<Users>(method::PRESENCE, &Page { id: 1, after, length }).unwrap().users
    }

    pub(crate) fn configure(&mut self, settings: &Settings) -> Result<(), Failure> {
        self.unit(method::CONFIGURE, &Settings { id: 1, ..*settings })
    }

    pub(crate) fn retain(&mut self, retention: u32) -> Result<(), Failure> {
        self.configure(&Settings { retention: Some(retention), ..Settings::default() })
    }

    pub(crate) fn mute(&mut self, user: u64, until_ms: u64) -> Result<(), Failure> {
        self.unit(method::MUTE, &Silence { id: 1, user, until_ms })
    }

    pub(crate) fn unmute(&mut self, user: u64) -> Result<(), Failure> {
        self.unit(method::UNMUTE, &Member { id: 1, user })
    }

    /// Checks that what the shard believes it holds is what a fresh look at it gives.
    pub(crate) fn check_cost(&self) {
        let fresh: TestShard<Chat<V>> = setup(&self.settings).load_shard(&self.inner.save()).unwrap();
        assert_eq!(fresh.state().cost(), self.inner.state().cost());
    }
}

fn setup(settings: &[(String, String)]) -> Setup {
    settings.iter().fold(Setup::new(), |setup, (key, value)| setup.config(key, value.as_str()))
}

/// Status and text of a refusal.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(outcome: Result<T, Failure>) -> (u32, String) {
    let failure = outcome.expect_err("must be refused");
    (failure.status, failure.text)
}

pub(crate) fn offsets(list: &List) -> Vec<i64> {
    list.messages.iter().map(|message| message.offset).collect()
}

pub(crate) fn range(from: i64, to: i64) -> Vec<i64> {
    (from..=to).collect()
}
