//! The shard: its endpoints, the limits across them, and what each method does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use hotseat_guest::{Failure, Shard};
use hotseat_services::chat::{
    self as proto, ConsumeLatest, ConsumeRange, Consumer, Description, Member, Message, Page, Posted,
    Silence, Users,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::endpoint::{ENDPOINT_BYTES, Endpoint, MEMBER_BYTES, STREAM_BYTES};
use crate::log::{self, Encoded};
use crate::pump::{Ending, Outbox};
use crate::rate::Rate;
use crate::settings::Settings;
use crate::version::Version;

/// The most users in an answer.
pub const MAX_PAGE: usize = 10_000;

/// The state of one shard.
#[derive(Serialize, Deserialize)]
#[serde(bound(serialize = "V::Memory: Serialize", deserialize = "V::Memory: DeserializeOwned"))]
pub struct Chat<V: Version> {
    pub(crate) endpoints: BTreeMap<u64, Endpoint<V::Memory>>,
    rate: Rate,
    /// Streams that are in no endpoint any more, and that the host has yet to end.
    pub(crate) ending: BTreeMap<u64, Ending>,
    /// The lagging stream that was fed last.
    pub(crate) fed: u64,
    /// Whether the timer of the next round is set.
    pub(crate) scheduled: bool,
    /// The endpoint of each stream.
    #[serde(skip)]
    pub(crate) channels: BTreeMap<u64, u64>,
    /// The streams that lag in their endpoints.
    #[serde(skip)]
    pub(crate) lagging: BTreeSet<u64>,
    /// What the endpoints cost, in bytes.
    #[serde(skip)]
    cost: u64,
    #[serde(skip)]
    settings: Settings,
}

impl<V: Version> fmt::Debug for Chat<V> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Chat").field("endpoints", &self.endpoints.len()).finish_non_exhaustive()
    }
}

impl<V: Version> Chat<V> {
    /// A shard without endpoints.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            endpoints: BTreeMap::new(),
            rate: Rate::default(),
            ending: BTreeMap::new(),
            fed: 0,
            scheduled: false,
            channels: BTreeMap::new(),
            lagging: BTreeSet::new(),
            cost: 0,
            settings,
        }
    }

    /// The same shard in another version, given what becomes of an endpoint.
    pub(crate) fn remember<N: Version>(
        self,
        change: impl Fn(Endpoint<V::Memory>) -> Endpoint<N::Memory>,
    ) -> Chat<N> {
        let endpoints = self.endpoints.into_iter().map(|(id, endpoint)| (id, change(endpoint)));
        Chat {
            endpoints: endpoints.collect(),
            rate: self.rate,
            ending: self.ending,
            fed: self.fed,
            scheduled: self.scheduled,
            ..Chat::new(self.settings)
        }
    }

    /// Rebuilds what is not saved, and applies the settings there are now.
    pub(crate) fn restored(&mut self, settings: Settings) {
        for (id, endpoint) in &mut self.endpoints {
            endpoint.loaded();
            self.channels.extend(endpoint.streams.keys().map(|channel| (*channel, *id)));
            self.lagging.extend(endpoint.lagging.keys());
            // Others drop what is too much at the next message: now nothing can be sent.
            if endpoint.lagging.is_empty() {
                let keep = endpoint.retention.unwrap_or(settings.retention) as usize;
                while endpoint.log.len() > keep {
                    endpoint.log.drop_oldest();
                }
            }
            self.cost += endpoint.cost();
        }
        self.settings = settings;
    }

    /// What all of it costs of the memory that `max_mib` bounds, in bytes.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.cost + self.rate.cost()
    }

    pub(crate) fn reg(&mut self, id: u64) -> Result<(), Failure> {
        if self.endpoints.contains_key(&id) {
            return Err(Failure::already_exists("id already exists"));
        }
        let limit = self.settings.max_endpoints;
        if self.endpoints.len() >= limit {
            return Err(Failure::exhausted(format!("this shard has {limit} endpoints, which is all it may")));
        }
        self.room_for(ENDPOINT_BYTES, 0)?;
        self.endpoints.insert(id, Endpoint::default());
        self.cost += ENDPOINT_BYTES;
        Ok(())
    }

    pub(crate) fn unreg(&mut self, shard: &Shard, id: u64) -> Result<(), Failure> {
        let endpoint = self.endpoints.remove(&id).ok_or_else(unknown)?;
        self.cost -= endpoint.cost();
        let channels = endpoint.streams.into_keys().collect();
        self.end(shard, channels, Ending::Unregistered, &mut Outbox::new(shard));
        Ok(())
    }

    pub(crate) fn post(&mut self, shard: &Shard, message: Message) -> Result<Posted, Failure> {
        V::on_body(&message.body);
        let now_ms = shard.now_ms();
        let Message { id, body, sender, .. } = message;
        let (settings, endpoint) = (&self.settings, self.endpoints.get(&id).ok_or_else(unknown)?);
        if body.len() > settings.max_body_bytes {
            let (size, limit) = (body.len(), settings.max_body_bytes);
            return Err(Failure::invalid(format!("the body has {size} bytes, allowed: 0 to {limit}")));
        }
        endpoint.may_post(sender, now_ms)?;
        if let Err(wait_ms) = self.rate.check(settings.rate, sender, now_ms) {
            return Err(Failure::exhausted(format!(
                "user {sender} posts more than {} messages a minute: wait for {wait_ms} ms",
                settings.rate.per_minute
            )));
        }
        let keep = endpoint.retention.unwrap_or(settings.retention) as usize;
        let masked = settings.words.mask(&body);
        let changed = masked.is_some();
        let offset = endpoint.log.next();
        let encoded =
            Encoded::new(&Message { id, body: masked.unwrap_or(body), offset, sender, time_ms: now_ms });
        let size = encoded.bytes().len();
        let freed =
            if endpoint.log.len() < keep { 0 } else { endpoint.log.oldest().map_or(0, Encoded::cost) };
        self.room_for(log::cost(size) + self.rate.growth(sender), freed)?;

        // From here on nothing is refused.
        self.rate.take(self.settings.rate, sender, now_ms);
        let mut out = Outbox::reserving(shard, size);
        let overtaken = self.change(id, |endpoint| {
            if changed {
                V::on_masked(&mut endpoint.memory);
            }
            let overtaken = endpoint.trim(keep - 1, &mut out);
            endpoint.publish(encoded, &mut out);
            overtaken
        })?;
        self.end(shard, overtaken, Ending::Overtaken, &mut out);
        Ok(Posted { offset, time_ms: now_ms })
    }

    pub(crate) fn open_stream(
        &mut self,
        shard: &Shard,
        channel: u64,
        consumer: &Consumer,
    ) -> Result<(), Failure> {
        let Consumer { id, from, user } = *consumer;
        let endpoint = self.endpoints.get(&id).ok_or_else(unknown)?;
        if !endpoint.may_subscribe(user) {
            return Err(Failure::denied(format!("only members may subscribe, and user {user} is none")));
        }
        let limit = self.settings.max_subscribers;
        if endpoint.streams.len() >= limit {
            return Err(Failure::exhausted(format!("id {id} has {limit} subscribers, which is all it may")));
        }
        self.room_for(STREAM_BYTES, 0)?;
        self.change(id, |endpoint| endpoint.subscribe(channel, user, from))?;
        self.channels.insert(channel, id);
        self.begin(shard, channel);
        Ok(())
    }

    pub(crate) fn close_stream(&mut self, channel: u64) {
        self.ending.remove(&channel);
        self.lagging.remove(&channel);
        if let Some(id) = self.channels.remove(&channel) {
            // The endpoint is there: when it goes it takes its channels along.
            let _ = self.change(id, |endpoint| endpoint.unsubscribe(channel));
        }
    }

    pub(crate) fn range(&self, range: &ConsumeRange) -> Result<Vec<u8>, Failure> {
        let log = &self.endpoint(range.id)?.log;
        Ok(crate::service::list(log.range(range.from, range.to), false))
    }

    pub(crate) fn newest(&self, latest: &ConsumeLatest) -> Result<Vec<u8>, Failure> {
        let log = &self.endpoint(latest.id)?.log;
        let wanted = usize::try_from(latest.length).unwrap_or(if latest.length < 0 { 0 } else { usize::MAX });
        Ok(crate::service::list(log.newest_first().take(wanted), true))
    }

    pub(crate) fn join(&mut self, member: &Member) -> Result<(), Failure> {
        let user = demand_user(member.user)?;
        let endpoint = self.endpoint(member.id)?;
        if endpoint.members.contains(&user) {
            return Ok(());
        }
        let limit = self.settings.max_members;
        if endpoint.members.len() >= limit {
            let id = member.id;
            return Err(Failure::exhausted(format!("id {id} has {limit} members, which is all it may")));
        }
        self.room_for(MEMBER_BYTES, 0)?;
        self.change(member.id, |endpoint| endpoint.members.insert(user))?;
        Ok(())
    }

    pub(crate) fn leave(&mut self, shard: &Shard, member: &Member) -> Result<(), Failure> {
        let user = demand_user(member.user)?;
        self.change(member.id, |endpoint| endpoint.members.remove(&user))?;
        self.end_strangers(shard, member.id, &mut Outbox::new(shard))
    }

    pub(crate) fn members(&self, page: &Page) -> Result<Users, Failure> {
        Ok(Users { users: self.endpoint(page.id)?.members_after(page.after, limit(page)) })
    }

    pub(crate) fn presence(&self, page: &Page) -> Result<Users, Failure> {
        Ok(Users { users: self.endpoint(page.id)?.present_after(page.after, limit(page)) })
    }

    pub(crate) fn configure(&mut self, shard: &Shard, wanted: &proto::Settings) -> Result<(), Failure> {
        let (default, most) = (self.settings.retention, self.settings.max_retention);
        if let Some(retention) = wanted.retention.filter(|retention| *retention > most) {
            return Err(Failure::invalid(format!(
                "retention {retention} is not allowed: must be 0 to {most}"
            )));
        }
        let mut out = Outbox::new(shard);
        let overtaken = self.change(wanted.id, |endpoint| {
            if let Some(retention) = wanted.retention {
                endpoint.retention = Some(retention).filter(|retention| *retention != 0);
            }
            endpoint.members_post = wanted.members_post.unwrap_or(endpoint.members_post);
            endpoint.members_subscribe = wanted.members_subscribe.unwrap_or(endpoint.members_subscribe);
            endpoint.trim(endpoint.retention.unwrap_or(default) as usize, &mut out)
        })?;
        self.end(shard, overtaken, Ending::Overtaken, &mut out);
        self.end_strangers(shard, wanted.id, &mut out)
    }

    pub(crate) fn mute(&mut self, shard: &Shard, silence: &Silence) -> Result<(), Failure> {
        let user = demand_user(silence.user)?;
        let now_ms = shard.now_ms();
        let until = if silence.until_ms == 0 { u64::MAX } else { silence.until_ms };
        let endpoint = self.endpoint(silence.id)?;
        if until <= now_ms {
            return Err(Failure::invalid(format!(
                "until {until} ms is not allowed: must be 0 or above {now_ms}"
            )));
        }
        let limit = self.settings.max_members;
        let full = endpoint.muted.len() >= limit && !endpoint.muted.contains_key(&user);
        if full && endpoint.muted_now(now_ms) >= limit {
            let id = silence.id;
            return Err(Failure::exhausted(format!("id {id} has {limit} muted users, which is all it may")));
        }
        self.room_for(MEMBER_BYTES, 0)?;
        self.change(silence.id, |endpoint| {
            if full {
                endpoint.muted.retain(|_, until| *until > now_ms);
            }
            endpoint.muted.insert(user, until);
        })
    }

    pub(crate) fn unmute(&mut self, member: &Member) -> Result<(), Failure> {
        let user = demand_user(member.user)?;
        self.change(member.id, |endpoint| endpoint.muted.remove(&user))?;
        Ok(())
    }

    pub(crate) fn describe(&self, shard: &Shard, id: u64) -> Result<Description, Failure> {
        let endpoint = self.endpoint(id)?;
        let mut description = Description {
            id,
            first_offset: endpoint.log.first(),
            next_offset: endpoint.log.next(),
            retention: endpoint.retention.unwrap_or(self.settings.retention),
            members: endpoint.members.len() as u32,
            subscribers: endpoint.streams.len() as u32,
            members_post: endpoint.members_post,
            members_subscribe: endpoint.members_subscribe,
            muted: endpoint.muted_now(shard.now_ms()) as u32,
            masked: 0,
        };
        V::describe(&endpoint.memory, &mut description);
        Ok(description)
    }

    /// Ends the streams of users that may not subscribe (any more).
    fn end_strangers(&mut self, shard: &Shard, id: u64, out: &mut Outbox<'_>) -> Result<(), Failure> {
        let strangers = self.change(id, |endpoint| {
            let strangers = endpoint.streams_of(|user| !endpoint.may_subscribe(user));
            strangers.iter().for_each(|channel| endpoint.unsubscribe(*channel));
            strangers
        })?;
        self.end(shard, strangers, Ending::NoMember, out);
        Ok(())
    }

    fn endpoint(&self, id: u64) -> Result<&Endpoint<V::Memory>, Failure> {
        self.endpoints.get(&id).ok_or_else(unknown)
    }

    /// Changes an endpoint and keeps the account of what it costs.
    fn change<R>(
        &mut self,
        id: u64,
        change: impl FnOnce(&mut Endpoint<V::Memory>) -> R,
    ) -> Result<R, Failure> {
        let endpoint = self.endpoints.get_mut(&id).ok_or_else(unknown)?;
        self.cost -= endpoint.cost();
        let result = change(endpoint);
        self.cost += endpoint.cost();
        Ok(result)
    }

    /// Whether so many bytes may be added if so many go.
    fn room_for(&self, added: u64, freed: u64) -> Result<(), Failure> {
        let limit = self.settings.max_bytes;
        // What does not grow is let through, so that a full shard goes on turning over what it has.
        if added <= freed || self.cost() + added - freed <= limit {
            return Ok(());
        }
        Err(Failure::exhausted(format!("this shard keeps {} bytes, allowed: up to {limit}", self.cost())))
    }
}

fn unknown() -> Failure {
    Failure::not_found("id not exists")
}

fn demand_user(user: u64) -> Result<u64, Failure> {
    if user == 0 { Err(Failure::invalid("user 0 is not allowed: must be 1 and up")) } else { Ok(user) }
}

fn limit(page: &Page) -> usize {
    if page.length == 0 { MAX_PAGE } else { MAX_PAGE.min(page.length as usize) }
}
