//! What a guest can ask of the host about other rooms, players and the log: moves, rooms, opcodes, texts.

use hotseat_guest::{Refusal, Room, UserId};

use crate::{ANSWER, Misbehave, SPIN_ROUNDS, spin};

/// Opens the room that the payload names and moves the sender there.
pub const MOVE: u16 = 3020;
/// Takes as many times 5 ms of a core as the payload (u8) says, then closes the room with reason 8.
pub const SPIN_CLOSE: u16 = 3021;
/// Asks 4,000 times for a room of the name that is the payload, then answers 3122.
pub const CREATE_FLOOD: u16 = 3022;
/// Asks for as many rooms as the payload (u32) says, `made/USER/0` and so on, then answers 3123.
pub const CREATE_MANY: u16 = 3023;
/// Sends the sender a frame with the opcode that is the payload (u16), and then 3124.
pub const SEND_AS: u16 = 3024;
/// Sends everybody a frame with the opcode that is the payload (u16), and then 3125.
pub const BROADCAST_AS: u16 = 3025;
/// Logs the payload as an error, then answers 3126.
pub const SAY: u16 = 3026;
/// Refuses with the code that the payload begins with (i32) and the rest of it as the text.
pub const REFUSE_WITH: u16 = 3027;
/// Kicks the sender with the reason that is the payload (u32).
pub const KICK_WITH: u16 = 3028;
/// Panics with the payload as the text.
pub const PANIC_WITH: u16 = 3029;

const FLOOD: usize = 4_000;

pub(crate) fn message(room: &Room<Misbehave>, user: UserId, op: u16, payload: &[u8]) -> Result<(), Refusal> {
    let answer = || room.send(user, op + ANSWER, &[]);
    let text = || String::from_utf8_lossy(payload).into_owned();
    match op {
        MOVE => {
            room.create_room(&text(), &[]);
            room.transfer(user, &text());
        }
        SPIN_CLOSE => {
            let times = payload.first().copied().unwrap_or_default();
            spin(SPIN_ROUNDS * u64::from(times));
            room.close_room(8);
        }
        CREATE_FLOOD => {
            (0..FLOOD).for_each(|_| room.create_room(&text(), &[]));
            answer();
        }
        CREATE_MANY => {
            for number in 0..u32_of(payload)? {
                room.create_room(&format!("made/{user}/{number}"), &[]);
            }
            answer();
        }
        SEND_AS => {
            room.send(user, opcode_of(payload)?, b"forged");
            answer();
        }
        BROADCAST_AS => {
            room.broadcast(opcode_of(payload)?, b"forged");
            answer();
        }
        SAY => {
            room.error(text());
            answer();
        }
        REFUSE_WITH => {
            let (code, text) = payload.split_first_chunk::<4>().ok_or_else(bad_payload)?;
            return Err(Refusal::new(i32::from_be_bytes(*code), String::from_utf8_lossy(text)));
        }
        KICK_WITH => room.kick(user, u32_of(payload)?),
        PANIC_WITH => panic!("{}", text()),
        _ => return Err(Refusal::new(1000, format!("there is no opcode {op}"))),
    }
    Ok(())
}

fn u32_of(payload: &[u8]) -> Result<u32, Refusal> {
    payload.try_into().map(u32::from_be_bytes).map_err(|_| bad_payload())
}

fn opcode_of(payload: &[u8]) -> Result<u16, Refusal> {
    payload.try_into().map(u16::from_be_bytes).map_err(|_| bad_payload())
}

fn bad_payload() -> Refusal {
    Refusal::new(1002, "the payload does not decode")
}
