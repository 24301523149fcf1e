//! Route: an opcode's owner. Pure.

use hotseat_packet::opcode;

/// Where a client's frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// Answered at once; the bulk of an idle client's traffic.
    Heartbeat,
    /// The login.
    Login,
    /// The original's key exchange, which is not offered.
    Seed,
    /// The room the session sits in.
    Game,
    /// Nobody's.
    Unknown,
}

/// The owner of `opcode`.
pub(super) fn route(opcode: u16) -> Route {
    match opcode {
        opcode::HEART_BEAT_REQ => Route::Heartbeat,
        opcode::USER_LOGIN_REQ => Route::Login,
        opcode::GET_SEED_REQ => Route::Seed,
        opcode::GAME_MIN..=opcode::GAME_MAX => Route::Game,
        // The agent's own that it does not take, and the upper half, which is negative on the wire.
        _ => Route::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_has_its_owner() {
        let table = [
            (0, Route::Heartbeat),
            (1, Route::Unknown),
            (10, Route::Login),
            (11, Route::Unknown),
            (13, Route::Unknown),
            (30, Route::Seed),
            (31, Route::Unknown),
            (1000, Route::Unknown),
            (1001, Route::Game),
            (32_767, Route::Game),
            (0x8000, Route::Unknown),
            (u16::MAX, Route::Unknown),
        ];
        for (opcode, owner) in table {
            assert_eq!(route(opcode), owner, "opcode {opcode}");
        }
    }
}
