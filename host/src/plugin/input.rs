//! Input: one event of a room, and its form as a record of the room's log.
//!
//! A log is a run of records, little-endian: `u32 length | u8 kind | u64 at_ms | fields`, `length` counting what
//! follows it. The ids a call drew are a record of their own behind it, so that replaying the call draws the same.

/// One event, in the order the guest sees them. Times are ms since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the parameters that wit/ documents")]
pub enum Input<'a> {
    /// A player sits down, with its document and the version of it, if it has one.
    Join { user: u64, profile: Option<(u64, &'a [u8])> },
    /// A player's move elsewhere failed; it is here still.
    Rejoin { user: u64 },
    /// A player is gone; reasons as `wit/game-logic.wit` numbers them.
    Leave { user: u64, reason: u32 },
    /// A client frame.
    Message { user: u64, op: u16, payload: &'a [u8] },
    /// A step of the room's clock.
    Tick { dt_ms: u32 },
    /// A timer is due.
    Timer { id: u64 },
    /// A service answered.
    Reply { token: u64, status: u32, body: &'a [u8], text: &'a str },
    /// A service method that may change state.
    Call { method: &'a str, body: &'a [u8] },
    /// A service method that does not: it is no record of a log.
    Query { method: &'a str, body: &'a [u8] },
    /// A stream begins.
    Subscribe { channel: u64, method: &'a str, body: &'a [u8] },
    /// A stream is over.
    Unsubscribe { channel: u64 },
}

impl Input<'_> {
    /// The player who caused it, if one did.
    pub fn sender(&self) -> Option<u64> {
        match self {
            Self::Message { user, .. } => Some(*user),
            _ => None,
        }
    }

    /// The player whom it is about, if it is about one.
    pub fn player(&self) -> Option<u64> {
        match self {
            Self::Message { user, .. } | Self::Join { user, .. } | Self::Rejoin { user } => Some(*user),
            Self::Leave { user, .. } => Some(*user),
            _ => None,
        }
    }

    /// Whether it belongs to the state: replaying the log without it gives another one.
    pub fn changes_state(&self) -> bool {
        !matches!(self, Self::Query { .. })
    }

    /// The names of all kinds.
    pub const KINDS: [&'static str; 11] = [
        "join",
        "rejoin",
        "leave",
        "message",
        "tick",
        "timer",
        "reply",
        "call",
        "query",
        "subscribe",
        "unsubscribe",
    ];

    /// Its name in logs and metrics.
    pub fn kind(&self) -> &'static str {
        Self::KINDS[self.kind_index()]
    }

    /// The place of its name in [`Self::KINDS`].
    pub fn kind_index(&self) -> usize {
        match self {
            Self::Join { .. } => 0,
            Self::Rejoin { .. } => 1,
            Self::Leave { .. } => 2,
            Self::Message { .. } => 3,
            Self::Tick { .. } => 4,
            Self::Timer { .. } => 5,
            Self::Reply { .. } => 6,
            Self::Call { .. } => 7,
            Self::Query { .. } => 8,
            Self::Subscribe { .. } => 9,
            Self::Unsubscribe { .. } => 10,
        }
    }
}

/// A record that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unreadable record at byte {offset} of the log")]
pub struct InputError {
    /// Where the record begins.
    pub offset: usize,
}

/// A run of records, oldest first.
#[derive(Debug, Default, Clone)]
pub struct Records {
    bytes: Vec<u8>,
    inputs: usize,
}

const JOIN: u8 = 1;
const REJOIN: u8 = 2;
const LEAVE: u8 = 3;
const MESSAGE: u8 = 4;
const TICK: u8 = 5;
const TIMER: u8 = 6;
const REPLY: u8 = 7;
const IDS: u8 = 8;
const CALL: u8 = 9;
const QUERY: u8 = 10;
const SUBSCRIBE: u8 = 11;
const UNSUBSCRIBE: u8 = 12;

/// A place in [`Records`] to cut back to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    bytes: usize,
    inputs: usize,
}

impl Records {
    /// How many inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Their size, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The present end.
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), inputs: self.inputs }
    }

    /// Drops what came after `mark`.
    pub fn cut(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.inputs = mark.inputs;
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        const KEEP: usize = 16 << 10;
        self.bytes.clear();
        self.bytes.shrink_to(KEEP);
        self.inputs = 0;
    }

    /// The records from byte `from` on, as they were written.
    pub fn since(&self, from: usize) -> &[u8] {
        &self.bytes[from..]
    }

    /// Reads records back.
    ///
    /// # Errors
    /// [`InputError`] names the first one that is none.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, InputError> {
        let mut records = Self { bytes, inputs: 0 };
        let inputs = records.iter().try_fold(0, |count, read| read.map(|_| count + 1))?;
        records.inputs = inputs;
        Ok(records)
    }

    /// Appends an input.
    pub fn push(&mut self, at_ms: u64, input: &Input<'_>) {
        self.inputs += 1;
        match *input {
            Input::Join { user, profile } => self.record(JOIN, at_ms, |out| {
                let (version, bytes) = profile.unwrap_or_default();
                put(out, user);
                // No document has version 0.
                put(out, version);
                out.extend_from_slice(bytes);
            }),
            Input::Rejoin { user } => self.record(REJOIN, at_ms, |out| put(out, user)),
            Input::Leave { user, reason } => self.record(LEAVE, at_ms, |out| {
                put(out, user);
                out.extend_from_slice(&reason.to_le_bytes());
            }),
            Input::Message { user, op, payload } => self.record(MESSAGE, at_ms, |out| {
                put(out, user);
                out.extend_from_slice(&op.to_le_bytes());
                out.extend_from_slice(payload);
            }),
            Input::Tick { dt_ms } => {
                self.record(TICK, at_ms, |out| out.extend_from_slice(&dt_ms.to_le_bytes()));
            }
            Input::Timer { id } => self.record(TIMER, at_ms, |out| put(out, id)),
            Input::Reply { token, status, body, text } => self.record(REPLY, at_ms, |out| {
                put(out, token);
                out.extend_from_slice(&status.to_le_bytes());
                put(out, body.len() as u64);
                out.extend_from_slice(body);
                out.extend_from_slice(text.as_bytes());
            }),
            Input::Call { method, body } => self.record(CALL, at_ms, |out| put_method(out, method, body)),
            Input::Query { method, body } => self.record(QUERY, at_ms, |out| put_method(out, method, body)),
            Input::Subscribe { channel, method, body } => self.record(SUBSCRIBE, at_ms, |out| {
                put(out, channel);
                put_method(out, method, body);
            }),
            Input::Unsubscribe { channel } => self.record(UNSUBSCRIBE, at_ms, |out| put(out, channel)),
        }
    }

    /// Appends the ids that the last input's call drew.
    pub fn push_ids(&mut self, at_ms: u64, ids: &[u64]) {
        self.record(IDS, at_ms, |out| ids.iter().for_each(|id| put(out, *id)));
    }

    #[inline]
    fn record(&mut self, kind: u8, at_ms: u64, fields: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.push(kind);
        put(&mut self.bytes, at_ms);
        fields(&mut self.bytes);
        let length = u32::try_from(self.bytes.len() - start - 4).expect("one input is far below 4 GiB");
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// The inputs in order: time, input, and the ids its call drew.
    ///
    /// # Errors
    /// The iterator yields [`InputError`] once and ends if a record cannot be read.
    pub fn iter(&self) -> Iter<'_> {
        Iter { bytes: &self.bytes, at: 0 }
    }
}

/// See [`Records::iter`].
#[derive(Debug)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Result<(u64, Input<'a>, Vec<u64>), InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let offset = self.at;
        let read = self.read();
        if read.is_none() {
            self.at = self.bytes.len();
        }
        Some(read.ok_or(InputError { offset }))
    }
}

impl<'a> Iter<'a> {
    fn read(&mut self) -> Option<(u64, Input<'a>, Vec<u64>)> {
        let (kind, at_ms, fields) = self.record()?;
        let input = decode(kind, fields)?;
        let mut ids = Vec::new();
        if self.bytes.get(self.at + 4) == Some(&IDS) {
            let (_, _, fields) = self.record()?;
            ids = fields.chunks_exact(8).map(|id| get(id).map(|(id, _)| id)).collect::<Option<_>>()?;
        }
        Some((at_ms, input, ids))
    }

    fn record(&mut self) -> Option<(u8, u64, &'a [u8])> {
        let (length, rest) = self.bytes[self.at..].split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let record = rest.get(..length)?;
        let (kind, rest) = record.split_first()?;
        let (at_ms, fields) = get(rest)?;
        self.at += 4 + length;
        Some((*kind, at_ms, fields))
    }
}

fn decode(kind: u8, fields: &[u8]) -> Option<Input<'_>> {
    Some(match kind {
        JOIN => {
            let (user, rest) = get(fields)?;
            let (version, bytes) = get(rest)?;
            Input::Join { user, profile: (version != 0).then_some((version, bytes)) }
        }
        REJOIN => Input::Rejoin { user: get(fields)?.0 },
        LEAVE => {
            let (user, rest) = get(fields)?;
            Input::Leave { user, reason: get32(rest)?.0 }
        }
        MESSAGE => {
            let (user, rest) = get(fields)?;
            let (op, payload) = rest.split_first_chunk::<2>()?;
            Input::Message { user, op: u16::from_le_bytes(*op), payload }
        }
        TICK => Input::Tick { dt_ms: get32(fields)?.0 },
        TIMER => Input::Timer { id: get(fields)?.0 },
        REPLY => {
            let (token, rest) = get(fields)?;
            let (status, rest) = get32(rest)?;
            let (length, rest) = get(rest)?;
            let (body, text) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            Input::Reply { token, status, body, text: std::str::from_utf8(text).ok()? }
        }
        CALL => {
            let (method, body) = get_method(fields)?;
            Input::Call { method, body }
        }
        QUERY => {
            let (method, body) = get_method(fields)?;
            Input::Query { method, body }
        }
        SUBSCRIBE => {
            let (channel, rest) = get(fields)?;
            let (method, body) = get_method(rest)?;
            Input::Subscribe { channel, method, body }
        }
        UNSUBSCRIBE => Input::Unsubscribe { channel: get(fields)?.0 },
        _ => return None,
    })
}

fn put_method(out: &mut Vec<u8>, method: &str, body: &[u8]) {
    put(out, method.len() as u64);
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(body);
}

fn get_method(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = get(bytes)?;
    let (method, body) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((std::str::from_utf8(method).ok()?, body))
}

fn put(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn get(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (value, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*value), rest))
}

fn get32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (value, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*value), rest))
}

#[cfg(test)]
mod tests;
