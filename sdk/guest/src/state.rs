//! From the state to bytes and back, over schemas.

use serde::de::DeserializeOwned;

use crate::game::{Game, Snapshot};
use crate::room::Room;

/// Reads a state out of saved bytes; for [`Game::migrate`], with the struct as it was in the old version.
///
/// # Errors
/// If the bytes do not fit the type exactly, with the type's name. Bytes that are left over do not fit either.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let name = std::any::type_name::<T>();
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => {
            Err(format!("state of {} bytes is no {name}: {} bytes are left over", bytes.len(), rest.len()))
        }
        Err(error) => Err(format!("state of {} bytes is no {name}: {error}", bytes.len())),
    }
}

/// Writes the state. Panics (and so traps) if the author's own `Serialize` fails.
pub(crate) fn encode<G: Game>(game: &G) -> Snapshot {
    match postcard::to_allocvec(game) {
        Ok(bytes) => Snapshot { schema: G::SCHEMA, bytes },
        Err(error) => panic!("the state cannot be serialised: {error}"),
    }
}

/// Reads a state of this or an older schema, then lets the game rebuild what is not in it.
pub(crate) fn restore<G: Game>(room: &Room<G>, snapshot: &Snapshot) -> Result<G, String> {
    let mut game = match snapshot.schema {
        schema if schema == G::SCHEMA => decode(&snapshot.bytes)?,
        schema if schema < G::SCHEMA => G::migrate(room, schema, &snapshot.bytes)?,
        schema => return Err(format!("state has schema {schema}, this version knows up to {}", G::SCHEMA)),
    };
    game.loaded(room)?;
    Ok(game)
}
