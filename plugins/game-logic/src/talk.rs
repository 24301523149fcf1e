//! Talk: the arena's chat, which the chat service keeps and this arena tells its players.
//!
//! A line goes to chat, where limits, mutes and the word filter apply; what chat has kept comes back and is told to
//! everybody. The state says which line was told last. So it does not matter how often, how late or on whose behalf one
//! asks for news: each line is told once, and in order.

use std::collections::VecDeque;

use hotseat_guest::{Game, Handle, Refusal, Room, UserId};
use hotseat_packet::Message as _;
use hotseat_services::CallError;
use hotseat_services::chat::{Client, Message, Posted};
use serde::{Deserialize, Serialize};

use crate::arena::{Arena, Rules, not_entered, send};
use crate::messages::{Code, MAX_TEXT, SAID_NOTIFY, SAY_FAILED_ACK, Said, SayFailedAck, SayReq};
use crate::scores::status;

/// The chat service, by its name in the operator's configuration.
const CHAT: Client = Client::new("chat");

/// The timer that asks for news.
pub(crate) const LISTEN: u64 = 3;

/// Lines that who enters is told.
pub const HISTORY: usize = 10;

/// Most lines that are asked for at once. As many can be under way: the calls a room may make.
const PAGE: i64 = 64;
/// Receivers of all lines told in one call: the host takes 131,072, and others want some too.
const MAX_RECEIVERS: usize = 100_000;
/// How long to wait before asking for news again.
const AGAIN_MS: u32 = 500;

/// gRPC's status of an endpoint that is not registered.
const NOT_FOUND: u32 = 5;

/// What is under way between the arena and the chat service.
#[derive(Debug, Serialize, Deserialize)]
pub struct Talk {
    /// Where the arena's lines are, see [`endpoint`].
    pub endpoint: u64,
    /// Time (milliseconds since 1970) and offset of the line that was told last. Later ones are news; by the offset
    /// alone an endpoint that was removed and registered again would be old.
    pub heard: (u64, i64),
    /// The lines that were told last, up to [`HISTORY`].
    pub lines: VecDeque<Said>,
}

/// The chat endpoint of a room: FNV-1a, 64 bits, of its name (`home/17`, `arena/NAME`).
#[must_use]
pub fn endpoint(room: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    room.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The answer to one of our calls is lost: perhaps somebody has said something.
pub(crate) fn catch_up<G: Game>(room: &Room<G>) {
    room.set_timer(LISTEN, AGAIN_MS);
}

impl Talk {
    /// The talk of a room in which nothing has been said.
    #[must_use]
    pub fn new(room: &str) -> Self {
        Self { endpoint: endpoint(room), heard: (0, 0), lines: VecDeque::new() }
    }

    /// Tells a player who enters what was said last; news reach that player as everybody.
    pub(crate) fn greet<G: Game>(&self, room: &Room<G>, user: UserId) {
        for line in &self.lines {
            send(room, user, SAID_NOTIFY, line);
        }
        // Many who enter at once make one call.
        room.set_timer(LISTEN, 0);
    }

    /// The first line to ask for so that nothing up to this one is missing; none if it has been told already, because
    /// somebody who spoke later was answered earlier.
    fn missing(&self, posted: &Posted) -> Option<i64> {
        if (posted.time_ms, posted.offset) <= self.heard {
            return None;
        }
        let (_, told) = self.heard;
        let next = if posted.offset > told { told + 1 } else { 1 };
        Some(next.max(posted.offset.saturating_sub(PAGE - 1)))
    }
}

impl<R: Rules> Arena<R> {
    /// A player says something.
    pub(crate) fn say_req(&mut self, room: &Room<Self>, user: UserId, req: SayReq) -> Result<(), Refusal> {
        let SayReq { text } = req;
        if !self.players.contains_key(&user) {
            return Err(not_entered());
        }
        if !(1..=MAX_TEXT).contains(&text.len()) {
            let text = format!("text of {} bytes: must have 1 to {MAX_TEXT}", text.len());
            return Err(Code::BadText.refusal(text));
        }
        let endpoint = self.talk.endpoint;
        room.spawn(async move |handle| match post(&handle, endpoint, user, &text).await {
            Ok(posted) => hear_up_to(&handle, endpoint, &posted).await,
            Err(error) => handle.update(|_, room| send(room, user, SAY_FAILED_ACK, &failed(error))),
        });
        Ok(())
    }

    /// Asks for news. Without chat, or as long as nobody has said anything, there is none.
    pub(crate) fn listen(&mut self, room: &Room<Self>) {
        let Talk { endpoint, heard, .. } = self.talk;
        let lines = if heard == (0, 0) { HISTORY as i64 } else { PAGE };
        room.spawn(async move |handle| {
            if let Ok(messages) = CHAT.latest(&handle, endpoint, lines).await {
                handle.update(|arena, room| arena.hear(room, &messages));
            }
        });
    }

    /// Tells everybody what of these lines is news.
    fn hear(&mut self, room: &Room<Self>, messages: &[Message]) {
        let entered: Vec<UserId> = self.players.keys().copied().collect();
        // So many fit in one call; of more, chat is the better teller.
        let fit = MAX_RECEIVERS / entered.len().max(1);
        for message in &messages[messages.len().saturating_sub(fit)..] {
            let at = (message.time_ms, message.offset);
            if at <= self.talk.heard {
                continue;
            }
            self.talk.heard = at;
            let line = said(message);
            match line.to_bytes() {
                Ok(payload) => room.broadcast_to(&entered, SAID_NOTIFY, &payload),
                Err(error) => room.error(format_args!("line {}: {error}", line.offset)),
            }
            self.talk.lines.push_back(line);
            if self.talk.lines.len() > HISTORY {
                self.talk.lines.pop_front();
            }
        }
    }
}

/// Posts a line; the first one registers the arena.
async fn post<G: Game>(
    handle: &Handle<G>,
    endpoint: u64,
    user: UserId,
    text: &str,
) -> Result<Posted, CallError> {
    match CHAT.post(handle, endpoint, user, text.as_bytes()).await {
        Err(error) if error.status() == NOT_FOUND => {
            CHAT.reg(handle, endpoint).await?;
            CHAT.post(handle, endpoint, user, text.as_bytes()).await
        }
        posted => posted,
    }
}

/// Fetches a line that chat has taken, with those before it that were not told yet, and tells them.
async fn hear_up_to<R: Rules>(handle: &Handle<Arena<R>>, endpoint: u64, posted: &Posted) {
    let Some(first) = handle.update(|arena, _| arena.talk.missing(posted)) else { return };
    match CHAT.range(handle, endpoint, first, posted.offset).await {
        Ok(messages) => handle.update(|arena, room| arena.hear(room, &messages)),
        // Chat has it: it will be told.
        Err(_) => handle.update(|_, room| catch_up(room)),
    }
}

fn said(message: &Message) -> Said {
    let mut text = String::from_utf8_lossy(&message.body).into_owned();
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    Said { user: message.sender, offset: message.offset, text }
}

fn failed(error: CallError) -> SayFailedAck {
    let status = status(&error);
    let text = match error {
        CallError::Refused { text, .. } => text,
        CallError::Garbled { .. } => error.to_string(),
    };
    SayFailedAck { status, text }
}
