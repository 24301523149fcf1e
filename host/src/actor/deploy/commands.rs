//! Orders to many rooms, and their answers.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use crate::actor::group::ActorHandle;
use crate::actor::{ActorCommand, HandOver};
use crate::journal::Journal;

/// How long a room may take to answer an order before the deployment gives it up.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the disk may take to have space for a room's state before the deployment gives that up.
const DISK_PATIENCE: Duration = Duration::from_secs(30);

/// States that are handed over at a time, KiB: each stands several times in memory meanwhile. A larger one goes alone.
const UNDER_WAY_KIB: usize = 64 << 10;

/// How often it is looked whether the disk has space, and how the node does.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// A room's name and what it answered; nothing if it had ended.
pub(super) type Answer = (Arc<str>, Result<Option<HandOver>, String>);

/// What the hand-over of many rooms came to.
pub(super) struct Course {
    pub(super) answers: Vec<Answer>,
    /// Bytes of states that were under way at a time or waited for the disk, at most.
    pub(super) peak_bytes: usize,
    /// The longest that the node kept somebody waiting meanwhile: a room that could not write, or a task that was ready.
    pub(super) stalled: Duration,
}

impl Course {
    /// The first room that could not, and why.
    pub(super) fn failed(&self) -> Option<(String, String)> {
        let mut failed =
            self.answers.iter().filter_map(|(room, answer)| Some((room, answer.as_ref().err()?)));
        failed.next().map(|(room, why)| (room.to_string(), why.clone()))
    }

    /// Bytes of all states that were handed over.
    pub(super) fn bytes(&self) -> u64 {
        let handed = self.answers.iter().filter_map(|(_, answer)| answer.as_ref().ok().copied().flatten());
        handed.map(|handed| handed.bytes as u64).sum()
    }

    /// How long the rooms stood still, sorted.
    pub(super) fn pauses(&self) -> Vec<Duration> {
        let handed = self.answers.iter().filter_map(|(_, answer)| answer.as_ref().ok().copied().flatten());
        let mut pauses: Vec<_> = handed.map(|handed| handed.pause).collect();
        pauses.sort();
        pauses
    }

    /// The longest that players waited: for their room, or for the node.
    pub(super) fn waited(&self) -> Duration {
        self.pauses().last().copied().unwrap_or_default().max(self.stalled)
    }
}

/// Gives every room an order, a few at a time: a hand-over keeps a core busy, and rooms whose turn has not come play
/// on meanwhile. Nor does one begin before the disk has space for its state beside the inputs of the others.
pub(super) async fn ask_all(
    journal: &Journal,
    rooms: Vec<ActorHandle>,
    order: impl Fn(oneshot::Sender<Result<HandOver, String>>) -> ActorCommand,
) -> Course {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let (order, turns) = (&order, &Semaphore::new(UNDER_WAY_KIB));
    let (under_way, peak) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
    let asked = rooms.into_iter().map(|room| async move {
        let bytes = match ask(&room, ActorCommand::Weigh).await {
            Some(Ok(weight)) => weight.last,
            // One that is down weighs nothing and answers at once; one that has ended does so below.
            Some(Err(_)) | None => 0,
        };
        let kib = u32::try_from(bytes.div_ceil(1024).clamp(1, UNDER_WAY_KIB)).unwrap_or(u32::MAX);
        let _turn = turns.acquire_many(kib).await.expect("nobody closes it");
        if tokio::time::timeout(DISK_PATIENCE, space(journal, bytes, under_way)).await.is_err() {
            return (
                room.name,
                Err(format!("the disk has had no space for its state for {DISK_PATIENCE:?}")),
            );
        }
        let now = under_way.fetch_add(bytes, Ordering::Relaxed) + bytes;
        peak.fetch_max(now + journal.waiting(), Ordering::Relaxed);
        let answer = match ask(&room, order).await {
            Some(answer) => answer.map(Some),
            None => Ok(None),
        };
        under_way.fetch_sub(bytes, Ordering::Relaxed);
        peak.fetch_max(journal.waiting(), Ordering::Relaxed);
        (room.name, answer)
    });
    let all = stream::iter(asked).buffer_unordered(cores.saturating_sub(1).max(1)).collect::<Vec<_>>();
    let mut stalled = Duration::ZERO;
    let answers = tokio::select! {
        biased;
        answers = all => answers,
        () = look(journal, &mut stalled) => Vec::new(),
    };
    Course { answers, peak_bytes: peak.load(Ordering::Relaxed), stalled }
}

/// Waits until the disk has space for a state beside those that are under way.
async fn space(journal: &Journal, bytes: usize, under_way: &AtomicUsize) {
    while !journal.takes_base(bytes, under_way.load(Ordering::Relaxed)) {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Notes the longest that tasks of this node wait for a thread, or rooms for the journal. Never ends.
async fn look(journal: &Journal, longest: &mut Duration) {
    let mut full_since = None;
    loop {
        let before = Instant::now();
        tokio::time::sleep(POLL_INTERVAL).await;
        *longest = (*longest).max(before.elapsed().saturating_sub(POLL_INTERVAL));
        match journal.is_full() {
            true => {
                let since: Instant = *full_since.get_or_insert(before);
                *longest = (*longest).max(since.elapsed());
            }
            false => full_since = None,
        }
    }
}

/// Gives a room an order and awaits the answer; none if the room has ended.
pub(super) async fn ask<T>(
    room: &ActorHandle,
    order: impl FnOnce(oneshot::Sender<Result<T, String>>) -> ActorCommand,
) -> Option<Result<T, String>> {
    let (sender, answer) = oneshot::channel();
    room.commands.send(order(sender)).await.ok()?;
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.ok(),
        Err(_) => Some(Err(format!("no answer within {PATIENCE:?}"))),
    }
}
