//! The exports of the world `game-logic`, for any game.

use std::marker::PhantomData;

use crate::answer::Answer;
use crate::bindings_module::bindings::exports::hotseat::plugin::{downgrade, lifecycle};
use crate::bindings_module::game_bindings::exports::hotseat::plugin::room;
use crate::game::{Game, LeaveReason};
use crate::instance::{start, with};
use crate::runtime::Runtime;
use crate::state::Snapshot;

/// What [`export!`](crate::export) exports. Not for authors.
pub struct Component<G>(PhantomData<G>);

impl<G: Game> lifecycle::Guest for Component<G> {
    fn open(key: String, args: Vec<u8>) -> Result<(), String> {
        start(|| Runtime::<G>::open(&key, &args))
    }

    fn save() -> lifecycle::Snapshot {
        let Snapshot { schema, bytes } = with(|runtime: &mut Runtime<G>| runtime.save());
        lifecycle::Snapshot { schema, bytes }
    }

    fn load(state: lifecycle::Snapshot) -> Result<(), String> {
        let snapshot = Snapshot { schema: state.schema, bytes: state.bytes };
        start(|| Runtime::<G>::load(&snapshot))
    }
}

impl<G: Game> downgrade::Guest for Component<G> {
    fn save_as(schema: u32) -> Result<Vec<u8>, String> {
        with(|runtime: &mut Runtime<G>| runtime.save_as(schema))
    }
}

impl<G: Game> room::Guest for Component<G> {
    fn join(user: room::UserId) {
        with(|runtime: &mut Runtime<G>| runtime.join(user));
    }

    fn rejoin(user: room::UserId) {
        with(|runtime: &mut Runtime<G>| runtime.rejoin(user));
    }

    fn leave(user: room::UserId, reason: u32) {
        with(|runtime: &mut Runtime<G>| runtime.leave(user, LeaveReason::from(reason)));
    }

    fn message(user: room::UserId, op: room::Opcode, payload: Vec<u8>) -> Result<(), room::Refusal> {
        with(|runtime: &mut Runtime<G>| runtime.message(user, op, &payload))
            .map_err(|refusal| room::Refusal { code: refusal.code, text: refusal.text })
    }

    fn tick(dt_ms: u32) {
        with(|runtime: &mut Runtime<G>| runtime.tick(dt_ms));
    }

    fn timer(id: u64) {
        with(|runtime: &mut Runtime<G>| runtime.timer(id));
    }

    fn reply(token: u64, answer: room::Answer) {
        let answer = Answer { status: answer.status, body: answer.body, text: answer.text };
        with(|runtime: &mut Runtime<G>| runtime.reply(token, answer));
    }
}
