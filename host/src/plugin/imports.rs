//! Imports: the host's side of `wit/host.wit`. All a guest can reach.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hotseat_packet::opcode;
use tracing::{Level, debug, enabled, error, info, warn};
use wasmtime::component::{HasSelf, Linker, WasmList, WasmStr};
use wasmtime::{Result, StoreContextMut};

use super::guest::game::hotseat::plugin as wit;
use super::instance::Host;
use crate::snowflake::{Block, Generator, GeneratorError};
use crate::telemetry::log_limit::{LogLimit, Rate};
use hotseat_build::{TEXT_MAX, printable};

/// Limits of `wit/host.wit`, each named there.
const LOG_LINE_MAX: usize = 1024;
const LOG_LINES_PER_S: u32 = 100;
/// Lines of all guests together: a hundred rooms that log as much as they may would fill a disk in hours.
const LOG_LINES: Rate =
    Rate { window: Duration::from_secs(1), source: LOG_LINES_PER_S, plugin: 500, node: 1000 };
static LOG_LIMIT: LogLimit = LogLimit::new(LOG_LINES);
const TIMERS_MAX: usize = 1024;
const PROFILE_MAX: usize = 64 << 10;
const BODY_MAX: usize = 1 << 20;
const ROOM_NAME_MAX: usize = 64;
/// Ids that a call may draw: they are recorded with it.
const IDS_MAX: usize = 16_384;
/// Ids left of a block for so long are not used any more: they would tell an old time.
const BLOCK_MS: u64 = 1000;

/// A payload or text larger than the contract allows.
#[derive(Debug, thiserror::Error)]
#[error("{what} of {length} bytes, at most {most} allowed")]
pub(super) struct TooBig {
    what: &'static str,
    length: usize,
    most: usize,
}

/// An opcode that is not the game's to use.
#[derive(Debug, thiserror::Error)]
#[error("opcode {0}: a game sends {min} to {max}, the others are the host's", min = opcode::GAME_MIN, max = opcode::GAME_MAX)]
pub(super) struct NotYours(u16);

/// One timer more than a room may have.
#[derive(Debug, thiserror::Error)]
#[error("timer limit: a room may have at most {TIMERS_MAX} timers")]
pub(super) struct TooManyTimers;

/// An id that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoIds {
    /// One more than a call may draw.
    #[error("id limit: a call may draw at most {IDS_MAX} ids")]
    TooMany,
    /// The node has none.
    #[error(transparent)]
    Node(#[from] GeneratorError),
}

fn check(what: &'static str, length: usize, most: usize) -> Result<(), TooBig> {
    if length > most { Err(TooBig { what, length, most }) } else { Ok(()) }
}

/// Makes every import available.
pub(super) fn link(linker: &mut Linker<Host>) -> Result<()> {
    wit::log::add_to_linker::<_, HasSelf<_>>(linker, |host| host)?;
    wit::clock::add_to_linker::<_, HasSelf<_>>(linker, |host| host)?;
    wit::random::add_to_linker::<_, HasSelf<_>>(linker, |host| host)?;
    wit::ids::add_to_linker::<_, HasSelf<_>>(linker, |host| host)?;
    wit::rooms::add_to_linker::<_, HasSelf<_>>(linker, |host| host)?;
    wit::timers::add_to_linker::<_, HasSelf<_>>(linker, |host| host)?;
    wit::profile::add_to_linker::<_, HasSelf<_>>(linker, |host| host)?;
    wit::services::add_to_linker::<_, HasSelf<_>>(linker, |host| host)?;
    wit::config::add_to_linker::<_, HasSelf<_>>(linker, |host| host)?;
    link_channels(linker)?;
    link_players(linker)
}

/// The players' interface by hand: `send` and `broadcast` are the hot path, and this way a payload is copied once,
/// from the guest's memory into the effect queue.
fn link_players(linker: &mut Linker<Host>) -> Result<()> {
    let mut players = linker.instance("hotseat:plugin/players@0.1.0")?;
    players.func_wrap(
        "send",
        |mut store: StoreContextMut<'_, Host>, (user, op, payload): (u64, u16, WasmList<u8>)| {
            let mut effects = std::mem::take(&mut store.data_mut().effects);
            let bytes = payload.as_le_slice(&store);
            let result = check_frame(op, bytes).and_then(|()| Ok(effects.send(user, op, bytes)?));
            store.data_mut().effects = effects;
            result
        },
    )?;
    players.func_wrap(
        "broadcast",
        |mut store: StoreContextMut<'_, Host>, (users, op, payload): (WasmList<u64>, u16, WasmList<u8>)| {
            let mut effects = std::mem::take(&mut store.data_mut().effects);
            let bytes = payload.as_le_slice(&store);
            let users = users.as_le_slice(&store).iter().map(|user| u64::from_le(*user));
            let result = check_frame(op, bytes).and_then(|()| Ok(effects.broadcast(users, op, bytes)?));
            store.data_mut().effects = effects;
            result
        },
    )?;
    players.func_wrap("kick", |mut store: StoreContextMut<'_, Host>, (user, reason): (u64, u32)| {
        Ok(store.data_mut().effects.kick(user, reason)?)
    })?;
    players.func_wrap("transfer", |mut store: StoreContextMut<'_, Host>, (user, room): (u64, WasmStr)| {
        let room = room.to_str(&store)?.into_owned();
        check("room name", room.len(), ROOM_NAME_MAX)?;
        Ok(store.data_mut().effects.transfer(user, &room)?)
    })
}

/// The streams' interface by hand, for the same reason.
fn link_channels(linker: &mut Linker<Host>) -> Result<()> {
    let mut streams = linker.instance("hotseat:plugin/channels@0.1.0")?;
    streams.func_wrap(
        "send",
        |mut store: StoreContextMut<'_, Host>, (channels, message): (WasmList<u64>, WasmList<u8>)| {
            let mut effects = std::mem::take(&mut store.data_mut().effects);
            let bytes = message.as_le_slice(&store);
            let channels = channels.as_le_slice(&store).iter().map(|channel| u64::from_le(*channel));
            let result = check("stream message", bytes.len(), BODY_MAX)
                .map_err(wasmtime::Error::from)
                .and_then(|()| Ok(effects.send_channels(channels, bytes)?));
            store.data_mut().effects = effects;
            result
        },
    )?;
    streams.func_wrap(
        "end",
        |mut store: StoreContextMut<'_, Host>, (channel, status, text): (u64, u32, WasmStr)| {
            let text = printable(&text.to_str(&store)?, TEXT_MAX);
            Ok(store.data_mut().effects.end_channel(channel, status, &text)?)
        },
    )
}

fn check_frame(op: u16, bytes: &[u8]) -> Result<()> {
    if !opcode::is_game(op) {
        return Err(NotYours(op).into());
    }
    Ok(check("frame payload", bytes.len(), hotseat_packet::MAX_DOWN_PAYLOAD)?)
}

impl wit::types::Host for Host {}

impl wit::log::Host for Host {
    fn write(&mut self, level: u32, message: String) -> Result<()> {
        self.log.write(level, &message);
        Ok(())
    }
}

impl wit::clock::Host for Host {
    fn now_ms(&mut self) -> Result<u64> {
        Ok(self.env.now_ms)
    }
}

impl wit::random::Host for Host {
    fn next(&mut self) -> Result<u64> {
        Ok(self.env.random())
    }
}

impl wit::ids::Host for Host {
    fn next(&mut self) -> Result<u64> {
        Ok(self.ids.next(self.env.now_ms)?)
    }
}

impl wit::rooms::Host for Host {
    fn create(&mut self, room: String, args: Vec<u8>) -> Result<()> {
        check("room name", room.len(), ROOM_NAME_MAX)?;
        Ok(self.effects.create_room(&room, &args)?)
    }

    fn close(&mut self, reason: u32) -> Result<()> {
        Ok(self.effects.close_room(reason)?)
    }
}

impl wit::timers::Host for Host {
    fn set(&mut self, id: u64, after_ms: u32) -> Result<()> {
        if !self.env.may_set_timer(id, TIMERS_MAX) {
            return Err(TooManyTimers.into());
        }
        Ok(self.effects.set_timer(id, after_ms)?)
    }

    fn cancel(&mut self, id: u64) -> Result<()> {
        Ok(self.effects.cancel_timer(id)?)
    }
}

impl wit::profile::Host for Host {
    fn get(&mut self, user: u64) -> Result<Option<Vec<u8>>> {
        Ok(self.env.profile(user).map(|bytes| bytes.to_vec()))
    }

    fn put(&mut self, user: u64, bytes: Vec<u8>) -> Result<()> {
        check("profile", bytes.len(), PROFILE_MAX)?;
        Ok(self.effects.put_profile(user, &bytes)?)
    }
}

impl wit::services::Host for Host {
    fn call(&mut self, service: String, instance: String, method: String, body: Vec<u8>) -> Result<u64> {
        check("service name", service.len() + instance.len() + method.len(), 512)?;
        check("request body", body.len(), BODY_MAX)?;
        let token = self.env.token();
        self.effects.call(token, [&service, &instance, &method], &body)?;
        Ok(token)
    }
}

impl wit::config::Host for Host {
    fn get(&mut self, key: String) -> Result<Option<Vec<u8>>> {
        Ok(self.settings.get(&key).map(|value| value.clone().into_bytes()))
    }
}

/// Where a guest's ids come from: the node, block by block, or the record of a call that is replayed.
pub(super) struct Ids {
    node: Arc<Generator>,
    /// What is left of the last block taken from the node, and its time. Blocks of a node rise, so ids of a room do.
    block: Option<Block>,
    block_ms: u64,
    drawn: Vec<u64>,
    recorded: Option<std::vec::IntoIter<u64>>,
}

impl Ids {
    pub(super) fn new(node: Arc<Generator>) -> Self {
        Self { node, block: None, block_ms: 0, drawn: Vec::new(), recorded: None }
    }

    pub(super) fn begin(&mut self, recorded: Option<Vec<u64>>) {
        self.drawn.clear();
        self.recorded = recorded.map(Vec::into_iter);
    }

    pub(super) fn drawn(&self) -> &[u64] {
        &self.drawn
    }

    /// At the guest's time.
    fn next(&mut self, now_ms: u64) -> Result<u64, NoIds> {
        if self.drawn.len() >= IDS_MAX {
            return Err(NoIds::TooMany);
        }
        // A replay on another version may draw more than were recorded.
        let recorded = self.recorded.as_mut().and_then(Iterator::next);
        let id = match recorded.or_else(|| self.left(now_ms)) {
            Some(id) => id,
            None => {
                let mut block = self.node.reserve_for_guests(self.node.guest_block())?;
                let id = block.first();
                block.next();
                (self.block_ms, self.block) = (now_ms, Some(block));
                id
            }
        };
        self.drawn.push(id);
        Ok(id)
    }

    fn left(&mut self, now_ms: u64) -> Option<u64> {
        self.block.as_mut().filter(|_| now_ms < self.block_ms + BLOCK_MS)?.next()
    }
}

/// The guest's way to the operator's log: bounded lines, bounded rate.
pub(super) struct LogGate {
    plugin: String,
    version: String,
    room: Arc<str>,
    window: Instant,
    lines: u32,
    dropped: u64,
    last_error: Option<String>,
    pub(super) quiet: bool,
}

impl LogGate {
    pub(super) fn new(plugin: String, version: String, room: Arc<str>) -> Self {
        Self {
            plugin,
            version,
            room,
            window: Instant::now(),
            lines: 0,
            dropped: 0,
            last_error: None,
            quiet: false,
        }
    }

    /// A call begins.
    #[inline]
    pub(super) fn begin(&mut self) {
        if self.last_error.is_some() {
            self.last_error = None;
        }
    }

    /// The call's last line of level error, once: what a guest says before it gives up.
    pub(super) fn last_error(&mut self) -> Option<String> {
        self.last_error.take()
    }

    fn write(&mut self, level: u32, message: &str) {
        // A line is one line: control characters could forge others.
        let message = printable(message, LOG_LINE_MAX);
        if level == 0 {
            self.last_error = Some(message.clone());
        }
        if self.quiet || !self.admit() {
            return;
        }
        let Self { plugin, version, room, .. } = self;
        // Lines that nobody wants to see cost the others no place.
        if (level <= 2 || enabled!(target: "guest", Level::DEBUG)) && LOG_LIMIT.admit(plugin, room).is_none()
        {
            return;
        }
        match level {
            0 => error!(target: "guest", plugin, version, %room, "{message}"),
            1 => warn!(target: "guest", plugin, version, %room, "{message}"),
            2 => info!(target: "guest", plugin, version, %room, "{message}"),
            _ => debug!(target: "guest", plugin, version, %room, "{message}"),
        }
    }

    fn admit(&mut self) -> bool {
        if self.window.elapsed() >= Duration::from_secs(1) {
            if self.dropped > 0 {
                let (plugin, room, dropped) = (&self.plugin, &self.room, self.dropped);
                warn!(target: "guest", plugin, %room, dropped, limit_per_s = LOG_LINES_PER_S, "log lines dropped");
            }
            (self.window, self.lines, self.dropped) = (Instant::now(), 0, 0);
        }
        self.lines += 1;
        let admitted = self.lines <= LOG_LINES_PER_S;
        self.dropped += u64::from(!admitted);
        admitted
    }
}
