//! How to misbehave at birth and hand-over.

use hotseat_guest::Room;
use serde::{Deserialize, Serialize, Serializer};

use crate::Misbehave;

/// The operator's setting, empty if there is none.
pub(crate) fn configured(room: &Room<Misbehave>) -> String {
    room.config("mode").map(|value| String::from_utf8_lossy(&value).into_owned()).unwrap_or_default()
}

/// The mode that a room has by its name, empty if none.
pub(crate) fn of_room(key: &str) -> String {
    let mode = key.split_once('/').map_or("", |(mode, _)| mode);
    if matches!(mode, "trap-join" | "loop-join") { mode.to_owned() } else { String::new() }
}

/// A part of the state that misbehaves while it is saved, if the mode says so.
#[derive(Default, Deserialize)]
pub(crate) struct SaveGuard {
    /// What a message set; saved.
    stored: String,
    /// The operator's, looked up at every event, since saving itself cannot reach the room.
    #[serde(skip)]
    configured: String,
}

impl SaveGuard {
    pub(crate) fn refresh(&mut self, room: &Room<Misbehave>) {
        self.configured = configured(room);
    }

    pub(crate) fn set(&mut self, mode: String) {
        self.stored = mode;
    }

    pub(crate) fn mode(&self) -> &str {
        if self.configured.is_empty() { &self.stored } else { &self.configured }
    }
}

impl Serialize for SaveGuard {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        match self.mode() {
            // The mended version saves whatever the mode is.
            _ if cfg!(feature = "mended") => {}
            "trap-save" => panic!("trap-save"),
            "loop-save" => crate::forever(),
            _ => {}
        }
        let mut fields = serializer.serialize_struct("SaveGuard", 1)?;
        fields.serialize_field("stored", &self.stored)?;
        fields.end()
    }
}
