//! Guest: the exports of one instance, in the world that its manifest names.

use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker, TypedFunc};
use wasmtime::{Result, Store};

use super::input::Input;
use super::instance::{Host, Snapshot, Verdict};
use hotseat_build::{TEXT_MAX, into_printable};

/// What `wit/` says of the world `game-logic`, as Rust, and the imports of all worlds.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from wit/, which carries the documentation"
)]
pub(super) mod game {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "game-logic",
        imports: { default: trappable },
    });
}

/// The same of the world `service`; what both import is generated once.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "generated from wit/, which carries the documentation"
)]
pub(super) mod service {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "service",
        imports: { default: trappable },
        with: {
            "hotseat:plugin/types": super::game::hotseat::plugin::types,
            "hotseat:plugin/log": super::game::hotseat::plugin::log,
            "hotseat:plugin/clock": super::game::hotseat::plugin::clock,
            "hotseat:plugin/random": super::game::hotseat::plugin::random,
            "hotseat:plugin/ids": super::game::hotseat::plugin::ids,
            "hotseat:plugin/timers": super::game::hotseat::plugin::timers,
            "hotseat:plugin/services": super::game::hotseat::plugin::services,
            "hotseat:plugin/config": super::game::hotseat::plugin::config,
        },
    });
}

use game::hotseat::plugin::types::{Answer, Failure, Refusal, Snapshot as WitSnapshot};

/// The name of the world of rooms.
pub const GAME_WORLD: &str = "game-logic";

/// The name of the world of services.
pub const SERVICE_WORLD: &str = "service";

/// The interface that a plugin may export besides its world, and its function.
const DOWNGRADE: (&str, &str) = ("hotseat:plugin/downgrade@0.1.0", "save-as");

/// The function of [`DOWNGRADE`].
type SaveAs = TypedFunc<(u32,), (std::result::Result<Vec<u8>, String>,)>;

/// A compiled component with its imports resolved, ready to make guests.
pub(super) struct GuestPre {
    pre: InstancePre<Host>,
    exports: Exports,
    save_as: Option<ComponentExportIndex>,
}

/// Where the exports of its world are.
enum Exports {
    Game(game::GameLogicIndices),
    Service(service::ServiceIndices),
}

impl GuestPre {
    pub(super) fn new(linker: &Linker<Host>, component: &Component, world: &str) -> Result<Self> {
        let pre: InstancePre<Host> = linker.instantiate_pre(component)?;
        let exports = match world {
            SERVICE_WORLD => Exports::Service(service::ServiceIndices::new(&pre)?),
            _ => Exports::Game(game::GameLogicIndices::new(&pre)?),
        };
        let (interface, function) = DOWNGRADE;
        let interface = component.get_export_index(None, interface);
        let save_as = interface.and_then(|index| component.get_export_index(Some(&index), function));
        Ok(Self { pre, exports, save_as })
    }

    pub(super) fn instantiate(&self, store: &mut Store<Host>) -> Result<Guest> {
        let instance = self.pre.instantiate(&mut *store)?;
        let world = match &self.exports {
            Exports::Game(indices) => World::Game(indices.load(&mut *store, &instance)?),
            Exports::Service(indices) => World::Service(indices.load(&mut *store, &instance)?),
        };
        let save_as = match &self.save_as {
            Some(index) => Some(instance.get_typed_func(store, index)?),
            None => None,
        };
        Ok(Guest { world, save_as })
    }
}

/// The exports of one instance.
pub(super) struct Guest {
    world: World,
    save_as: Option<SaveAs>,
}

enum World {
    Game(game::GameLogic),
    Service(service::Service),
}

/// The interface `lifecycle`, which all worlds export.
macro_rules! lifecycle {
    ($guest:expr, $call:ident($($argument:expr),*)) => {
        match &$guest.world {
            World::Game(guest) => guest.hotseat_plugin_lifecycle().$call($($argument),*),
            World::Service(guest) => guest.hotseat_plugin_lifecycle().$call($($argument),*),
        }
    };
}

impl Guest {
    pub(super) fn open(
        &self,
        store: &mut Store<Host>,
        key: &str,
        args: &[u8],
    ) -> Result<std::result::Result<(), String>> {
        lifecycle!(self, call_open(store, key, args))
    }

    pub(super) fn load(
        &self,
        store: &mut Store<Host>,
        snapshot: &Snapshot,
    ) -> Result<std::result::Result<(), String>> {
        let state = WitSnapshot { schema: snapshot.schema, bytes: snapshot.bytes.to_vec() };
        lifecycle!(self, call_load(store, &state))
    }

    pub(super) fn save(&self, store: &mut Store<Host>) -> Result<WitSnapshot> {
        lifecycle!(self, call_save(store))
    }

    /// The state in an older schema; an error too if the plugin does not offer that.
    pub(super) fn save_as(
        &self,
        store: &mut Store<Host>,
        schema: u32,
    ) -> Result<std::result::Result<Vec<u8>, String>> {
        match &self.save_as {
            Some(save_as) => Ok(save_as.call(store, (schema,))?.0),
            None => Ok(Err("it has no downgrade".to_owned())),
        }
    }

    /// Hands over one event. One of another world is a mistake of the host's, and ends the call as a trap does.
    #[inline]
    pub(super) fn call(&self, store: &mut Store<Host>, input: &Input<'_>) -> Result<Verdict> {
        match &self.world {
            World::Game(guest) => call_game(guest.hotseat_plugin_room(), store, input),
            World::Service(guest) => call_service(guest.hotseat_plugin_handler(), store, input),
        }
    }
}

#[inline]
fn call_game(
    guest: &game::exports::hotseat::plugin::room::Guest,
    store: &mut Store<Host>,
    input: &Input<'_>,
) -> Result<Verdict> {
    match *input {
        Input::Message { user, op, payload } => {
            return Ok(match guest.call_message(store, user, op, payload)? {
                Ok(()) => Verdict::Done,
                Err(Refusal { code, text }) => {
                    Verdict::Refused { code, text: into_printable(text, TEXT_MAX) }
                }
            });
        }
        Input::Tick { dt_ms } => guest.call_tick(store, dt_ms)?,
        Input::Join { user, .. } => guest.call_join(store, user)?,
        Input::Rejoin { user } => guest.call_rejoin(store, user)?,
        Input::Leave { user, reason } => guest.call_leave(store, user, reason)?,
        Input::Timer { id } => guest.call_timer(store, id)?,
        Input::Reply { token, status, body, text } => {
            guest.call_reply(store, token, &answer(status, body, text))?;
        }
        Input::Call { .. } | Input::Query { .. } | Input::Subscribe { .. } | Input::Unsubscribe { .. } => {
            return Err(misplaced(input, GAME_WORLD));
        }
    }
    Ok(Verdict::Done)
}

fn call_service(
    guest: &service::exports::hotseat::plugin::handler::Guest,
    store: &mut Store<Host>,
    input: &Input<'_>,
) -> Result<Verdict> {
    let answered = |result| match result {
        Ok(body) => Verdict::Answered(body),
        Err(failure) => refused(failure),
    };
    Ok(match *input {
        Input::Call { method, body } => answered(guest.call_call(store, method, body)?),
        Input::Query { method, body } => answered(guest.call_query(store, method, body)?),
        Input::Subscribe { channel, method, body } => {
            let subscribed = guest.call_subscribe(store, channel, method, body)?;
            subscribed.map_or_else(refused, |()| Verdict::Done)
        }
        Input::Unsubscribe { channel } => {
            guest.call_unsubscribe(store, channel)?;
            Verdict::Done
        }
        Input::Timer { id } => {
            guest.call_timer(store, id)?;
            Verdict::Done
        }
        Input::Reply { token, status, body, text } => {
            guest.call_reply(store, token, &answer(status, body, text))?;
            Verdict::Done
        }
        Input::Join { .. }
        | Input::Rejoin { .. }
        | Input::Leave { .. }
        | Input::Message { .. }
        | Input::Tick { .. } => return Err(misplaced(input, SERVICE_WORLD)),
    })
}

fn answer(status: u32, body: &[u8], text: &str) -> Answer {
    Answer { status, body: body.to_vec(), text: text.to_owned() }
}

fn refused(failure: Failure) -> Verdict {
    let Failure { status, text } = failure;
    Verdict::Refused { code: i32::try_from(status).unwrap_or(i32::MAX), text: into_printable(text, TEXT_MAX) }
}

fn misplaced(input: &Input<'_>, world: &str) -> wasmtime::Error {
    wasmtime::format_err!("an event {:?} does not belong to the world {world}", input.kind())
}
