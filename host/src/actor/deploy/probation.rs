//! Probation: a new version is watched for a while, and the way back to the one before is kept open for longer.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hotseat_build::Digest;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::commands::ask_all;
use super::phases::Reverted;
use super::{Deployer, Inner, Step};
use crate::actor::artefacts::EventKind;
use crate::actor::group::Live;
use crate::actor::{ActorCommand, Report};
use crate::plugin::{Fault, Version};

impl Deployer {
    /// Takes a version on probation back when it fails. Ends with the last sender of reports.
    pub async fn watch(self, mut reports: mpsc::Receiver<Report>) {
        while let Some(report) = reports.recv().await {
            match report {
                Report::Fault { version, fault } => self.inner.on_fault(&version, &fault).await,
                Report::NoWayBack { version, actor, why } => {
                    self.inner.on_no_way_back(&version, &format!("{actor}: {why}")).await;
                }
            }
        }
    }
}

impl Inner {
    async fn on_fault(&self, version: &Version, fault: &Fault) {
        let _turn = self.turn.lock().await;
        let Some(Live { version: live, fallback, .. }) = self.group.live() else { return };
        if live.digest() != version.digest() {
            return;
        }
        let Some(fallback) = fallback else {
            // The probation ended before word came of a room that had gone back by itself.
            return self.gather(&live, true).await;
        };
        warn!(plugin = self.group.plugin(), from = %live, to = %fallback, %fault, "version failed on probation");
        let course = self.revert(&live, &fallback).await;
        let failed = course.answers.iter().filter(|(_, answer)| answer.is_err()).count();
        if failed > 0 {
            error!(plugin = self.group.plugin(), rooms = failed, "rooms could not be taken back");
        }
        let why = format!("{live} failed: {fault}");
        self.record(EventKind::Reverted, &fallback, &why);
        // Told before the step is over: who sees neither sees the version that runs.
        self.reverted.send_replace(Some(Reverted { version: live.digest(), why }));
        self.set_step(Step::Idle);
    }

    /// One room cannot be given back any more. All rooms or none, so it is over for the others too.
    async fn on_no_way_back(&self, version: &Version, why: &str) {
        let _turn = self.turn.lock().await;
        let Some(Live { version: live, fallback, earlier: Some(earlier) }) = self.group.live() else {
            return;
        };
        if live.digest() != version.digest() {
            return;
        }
        let during = if fallback.is_some() { "probation" } else { "window" };
        self.group.metrics().rollback_lost.with_label_values(&[during]).inc();
        let plugin = self.group.plugin();
        warn!(plugin, version = %live, to = %earlier, why, during, "the way back to the version before ends early");
        self.note_closed(why);
        self.gather(&live, false).await;
        self.set_step(Step::Idle);
    }

    /// Makes `version` live for good, in the rooms too that are on another one. With `keep` they can still be given back
    /// by an operator, if they can now.
    pub(super) async fn gather(&self, version: &Arc<Version>, keep: bool) {
        let earlier =
            self.group.live().and_then(|live| live.earlier).filter(|earlier| {
                keep && !self.terms.window.is_zero() && earlier.digest() != version.digest()
            });
        let keep = earlier.is_some();
        let rooms = self.group.set_live(Live { version: Arc::clone(version), fallback: None, earlier });
        let journal = &self.group.world().journal;
        let course =
            ask_all(journal, rooms.clone(), |answer| ActorCommand::Swap(Arc::clone(version), answer)).await;
        for (room, why) in course.answers.into_iter().filter_map(|(room, answer)| Some((room, answer.err()?)))
        {
            error!(plugin = self.group.plugin(), %room, %version, why, "room runs another version than the node");
        }
        for room in rooms {
            // A room that has ended needs no word.
            let _ = room.commands.send(ActorCommand::Confirm { keep }).await;
        }
    }

    /// Ends the probation of `version` when its time has come. A node that has ended by then is not kept for it.
    pub(super) async fn confirm(deployer: Weak<Self>, probation: Duration, version: Arc<Version>) {
        tokio::time::sleep(probation).await;
        let Some(deployer) = deployer.upgrade() else { return };
        deployer.pass(version.digest()).await;
    }

    /// Ends the probation of `version`, if it is on probation.
    pub(super) async fn pass(&self, version: Digest) {
        let _turn = self.turn.lock().await;
        let Some(Live { version: live, fallback: Some(_), .. }) = self.group.live() else { return };
        if live.digest() != version {
            return;
        }
        self.gather(&live, true).await;
        self.set_step(Step::Idle);
        info!(plugin = self.group.plugin(), version = %live, "probation passed");
    }

    /// Drops what going back takes when the time for that is over, or the probation if that is later. `cut`: of which
    /// version, by its number.
    pub(super) async fn close_way_back(deployer: Weak<Self>, window: Duration, cut: u64) {
        tokio::time::sleep(window).await;
        let Some(deployer) = deployer.upgrade() else { return };
        let _turn = deployer.turn.lock().await;
        let Some(live) = deployer.group.live() else { return };
        if deployer.cuts.load(Ordering::Relaxed) != cut || live.earlier.is_none() {
            return;
        }
        let on_probation = live.fallback.is_some();
        deployer.note_closed(format!("rollback_window_ms = {} is over", window.as_millis()));
        let rooms = deployer.group.set_live(Live { earlier: None, ..live });
        if on_probation {
            return;
        }
        for room in rooms {
            // A room that has ended needs no word.
            let _ = room.commands.send(ActorCommand::Confirm { keep: false }).await;
        }
    }
}
