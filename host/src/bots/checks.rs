//! Checks: whether what came is what should have come. No I/O.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::messages::{EnterAck, Notify, SPEED, Seen};
use super::tally::Tally;

/// Pings that may be unanswered at a time.
const OPEN_MAX: usize = 1024;

/// What a player knows of its pings: their ids rise by 1 from 1.
pub(super) struct Ledger {
    /// The id of the front of `sent`.
    first: i32,
    /// When each ping was sent, until it is answered.
    sent: VecDeque<Option<Instant>>,
    /// The highest id that was answered.
    highest: i32,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self { first: 1, sent: VecDeque::new(), highest: 0 }
    }

    /// The id of a ping that is sent now; none if too many are unanswered.
    pub(super) fn ask(&mut self, now: Instant, tally: &mut Tally) -> Option<i32> {
        if self.sent.len() >= OPEN_MAX {
            if self.highest <= self.first {
                tally.held_back += 1;
                return None;
            }
            // Answers to a thousand later pings have come or are due: this one is not late but lost.
            tally.lost += 1;
            self.pop();
        }
        let id = self.first.checked_add(i32::try_from(self.sent.len()).ok()?)?;
        self.sent.push_back(Some(now));
        tally.pings += 1;
        Some(id)
    }

    /// Books an answer; the time it took, if it is the answer to a ping.
    pub(super) fn answer(&mut self, id: i32, now: Instant, tally: &mut Tally) -> Option<Duration> {
        let Some(place) = id.checked_sub(self.first).and_then(|place| usize::try_from(place).ok()) else {
            let asked = id > 0;
            *(if asked { &mut tally.duplicated } else { &mut tally.unasked }) += 1;
            return None;
        };
        let Some(slot) = self.sent.get_mut(place) else {
            tally.unasked += 1;
            return None;
        };
        let Some(sent) = slot.take() else {
            tally.duplicated += 1;
            return None;
        };
        tally.answered += 1;
        if id < self.highest {
            tally.out_of_order += 1;
        }
        self.highest = self.highest.max(id);
        if place == 0 {
            self.pop();
        }
        Some(now.saturating_duration_since(sent))
    }

    /// Takes off the front and what behind it is answered.
    fn pop(&mut self) {
        loop {
            self.sent.pop_front();
            self.first += 1;
            if !matches!(self.sent.front(), Some(None)) {
                return;
            }
        }
    }

    /// Pings that wait for their answer.
    pub(super) fn open(&self) -> usize {
        self.sent.iter().flatten().count()
    }
}

/// What a player knows of itself from the notifies of its arena.
pub(super) struct Avatar {
    user: u64,
    tick: u32,
    seen: Seen,
    pub(super) rules: Option<u8>,
}

impl Avatar {
    pub(super) fn entered(user: u64, ack: &EnterAck) -> Self {
        let seen = Seen { x: ack.x, y: ack.y, score: ack.score, last_move: 0 };
        Self { user, tick: ack.tick, seen, rules: None }
    }

    /// The room has found the player again, after it changed hosts: nothing may have gone back.
    pub(super) fn told_again(&mut self, ack: &EnterAck, tally: &mut Tally) {
        tally.reseated += 1;
        if ack.tick < self.tick {
            tally.ticks_repeated += 1;
            self.tick = ack.tick;
        }
        if ack.score < self.seen.score {
            tally.scores_fallen += 1;
            self.seen.score = ack.score;
        }
    }

    /// The last move that counted.
    pub(super) fn last_move(&self) -> u32 {
        self.seen.last_move
    }

    /// Compares a notify with the one before; `moves` were sent until now.
    pub(super) fn see(&mut self, notify: &Notify<'_>, moves: u32, tally: &mut Tally) {
        tally.notifies += 1;
        let ticks = notify.tick.wrapping_sub(self.tick).cast_signed();
        match ticks {
            1 => {}
            2.. => tally.ticks_missed += u64::from(ticks.unsigned_abs() - 1),
            _ => tally.ticks_repeated += 1,
        }
        self.tick = notify.tick;
        let Some(seen) = notify.player(self.user) else {
            tally.positions_jumped += 1;
            return;
        };
        let reach = SPEED.saturating_mul(ticks.max(0).unsigned_abs());
        let far = |from: i16, to: i16| u32::from(from.abs_diff(to)) > reach;
        if far(self.seen.x, seen.x) || far(self.seen.y, seen.y) {
            tally.positions_jumped += 1;
        }
        if seen.score < self.seen.score {
            tally.scores_fallen += 1;
        }
        if seen.last_move < self.seen.last_move || seen.last_move > moves {
            tally.moves_undone += 1;
        }
        self.seen = seen;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotseat_packet::Writer;

    fn asked(pings: i32) -> (Ledger, Tally, Instant) {
        let (mut ledger, mut tally, now) = (Ledger::new(), Tally::default(), Instant::now());
        for id in 1..=pings {
            assert_eq!(ledger.ask(now, &mut tally), Some(id));
        }
        (ledger, tally, now)
    }

    #[test]
    fn answers_in_order_are_fine() {
        let (mut ledger, mut tally, now) = asked(3);
        let later = now + Duration::from_millis(5);
        for id in 1..=3 {
            assert_eq!(ledger.answer(id, later, &mut tally), Some(Duration::from_millis(5)));
        }
        assert_eq!(tally, Tally { pings: 3, answered: 3, ..Tally::default() });
        assert_eq!((ledger.open(), ledger.ask(now, &mut tally)), (0, Some(4)));
    }

    #[test]
    fn lost_duplicated_unordered_and_unasked_are_told_apart() {
        let (mut ledger, mut tally, now) = asked(5);
        for id in [1, 1, 3, 2, 3, 9, 0, -4, 5] {
            ledger.answer(id, now, &mut tally);
        }
        let expected =
            Tally { pings: 5, answered: 4, duplicated: 2, out_of_order: 1, unasked: 3, ..Tally::default() };
        assert_eq!(tally, expected);
        assert_eq!(ledger.open(), 1);
    }

    #[test]
    fn unanswered_pings_are_bounded() {
        let (mut ledger, mut tally, now) = asked(i32::try_from(OPEN_MAX).unwrap());
        assert_eq!(ledger.ask(now, &mut tally), None);
        assert_eq!(tally.held_back, 1);
        // The first one is given up once a later one is answered.
        ledger.answer(2, now, &mut tally);
        assert_eq!(ledger.ask(now, &mut tally), Some(1025));
        assert_eq!((tally.lost, ledger.open()), (1, 1023));
    }

    fn notify(tick: u32, x: i16, score: u32, last_move: u32) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u32(tick).u8(1).count(1).unwrap().u64(7).s16(x).s16(0).u32(score).u32(last_move);
        writer.count(0).unwrap();
        writer.into_bytes()
    }

    #[test]
    fn breaks_are_seen() {
        let ack = EnterAck { arena: String::new(), rules: 1, tick: 10, x: 100, y: 0, score: 5 };
        let mut avatar = Avatar::entered(7, &ack);
        let mut see = |bytes: Vec<u8>| {
            let mut tally = Tally::default();
            avatar.see(&Notify::read(&bytes).unwrap(), 2, &mut tally);
            tally
        };
        let fine = Tally { notifies: 1, ..Tally::default() };
        assert_eq!(see(notify(11, 110, 5, 0)), fine);
        assert_eq!(see(notify(12, 120, 7, 2)), fine);
        assert_eq!(see(notify(14, 140, 7, 2)), Tally { ticks_missed: 1, ..fine });
        assert_eq!(see(notify(14, 140, 7, 2)), Tally { ticks_repeated: 1, ..fine });
        assert_eq!(see(notify(15, 151, 7, 2)), Tally { positions_jumped: 1, ..fine });
        assert_eq!(see(notify(16, 151, 6, 2)), Tally { scores_fallen: 1, ..fine });
        assert_eq!(see(notify(17, 151, 6, 1)), Tally { moves_undone: 1, ..fine });
        assert_eq!(see(notify(18, 151, 6, 3)), Tally { moves_undone: 1, ..fine });
    }
}
