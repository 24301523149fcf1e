//! Model: what the players must see, worked out without a node.

use std::collections::BTreeMap;

use super::{Entry, Op, PLAYERS, ROOMS, Round};

/// Everybody's home.
pub(super) const HOME: usize = ROOMS.len() - 1;

/// A frame that a player gets for something it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Counted { seq: u32, count: u32 },
    Closed { seq: u32 },
    OwnShout { seq: u32 },
    Failed,
}

/// A shout, and the room it went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shout {
    pub(super) seq: u32,
    pub(super) room: usize,
}

/// One player, as a naive observer keeps account.
#[derive(Debug, Clone)]
pub(super) struct Figure {
    /// Whether it is connected.
    pub(super) here: bool,
    pub(super) room: usize,
    pub(super) seq: u32,
    /// Messages handled to their end, by room.
    counts: BTreeMap<usize, u32>,
}

/// What one player does and sees in a round.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// What it sends, in order.
    pub(super) sends: Vec<(Op, u32)>,
    /// What it gets for that, in order.
    pub(super) due: Vec<Due>,
    pub(super) shouts: Vec<Shout>,
    /// Rooms it was in, the first one first.
    pub(super) rooms: Vec<usize>,
    /// Whether it was in one room all the round.
    pub(super) still: bool,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) figures: Vec<Figure>,
}

impl Model {
    pub(super) fn new() -> Self {
        let nobody = Figure { here: false, room: HOME, seq: 0, counts: BTreeMap::new() };
        Self { figures: vec![nobody; PLAYERS] }
    }

    /// Plays a round; what each player must see.
    pub(super) fn round(&mut self, round: &Round) -> Vec<Expected> {
        let parts = self.figures.iter_mut().zip(&round.parts);
        parts
            .map(|(figure, part)| {
                let was_here = figure.here;
                figure.here = part.entry != Entry::Away;
                if part.entry != Entry::Stay || !was_here {
                    figure.room = HOME;
                }
                if !figure.here {
                    return Expected::default();
                }
                let still = was_here && part.entry == Entry::Stay;
                let mut expected = Expected { rooms: vec![figure.room], still, ..Expected::default() };
                for op in &part.script {
                    figure.act(*op, &mut expected);
                }
                expected
            })
            .collect()
    }
}

impl Figure {
    /// One message.
    pub(super) fn act(&mut self, op: Op, expected: &mut Expected) {
        self.seq += 1;
        let seq = self.seq;
        expected.sends.push((op, seq));
        if op == Op::Trap {
            // It is as if it had never been sent, but for the answer.
            expected.due.push(Due::Failed);
            return;
        }
        let count = self.counts.entry(self.room).or_default();
        *count += 1;
        match op {
            Op::Count => expected.due.extend([Due::Counted { seq, count: *count }, Due::Closed { seq }]),
            Op::Shout => {
                expected.due.push(Due::OwnShout { seq });
                expected.shouts.push(Shout { seq, room: self.room });
            }
            Op::Move(to) if to != self.room => {
                self.room = to;
                expected.rooms.push(to);
                expected.still = false;
            }
            Op::Move(_) | Op::Trap => {}
        }
    }
}

/// Whether what `listener` heard of `speaker` is what it had to hear.
pub(super) fn heard(listener: &Expected, speaker: &Expected, heard: &[u32]) -> Result<(), String> {
    let audible = |shout: &&Shout| listener.rooms.contains(&shout.room);
    let said: Vec<u32> = speaker.shouts.iter().filter(audible).map(|shout| shout.seq).collect();
    if listener.still {
        return if heard == said { Ok(()) } else { Err(format!("heard {heard:?}, said was {said:?}")) };
    }
    let mut rest = said.iter();
    let in_order = heard.iter().all(|seq| rest.any(|said| said == seq));
    if in_order { Ok(()) } else { Err(format!("heard {heard:?}, of which said was {said:?}")) }
}
