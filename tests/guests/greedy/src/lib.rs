//! A guest whose rooms take as much of the node as they can, on request: what the node's budgets are tested against.
//!
//! A room is honest until a player sends [`GREED`] with a [`Greed`] and a number (`u8, u32`, big-endian); it answers
//! [`ECHO`] all the time.

use hotseat_guest::{Game, Refusal, Room, UserId};
use serde::{Deserialize, Serialize};

/// Makes the room greedy: `greed u8, number u32`. Answered with [`GREED`] + [`ANSWER`].
pub const GREED: u16 = 4001;
/// Answered with [`ECHO`] + [`ANSWER`] and the same payload.
pub const ECHO: u16 = 4002;
/// What floods are made of.
pub const FLOOD: u16 = 4003;
/// Added to a request's opcode for its answer.
pub const ANSWER: u16 = 100;

/// How a room is greedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Greed {
    /// Not at all.
    None = 0,
    /// Its tick never ends.
    Loop = 1,
    /// Its tick works for `number` rounds of some 5 ns.
    Work = 2,
    /// `number` small frames to all, every millisecond.
    Frames = 3,
    /// `number` bytes to all, every millisecond.
    Bytes = 4,
    /// Its player is sent to and fro between two rooms.
    Shuttle = 5,
    /// It takes `number` MiB of memory.
    Memory = 6,
}

impl Greed {
    fn from_u8(byte: u8) -> Option<Self> {
        [Self::None, Self::Loop, Self::Work, Self::Frames, Self::Bytes, Self::Shuttle, Self::Memory]
            .into_iter()
            .find(|greed| *greed as u8 == byte)
    }
}

hotseat_guest::export!(Greedy);

/// The state.
#[derive(Serialize, Deserialize)]
pub struct Greedy {
    greed: Greed,
    number: u32,
    /// The other end of a shuttle.
    other: String,
    /// Memory it has taken; a new instance has none of it.
    #[serde(skip)]
    taken: Vec<Vec<u8>>,
}

impl Greedy {
    fn again(room: &Room<Self>) {
        room.set_timer(1, 1);
    }

    fn size(&self) -> usize {
        usize::try_from(self.number).unwrap_or(usize::MAX)
    }
}

impl Game for Greedy {
    const SCHEMA: u32 = 1;

    fn open(_: &Room<Self>, _: &str, args: &[u8]) -> Result<Self, String> {
        // A room with arguments is the other end of a shuttle, which leads back to the first.
        let other = String::from_utf8_lossy(args).into_owned();
        let greed = if other.is_empty() { Greed::None } else { Greed::Shuttle };
        Ok(Self { greed, number: 0, other, taken: Vec::new() })
    }

    fn join(&mut self, room: &Room<Self>, user: UserId) {
        if self.greed == Greed::Shuttle {
            room.transfer(user, &self.other);
        }
    }

    fn rejoin(&mut self, room: &Room<Self>, user: UserId) {
        if self.greed == Greed::Shuttle {
            room.transfer(user, &self.other);
        }
    }

    fn message(&mut self, room: &Room<Self>, user: UserId, op: u16, payload: &[u8]) -> Result<(), Refusal> {
        match (op, payload) {
            (ECHO, _) => room.send(user, ECHO + ANSWER, payload),
            (GREED, [greed, number @ ..]) => {
                let greed = Greed::from_u8(*greed).ok_or_else(|| Refusal::new(1001, "no such greed"))?;
                let number = number.try_into().map(u32::from_be_bytes);
                self.number = number.map_err(|_| Refusal::new(1002, "greed takes a u8 and a u32"))?;
                self.greed = greed;
                room.send(user, GREED + ANSWER, &[]);
                match greed {
                    Greed::Frames | Greed::Bytes => Self::again(room),
                    Greed::Memory => {
                        self.taken =
                            (0..self.size()).map(|_| std::hint::black_box(vec![1; 1 << 20])).collect();
                    }
                    Greed::Shuttle => {
                        // Each of the two knows the name of the other.
                        let (to, fro) = (format!("to-{user}"), format!("fro-{user}"));
                        room.create_room(&to, fro.as_bytes());
                        room.create_room(&fro, to.as_bytes());
                        self.greed = Greed::None;
                        room.transfer(user, &to);
                    }
                    Greed::None | Greed::Loop | Greed::Work => {}
                }
            }
            _ => return Err(Refusal::new(1000, format!("there is no opcode {op}"))),
        }
        Ok(())
    }

    fn tick(&mut self, _: &Room<Self>, _: u32) {
        match self.greed {
            Greed::Loop => {
                let mut rounds = 0u64;
                loop {
                    rounds = std::hint::black_box(rounds.wrapping_add(1));
                }
            }
            Greed::Work => {
                let work = |hash: u64, round: u64| std::hint::black_box(hash * 31 % 1_000_003 + round % 7);
                std::hint::black_box((0..u64::from(self.number)).fold(1, work));
            }
            _ => {}
        }
    }

    fn timer(&mut self, room: &Room<Self>, _: u64) {
        match self.greed {
            Greed::Frames => (0..self.number).for_each(|_| room.broadcast(FLOOD, b"!")),
            Greed::Bytes => room.broadcast(FLOOD, &vec![7; self.size()]),
            _ => return,
        }
        Self::again(room);
    }
}
