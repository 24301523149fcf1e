//! Words: what a host says of a session, as the agent understands it.

use crate::link::{Frames, Released};
use crate::proto::cluster;

/// Where a player goes that leaves the host.
pub(super) fn read(released: &cluster::Released) -> Released {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    Released {
        room: some(&released.room),
        node: some(&released.node),
        // What is torn was sent by nobody.
        backlog: released.backlog.iter().filter_map(|bytes| Frames::read(bytes.clone()).ok()).collect(),
        login: released.login,
        again: released.again,
    }
}

/// The words under which closes are counted; metrics have fixed labels.
pub(super) fn reason(word: &str) -> &'static str {
    const KNOWN: [&str; 8] = [
        "duplicate_login",
        "kicked",
        "no_room",
        "room_closed",
        "messages_failed",
        "join_failed",
        "busy",
        "moved_by_operator",
    ];
    KNOWN.into_iter().find(|known| *known == word).unwrap_or("told")
}
