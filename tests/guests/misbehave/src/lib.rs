//! A guest that does one bad thing at a time, on request: what the host's limits are tested against.
//!
//! Opcodes 3001 to 3029 (constants below) misbehave while a message is handled. Birth, hand-over and joining misbehave
//! by *mode*: one of `trap-open`, `fail-open`, `trap-load`, `fail-load`, `loop-load`, `trap-save`, `loop-save`,
//! `trap-join`, `loop-join`. It is the operator's setting `mode` or, where that is unset, what [`SET_MODE`] last wrote
//! into the state (which works for loads too, since the state carries it to the next instance). A room whose name begins
//! with `trap-join/` or `loop-join/` has that mode from its birth.

mod mode;
mod reach;

pub use reach::*;

use hotseat_guest::{Game, Refusal, Room, UserId};
use serde::{Deserialize, Serialize};

use crate::mode::SaveGuard;

/// Loops without end.
pub const LOOP: u16 = 3001;
/// Recurses without end.
pub const RECURSE: u16 = 3002;
/// Grows its memory until that is refused, which traps.
pub const GROW: u16 = 3003;
/// Sends 3104, then panics.
pub const PANIC: u16 = 3004;
/// Sends 3105 without end.
pub const FLOOD_EFFECTS: u16 = 3005;
/// Logs 10,000 lines of 4 KiB, then answers 3106.
pub const FLOOD_LOGS: u16 = 3006;
/// Sends 3107 with 70,000 bytes, more than a frame holds.
pub const BIG_PAYLOAD: u16 = 3007;
/// Sets 2,000 timers, more than a room may have.
pub const TIMERS: u16 = 3008;
/// Refuses with code 1234 and text "no".
pub const REFUSE: u16 = 3009;
/// Kicks the sender with reason 1999.
pub const KICK: u16 = 3010;
/// Answers 3111 with the same payload: the proof of life.
pub const ECHO: u16 = 3011;
/// Transfers the sender to a room that does not exist; `rejoin` answers 3112.
pub const TRANSFER_NOWHERE: u16 = 3012;
/// Takes some 5 ms of a core, which is legal, then answers 3113.
pub const SPIN: u16 = 3013;
/// Keeps the payload in the state.
pub const STORE: u16 = 3014;
/// Answers 3115 with what [`STORE`] kept.
pub const RECALL: u16 = 3015;
/// Calls the service and method that the payload names (`service/package.Service/Method`), then answers 3116 with
/// the status (u32) and the body. Answers that no future awaits come as 3216 to the players of the room.
pub const CALL: u16 = 3016;
/// Closes the room with reason 7.
pub const CLOSE: u16 = 3017;
/// Writes the payload into the state as the mode, then answers 3118.
pub const SET_MODE: u16 = 3018;

/// Keeps as many bytes in the state as the payload (u32) says, then answers 3119.
pub const FILL: u16 = 3019;

/// Added to a request's opcode for its answer.
pub const ANSWER: u16 = 100;

/// Rounds of [`SPIN`]: a remainder that depends on the one before, some 5 ns each when measured in wasmtime.
pub(crate) const SPIN_ROUNDS: u64 = 1_000_000;

hotseat_guest::export!(Misbehave);

/// The state: what was stored, and how to misbehave when saved and loaded.
#[derive(Serialize, Deserialize)]
pub struct Misbehave {
    /// Comes first, so that a mode to trap while saving does so at once.
    guard: SaveGuard,
    stored: Vec<u8>,
}

impl Game for Misbehave {
    const SCHEMA: u32 = 1;

    fn open(room: &Room<Self>, key: &str, _args: &[u8]) -> Result<Self, String> {
        match &mode::configured(room)[..] {
            "trap-open" => panic!("trap-open: room {key}"),
            "fail-open" => Err(format!("fail-open: room {key}")),
            _ => {
                let mut guard = SaveGuard::default();
                guard.set(mode::of_room(key));
                guard.refresh(room);
                Ok(Self { guard, stored: Vec::new() })
            }
        }
    }

    fn loaded(&mut self, room: &Room<Self>) -> Result<(), String> {
        self.guard.refresh(room);
        match self.guard.mode() {
            "trap-load" => panic!("trap-load"),
            "fail-load" => Err("fail-load".into()),
            "loop-load" => forever(),
            _ => Ok(()),
        }
    }

    fn join(&mut self, room: &Room<Self>, _user: UserId) {
        self.guard.refresh(room);
        match self.guard.mode() {
            "trap-join" => panic!("trap-join"),
            "loop-join" => forever(),
            _ => {}
        }
    }

    fn rejoin(&mut self, room: &Room<Self>, user: UserId) {
        room.send(user, TRANSFER_NOWHERE + ANSWER, &[]);
    }

    fn message(&mut self, room: &Room<Self>, user: UserId, op: u16, payload: &[u8]) -> Result<(), Refusal> {
        self.guard.refresh(room);
        let answer = |body: &[u8]| room.send(user, op + ANSWER, body);
        match op {
            LOOP => forever(),
            RECURSE => answer(&recurse(1).to_be_bytes()),
            GROW => grow(),
            PANIC => {
                answer(b"must not be seen");
                panic!("asked to");
            }
            FLOOD_EFFECTS => loop {
                answer(b"");
            },
            FLOOD_LOGS => {
                let line = "x".repeat(4 << 10);
                (0..10_000).for_each(|_| room.info(&line));
                answer(b"");
            }
            BIG_PAYLOAD => answer(&[0; 70_000]),
            TIMERS => (0..2_000).for_each(|id| room.set_timer(id, 60_000)),
            REFUSE => return Err(Refusal::new(1234, "no")),
            KICK => room.kick(user, 1999),
            ECHO => answer(payload),
            TRANSFER_NOWHERE => room.transfer(user, "no-such-room"),
            SPIN => answer(&spin(SPIN_ROUNDS).to_be_bytes()),
            STORE => self.stored = payload.to_vec(),
            FILL => {
                let length = payload.try_into().map(u32::from_be_bytes);
                let length = length.map_err(|_| Refusal::new(1002, "fill takes a u32"))?;
                self.stored = vec![7; length as usize];
                answer(b"");
            }
            RECALL => answer(&self.stored),
            CALL => call(room, user, payload)?,
            CLOSE => room.close_room(7),
            SET_MODE => {
                self.guard.set(String::from_utf8_lossy(payload).into_owned());
                answer(b"");
            }
            _ => return reach::message(room, user, op, payload),
        }
        Ok(())
    }

    fn reply(&mut self, room: &Room<Self>, _token: u64, answer: hotseat_guest::Answer) {
        room.broadcast(CALL + 2 * ANSWER, &status_and_body(answer));
    }
}

fn call(room: &Room<Misbehave>, user: UserId, payload: &[u8]) -> Result<(), Refusal> {
    let text = String::from_utf8_lossy(payload).into_owned();
    let Some((service, method)) = text.split_once('/') else {
        return Err(Refusal::new(1001, format!("{text:?} is not service/package.Service/Method")));
    };
    let (service, method) = (service.to_owned(), method.to_owned());
    room.spawn(move |handle| async move {
        let answer = handle.call(&service, "", &method, &[]).await;
        handle.update(|_, room| room.send(user, CALL + ANSWER, &status_and_body(answer)));
    });
    Ok(())
}

fn status_and_body(answer: hotseat_guest::Answer) -> Vec<u8> {
    [&answer.status.to_be_bytes()[..], &answer.body].concat()
}

/// The black box keeps the compiler from seeing that there is no end.
pub(crate) fn forever() -> ! {
    let mut rounds = 0u64;
    loop {
        rounds = std::hint::black_box(rounds.wrapping_add(1));
    }
}

fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 8]);
    if frame[0] == 0 { 0 } else { recurse(frame[1] + 1).wrapping_add(std::hint::black_box(frame[2])) }
}

fn grow() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(std::hint::black_box(vec![1u8; 1 << 20]));
    }
}

pub(crate) fn spin(rounds: u64) -> u64 {
    (0..rounds).fold(1, |hash, round| std::hint::black_box(hash * 31 % 1_000_003 + round % 7))
}

#[cfg(test)]
mod tests;
