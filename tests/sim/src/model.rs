//! Model: what players were told, what is on disk of it, and whether the cluster keeps to that.
//!
//! The guest counts each player's messages and answers with the count. An answer tells that the message was handled; a
//! kill may cost what the journal had not written yet, as it does by design, and never more: what a host's journal had
//! written while the room was that host's, or had answered when it handed the room over, is the player's floor, for ever;
//! only a power cut takes it down, to what was synced. In detail, of the answers of one player:
//!
//! * they come in the order of the messages, none is left out while the session lasts, whatever moves beneath it;
//! * a count follows upon the one before; it may be higher by messages that were never answered because a host died;
//! * it may be lower only after a host that had the room has been killed or frozen, or could not write, and never lower than the floor.

use std::collections::{BTreeMap, VecDeque};

use crate::Process;

/// One player, as it has to find itself.
#[derive(Debug, Default)]
pub(crate) struct Figure {
    /// Its home room.
    pub(crate) home: u32,
    /// The last count that it was told.
    pub(crate) acked: u32,
    /// By whom.
    acked_by: Process,
    /// What is written of that, and by whom: the death of a process does not cost it.
    pub(crate) floor: u32,
    floor_by: Process,
    /// What is synced: no power cut costs it.
    synced: u32,
    /// Messages that will not be answered any more and may have been handled.
    unknown: u32,
    /// Messages of the present session that are to be answered, in order.
    pub(crate) pending: VecDeque<u32>,
    /// A host has died or stood still with the room since the last answer.
    lossy: bool,
    next: u32,
    /// Counts that wait for a journal to be synced up to a position.
    written_at: Vec<(Process, u64, u32)>,
    pub(crate) answers: u64,
    /// What the last answer says of the version that it is from.
    pub(crate) number: u8,
}

/// How far a process' journal is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnDisk {
    /// Up to this position it is written.
    pub(crate) written: u64,
    /// Up to this one that will outlast a power cut.
    pub(crate) synced: u64,
}

/// What has happened, and whether it was right.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) now_ms: u64,
    pub(crate) figures: BTreeMap<u64, Figure>,
    pub(crate) history: Vec<(u64, String)>,
    /// The first thing that was wrong; what follows upon it says little.
    pub(crate) violation: Option<String>,
}

impl Model {
    pub(crate) fn tell(&mut self, what: String) {
        self.history.push((self.now_ms, what));
    }

    pub(crate) fn wrong(&mut self, what: String) {
        if self.violation.is_none() {
            self.tell(format!("WRONG: {what}"));
            self.violation = Some(what);
        }
    }

    fn figure(&mut self, user: u64) -> &mut Figure {
        self.figures.entry(user).or_default()
    }

    /// The next message of a player is on its way.
    pub(crate) fn send(&mut self, user: u64) -> u32 {
        let figure = self.figure(user);
        figure.next += 1;
        figure.pending.push_back(figure.next);
        figure.next
    }

    /// A session has ended: what was not answered may have been handled or not.
    pub(crate) fn abandon(&mut self, user: u64) {
        let figure = self.figure(user);
        figure.unknown += u32::try_from(figure.pending.len()).unwrap_or(u32::MAX);
        figure.pending.clear();
    }

    /// What these rooms had not on disk may be lost.
    pub(crate) fn may_lose(&mut self, homes: &[u32]) {
        for figure in self.figures.values_mut().filter(|figure| homes.contains(&figure.home)) {
            figure.lossy = true;
        }
    }

    /// A player was answered by a process that has the room no more, or may not: the agent has given it up.
    pub(crate) fn answered_late(&mut self, user: u64) {
        let figure = self.figure(user);
        if figure.pending.pop_front().is_some() {
            figure.unknown += 1;
        }
    }

    /// A player was answered by a process whose journal stands at `position`.
    pub(crate) fn answered(
        &mut self,
        user: u64,
        by: Process,
        (seq, count, number): (u32, u32, u8),
        position: u64,
    ) {
        let figure = self.figures.entry(user).or_default();
        let expected = figure.pending.pop_front();
        let least = if figure.lossy { figure.floor } else { figure.acked };
        let most = figure.acked + figure.unknown;
        let (acked, floor) = (figure.acked, figure.floor);
        let before = count.saturating_sub(1);
        let lossy = figure.lossy;
        (figure.acked, figure.unknown, figure.lossy) = (count, 0, false);
        figure.acked_by = by;
        figure.answers += 1;
        figure.number = number;
        figure.written_at.push((by, position, count));
        if lossy && count <= acked {
            self.tell(format!("player {user} goes on from {before}, was told {acked}, {floor} are on disk"));
        }
        if expected != Some(seq) {
            self.wrong(format!("player {user}: message {seq} answered, {expected:?} was next"));
        }
        if before < least {
            let why = if floor > before { "which are on disk" } else { "and nothing has died" };
            self.wrong(format!(
                "player {user} of room {}: process {by} counts {count} after {acked} acknowledged and {least} kept, {why}",
                self.figures[&user].home
            ));
        }
        if before > most {
            self.wrong(format!("player {user}: process {by} counts {count} after {most} messages at most"));
        }
    }

    /// A process' journal has come so far. `ours` says whether a home room is still that process'.
    pub(crate) fn on_disk(&mut self, by: Process, on_disk: OnDisk, ours: impl Fn(u32) -> bool) {
        let OnDisk { written, synced } = on_disk;
        for figure in self.figures.values_mut() {
            // What is written of a room that another host may have is nothing that anybody can rely on.
            let ours = ours(figure.home);
            let up_to = |position: u64| {
                let kept = figure.written_at.iter().filter(|(of, at, _)| *of == by && *at <= position);
                kept.map(|(.., count)| *count).max().filter(|_| ours)
            };
            let (in_file, on_platter) = (up_to(written), up_to(synced));
            if let Some(count) = in_file.filter(|count| *count > figure.floor) {
                (figure.floor, figure.floor_by) = (count, by);
            }
            figure.synced = figure.synced.max(on_platter.unwrap_or(0));
            let waits = |at: u64| at > written || (ours && at > synced);
            figure.written_at.retain(|(of, at, _)| *of != by || waits(*at));
        }
    }

    /// The machine on which these processes ran had no power for a moment.
    pub(crate) fn power_cut(&mut self, processes: &[Process]) {
        for figure in self.figures.values_mut().filter(|it| processes.contains(&it.floor_by)) {
            figure.floor = figure.floor.min(figure.synced);
        }
    }

    /// A room has gone to another host with all that players of it were told: it is on that one's disk.
    pub(crate) fn handed_over(&mut self, home: u32, from: Process) {
        let told = |it: &&mut Figure| it.home == home && !it.lossy && it.acked_by == from;
        for figure in self.figures.values_mut().filter(told) {
            (figure.floor, figure.synced) = (figure.acked, figure.acked);
        }
    }

    /// A process is dead.
    pub(crate) fn dead(&mut self, process: Process) {
        for figure in self.figures.values_mut() {
            figure.written_at.retain(|(of, ..)| *of != process);
        }
    }
}
