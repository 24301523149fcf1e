//! From the state to bytes and back, over schemas.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The state of one room or shard as it is saved and handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The layout of `bytes`: [`Game::SCHEMA`](crate::Game::SCHEMA) or
    /// [`Service::SCHEMA`](crate::Service::SCHEMA) of the version that saved it.
    pub schema: u32,
    /// The serialised state.
    pub bytes: Vec<u8>,
}

/// Reads a state out of saved bytes; for [`Game::migrate`](crate::Game::migrate) and
/// [`Service::migrate`](crate::Service::migrate), with the struct as it was in the old version.
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

/// Writes a state as the SDK saves it; for [`Game::downgrade`](crate::Game::downgrade) and
/// [`Service::downgrade`](crate::Service::downgrade), with the struct as it was in the old version.
///
/// # Errors
/// If the author's own `Serialize` fails, with the type's name.
pub fn encode<T: Serialize>(state: &T) -> Result<Vec<u8>, String> {
    let name = std::any::type_name::<T>();
    postcard::to_allocvec(state).map_err(|error| format!("a {name} cannot be serialised: {error}"))
}

/// Writes the state. Panics (and so traps) if the author's own `Serialize` fails.
pub(crate) fn save(schema: u32, state: &impl Serialize) -> Snapshot {
    match postcard::to_allocvec(state) {
        Ok(bytes) => Snapshot { schema, bytes },
        Err(error) => panic!("the state cannot be serialised: {error}"),
    }
}

/// Reads a state of the schema `ours` or, through `migrate`, of an older one.
pub(crate) fn restore<T: DeserializeOwned>(
    ours: u32,
    snapshot: &Snapshot,
    migrate: impl FnOnce(u32, &[u8]) -> Result<T, String>,
) -> Result<T, String> {
    match snapshot.schema {
        schema if schema == ours => decode(&snapshot.bytes),
        schema if schema < ours => migrate(schema, &snapshot.bytes),
        schema => Err(format!("state has schema {schema}, this version knows up to {ours}")),
    }
}
