//! The exports of the world `game-logic`, for any game.

use std::any::Any;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::panic;

use crate::bindings_module::bindings::exports::hotseat::plugin::{lifecycle, room};
use crate::game::{Answer, Game, LeaveReason, Snapshot};
use crate::host;
use crate::runtime::Runtime;

/// What [`export!`](crate::export) exports. Not for authors.
pub struct Component<G>(PhantomData<G>);

thread_local! {
    // Not generic, since a static cannot be; an instance only ever holds the one game it was built for.
    static RUNTIME: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

fn start<G: Game>(make: impl FnOnce() -> Result<Runtime<G>, String>) -> Result<(), String> {
    panic::set_hook(Box::new(|info| host::log(host::Level::Error, &describe(info))));
    let runtime = make()?;
    RUNTIME.set(Some(Box::new(runtime)));
    Ok(())
}

fn with<G: Game, R>(event: impl FnOnce(&Runtime<G>) -> R) -> R {
    RUNTIME.with_borrow(|slot| {
        let runtime = slot.as_ref().and_then(|runtime| runtime.downcast_ref::<Runtime<G>>());
        event(runtime.expect("the first call of an instance is open or load"))
    })
}

fn describe(info: &panic::PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let message = payload.downcast_ref::<&str>().copied();
    let message =
        message.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
    match info.location() {
        Some(place) => format!("panic at {}:{}: {message}", place.file(), place.line()),
        None => format!("panic: {message}"),
    }
}

impl<G: Game> lifecycle::Guest for Component<G> {
    fn open(key: String, args: Vec<u8>) -> Result<(), String> {
        start(|| Runtime::<G>::open(&key, &args))
    }

    fn save() -> lifecycle::Snapshot {
        let Snapshot { schema, bytes } = with(Runtime::<G>::save);
        lifecycle::Snapshot { schema, bytes }
    }

    fn load(state: lifecycle::Snapshot) -> Result<(), String> {
        let snapshot = Snapshot { schema: state.schema, bytes: state.bytes };
        start(|| Runtime::<G>::load(&snapshot))
    }
}

impl<G: Game> room::Guest for Component<G> {
    fn join(user: room::UserId) {
        with(|runtime: &Runtime<G>| runtime.join(user));
    }

    fn rejoin(user: room::UserId) {
        with(|runtime: &Runtime<G>| runtime.rejoin(user));
    }

    fn leave(user: room::UserId, reason: u32) {
        with(|runtime: &Runtime<G>| runtime.leave(user, LeaveReason::from(reason)));
    }

    fn message(user: room::UserId, op: room::Opcode, payload: Vec<u8>) -> Result<(), room::Refusal> {
        with(|runtime: &Runtime<G>| runtime.message(user, op, &payload))
            .map_err(|refusal| room::Refusal { code: refusal.code, text: refusal.text })
    }

    fn tick(dt_ms: u32) {
        with(|runtime: &Runtime<G>| runtime.tick(dt_ms));
    }

    fn timer(id: u64) {
        with(|runtime: &Runtime<G>| runtime.timer(id));
    }

    fn reply(token: u64, answer: room::Answer) {
        let answer = Answer { status: answer.status, body: answer.body, text: answer.text };
        with(|runtime: &Runtime<G>| runtime.reply(token, answer));
    }
}
