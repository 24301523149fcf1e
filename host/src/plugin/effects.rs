//! Effects: what a guest asked for during one call, in order, until the call returns.

use std::ops::Range;

/// Effects one call may queue (`wit/host.wit`).
pub(super) const MAX_EFFECTS: usize = 4096;

/// Payload bytes one call's effects may hold together (`wit/host.wit`).
pub(super) const MAX_BYTES: usize = 1 << 20;

/// One thing a guest asked for. Slices point into [`Effects`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the parameters that wit/ documents")]
pub enum Effect<'a> {
    /// A frame to one player.
    Send { user: u64, op: u16, payload: &'a [u8] },
    /// A frame to the listed players, or to everyone in the room if there are none.
    Broadcast { users: &'a [u64], op: u16, payload: &'a [u8] },
    /// The end of a player's session.
    Kick { user: u64, reason: u32 },
    /// A player moves to another room.
    Transfer { user: u64, room: &'a str },
    /// A room is opened.
    CreateRoom { room: &'a str, args: &'a [u8] },
    /// This room ends.
    CloseRoom { reason: u32 },
    /// A timer is set or moved.
    SetTimer { id: u64, after_ms: u32 },
    /// A timer is forgotten.
    CancelTimer { id: u64 },
    /// A player's document is replaced.
    PutProfile { user: u64, bytes: &'a [u8] },
    /// A service is called.
    Call { token: u64, service: &'a str, instance: &'a str, method: &'a str, body: &'a [u8] },
    /// A message to the listed streams.
    SendChannels { channels: &'a [u64], message: &'a [u8] },
    /// A stream ends.
    EndChannel { channel: u64, status: u32, text: &'a str },
}

type Span = Range<u32>;

#[derive(Debug)]
enum Queued {
    Send { user: u64, op: u16, payload: Span },
    Broadcast { users: Span, op: u16, payload: Span },
    Kick { user: u64, reason: u32 },
    Transfer { user: u64, room: Span },
    CreateRoom { room: Span, args: Span },
    CloseRoom { reason: u32 },
    SetTimer { id: u64, after_ms: u32 },
    CancelTimer { id: u64 },
    PutProfile { user: u64, bytes: Span },
    Call { token: u64, service: Span, instance: Span, method: Span, body: Span },
    SendChannels { channels: Span, message: Span },
    EndChannel { channel: u64, status: u32, text: Span },
}

/// The queue of one call. Its buffers are kept from call to call, so a steady room allocates nothing.
#[derive(Debug, Default)]
pub struct Effects {
    queue: Vec<Queued>,
    bytes: Vec<u8>,
    users: Vec<u64>,
}

/// A call asked for more than it may. Ends the call as a trap does.
#[derive(Debug, thiserror::Error)]
#[error("effect limit: a call may queue at most {MAX_EFFECTS} effects with {MAX_BYTES} bytes of payload")]
pub(super) struct TooMuch;

impl Effects {
    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many effects are queued.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Forgets what is queued and keeps the room for it, within reason.
    pub fn clear(&mut self) {
        const KEEP_BYTES: usize = 64 << 10;
        self.queue.clear();
        self.users.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEEP_BYTES);
    }

    /// The effects in the order they were asked for.
    pub fn iter(&self) -> impl Iterator<Item = Effect<'_>> {
        self.queue.iter().map(|queued| self.resolve(queued))
    }

    fn resolve(&self, queued: &Queued) -> Effect<'_> {
        match queued {
            Queued::Send { user, op, payload } => {
                Effect::Send { user: *user, op: *op, payload: self.slice(payload) }
            }
            Queued::Broadcast { users, op, payload } => {
                Effect::Broadcast { users: self.numbers(users), op: *op, payload: self.slice(payload) }
            }
            Queued::Kick { user, reason } => Effect::Kick { user: *user, reason: *reason },
            Queued::Transfer { user, room } => Effect::Transfer { user: *user, room: self.text(room) },
            Queued::CreateRoom { room, args } => {
                Effect::CreateRoom { room: self.text(room), args: self.slice(args) }
            }
            Queued::CloseRoom { reason } => Effect::CloseRoom { reason: *reason },
            Queued::SetTimer { id, after_ms } => Effect::SetTimer { id: *id, after_ms: *after_ms },
            Queued::CancelTimer { id } => Effect::CancelTimer { id: *id },
            Queued::PutProfile { user, bytes } => {
                Effect::PutProfile { user: *user, bytes: self.slice(bytes) }
            }
            Queued::Call { token, service, instance, method, body } => Effect::Call {
                token: *token,
                service: self.text(service),
                instance: self.text(instance),
                method: self.text(method),
                body: self.slice(body),
            },
            Queued::SendChannels { channels, message } => {
                Effect::SendChannels { channels: self.numbers(channels), message: self.slice(message) }
            }
            Queued::EndChannel { channel, status, text } => {
                Effect::EndChannel { channel: *channel, status: *status, text: self.text(text) }
            }
        }
    }

    fn numbers(&self, span: &Span) -> &[u64] {
        &self.users[span.start as usize..span.end as usize]
    }

    fn slice(&self, span: &Span) -> &[u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }

    fn text(&self, span: &Span) -> &str {
        std::str::from_utf8(self.slice(span)).expect("spans of text are stored from whole strings")
    }

    pub(super) fn send(&mut self, user: u64, op: u16, payload: &[u8]) -> Result<(), TooMuch> {
        let payload = self.store(payload)?;
        self.queue(Queued::Send { user, op, payload })
    }

    pub(super) fn broadcast(
        &mut self,
        users: impl Iterator<Item = u64>,
        op: u16,
        payload: &[u8],
    ) -> Result<(), TooMuch> {
        let users = self.store_numbers(users)?;
        let payload = self.store(payload)?;
        self.queue(Queued::Broadcast { users, op, payload })
    }

    pub(super) fn kick(&mut self, user: u64, reason: u32) -> Result<(), TooMuch> {
        self.queue(Queued::Kick { user, reason })
    }

    pub(super) fn transfer(&mut self, user: u64, room: &str) -> Result<(), TooMuch> {
        let room = self.store(room.as_bytes())?;
        self.queue(Queued::Transfer { user, room })
    }

    pub(super) fn create_room(&mut self, room: &str, args: &[u8]) -> Result<(), TooMuch> {
        let room = self.store(room.as_bytes())?;
        let args = self.store(args)?;
        self.queue(Queued::CreateRoom { room, args })
    }

    pub(super) fn close_room(&mut self, reason: u32) -> Result<(), TooMuch> {
        self.queue(Queued::CloseRoom { reason })
    }

    pub(super) fn set_timer(&mut self, id: u64, after_ms: u32) -> Result<(), TooMuch> {
        self.queue(Queued::SetTimer { id, after_ms })
    }

    pub(super) fn cancel_timer(&mut self, id: u64) -> Result<(), TooMuch> {
        self.queue(Queued::CancelTimer { id })
    }

    pub(super) fn put_profile(&mut self, user: u64, bytes: &[u8]) -> Result<(), TooMuch> {
        let bytes = self.store(bytes)?;
        self.queue(Queued::PutProfile { user, bytes })
    }

    pub(super) fn call(
        &mut self,
        token: u64,
        [service, instance, method]: [&str; 3],
        body: &[u8],
    ) -> Result<(), TooMuch> {
        let service = self.store(service.as_bytes())?;
        let instance = self.store(instance.as_bytes())?;
        let method = self.store(method.as_bytes())?;
        let body = self.store(body)?;
        self.queue(Queued::Call { token, service, instance, method, body })
    }

    pub(super) fn send_channels(
        &mut self,
        channels: impl Iterator<Item = u64>,
        message: &[u8],
    ) -> Result<(), TooMuch> {
        let channels = self.store_numbers(channels)?;
        let message = self.store(message)?;
        self.queue(Queued::SendChannels { channels, message })
    }

    pub(super) fn end_channel(&mut self, channel: u64, status: u32, text: &str) -> Result<(), TooMuch> {
        let text = self.store(text.as_bytes())?;
        self.queue(Queued::EndChannel { channel, status, text })
    }

    fn store_numbers(&mut self, numbers: impl Iterator<Item = u64>) -> Result<Span, TooMuch> {
        let start = self.users.len();
        self.users.extend(numbers);
        if self.users.len() * size_of::<u64>() > MAX_BYTES {
            return Err(TooMuch);
        }
        Ok(span(start, self.users.len()))
    }

    fn store(&mut self, bytes: &[u8]) -> Result<Span, TooMuch> {
        let start = self.bytes.len();
        if start + bytes.len() > MAX_BYTES {
            return Err(TooMuch);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(span(start, self.bytes.len()))
    }

    fn queue(&mut self, queued: Queued) -> Result<(), TooMuch> {
        if self.queue.len() == MAX_EFFECTS {
            return Err(TooMuch);
        }
        self.queue.push(queued);
        Ok(())
    }
}

/// Positions are bounded by `MAX_BYTES`, far below `u32::MAX`.
fn span(start: usize, end: usize) -> Span {
    let narrow = |at: usize| u32::try_from(at).expect("positions are bounded by MAX_BYTES");
    narrow(start)..narrow(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_come_back_in_order_and_whole() {
        let mut effects = Effects::default();
        effects.send(7, 1002, b"pong").unwrap();
        effects.broadcast([1, 2].into_iter(), 1106, b"tick").unwrap();
        effects.transfer(7, "arena/x").unwrap();
        effects.call(3, ["rank", "", "proto.Ranking/X"], b"body").unwrap();
        let seen: Vec<_> = effects.iter().collect();
        assert_eq!(
            seen,
            [
                Effect::Send { user: 7, op: 1002, payload: b"pong" },
                Effect::Broadcast { users: &[1, 2], op: 1106, payload: b"tick" },
                Effect::Transfer { user: 7, room: "arena/x" },
                Effect::Call {
                    token: 3,
                    service: "rank",
                    instance: "",
                    method: "proto.Ranking/X",
                    body: b"body"
                },
            ]
        );
        effects.clear();
        assert!(effects.is_empty());
    }

    #[test]
    fn a_call_cannot_queue_without_end() {
        let mut effects = Effects::default();
        for _ in 0..MAX_EFFECTS {
            effects.kick(1, 1000).unwrap();
        }
        assert!(effects.kick(1, 1000).is_err());
        effects.clear();
        let big = vec![0; MAX_BYTES];
        effects.send(1, 1001, &big).unwrap();
        assert!(effects.send(1, 1001, b"x").is_err());
    }
}
