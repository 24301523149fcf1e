//! Down: a shard's task from the outside, and the shard that cannot serve.
//!
//! A shard whose state no version takes does not begin anew, since that would lose what clients were promised. It stays
//! down: requests get UNAVAILABLE, what the journal has of it is kept, and the next deployment is another chance.

use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::{error, info};

use super::frames::Unread;
use super::metrics::ServiceMetrics;
use super::request::{Code, Failure, Request};
use super::shard::{Exit, Inbox, Shard};
use crate::actor::{Actor, ActorCommand, ActorGroup, HandOver, Live, Sandbox, Services};
use crate::journal::SavedState;
use crate::plugin::{LoadError, Version};

/// What a shard is born with.
pub(super) struct ShardInit {
    pub(super) group: Arc<ActorGroup>,
    pub(super) name: Arc<str>,
    pub(super) live: Live,
    /// What an earlier process left of it.
    pub(super) past: Option<SavedState>,
    pub(super) services: Services,
    /// What all streams of the node keep.
    pub(super) unread: Arc<Unread>,
    pub(super) metrics: ServiceMetrics,
    pub(super) inbox: Inbox,
    /// Told once the shard serves or is down.
    pub(super) ready: oneshot::Sender<()>,
}

/// Runs a shard until the node ends.
pub(super) async fn run(init: ShardInit) {
    let ShardInit { group, name, live, mut past, services, unread, metrics, mut inbox, ready } = init;
    let mut ready = Some(ready);
    let mut version = live.version;
    let mut fallback = live.fallback;
    loop {
        let why = match begin(&group, &version, fallback.take(), &name, past.as_ref()) {
            Ok(sandbox) => {
                let back = past.take().is_some();
                let actor = Actor::new(Arc::clone(&group), Arc::clone(&name), sandbox);
                let (mut shard, answers) =
                    Shard::new(actor, services.clone(), Arc::clone(&unread), metrics.clone());
                if back {
                    shard.come_back();
                }
                ready.take().map(|ready| ready.send(()));
                match shard.run(&mut inbox, answers).await {
                    Exit::Stopped => break,
                    Exit::Down(why, sandbox) => {
                        past = Some(sandbox.past());
                        why
                    }
                }
            }
            Err(why) => why,
        };
        ready.take().map(|ready| ready.send(()));
        error!(shard = %name, %version, why, "shard is down; deploy a version that takes its state");
        metrics.shards_down.inc();
        let rewrite = || {
            if let Some(past) = &past {
                group.world().journal.base_and_inputs(&name, &past.base, &past.inputs);
            }
        };
        let next = wait(&mut inbox, &why, rewrite).await;
        metrics.shards_down.dec();
        match next {
            Some(next) => version = next,
            None => break,
        }
        info!(shard = %name, %version, "shard tries again");
    }
    inbox.mailbox.close();
    group.remove(&name);
}

fn begin(
    group: &Arc<ActorGroup>,
    version: &Arc<Version>,
    fallback: Option<Arc<Version>>,
    name: &Arc<str>,
    past: Option<&SavedState>,
) -> Result<Sandbox, String> {
    let world = group.world().clone();
    crate::blocking::in_place(|| match past {
        Some(past) => {
            Sandbox::restore(world, version, Arc::clone(name), past).map_err(|error| error.to_string())
        }
        None => {
            let open = |version, fallback| {
                let (world, env) = (group.world().clone(), group.new_env());
                Sandbox::open(world, version, fallback, Arc::clone(name), Arc::from([]), env)
            };
            match open(version, fallback.clone()) {
                Err(LoadError::Fault(fault)) if let Some(fallback) = &fallback => {
                    group.report(version, &fault);
                    open(fallback, None)
                }
                opened => opened,
            }
            .map_err(|error| error.to_string())
        }
    })
}

/// Turns requests away until there is another version to try; none if the node ends.
async fn wait(inbox: &mut Inbox, why: &str, rewrite: impl Fn()) -> Option<Arc<Version>> {
    let refusal = || Failure::new(Code::Unavailable, format!("the shard is down: {why}"));
    loop {
        tokio::select! {
            order = inbox.commands.recv() => match order? {
                ActorCommand::Stop => return None,
                ActorCommand::Swap(version, answer) | ActorCommand::Revert(version, answer) => {
                    // It stands still anyway; what becomes of it does not hold up the others.
                    let _ = answer.send(Ok(HandOver::default()));
                    return Some(version);
                }
                // Nothing to rehearse on: the asker is told by the answer's end being dropped.
                ActorCommand::Snapshot(_) | ActorCommand::Weigh(_) | ActorCommand::Keeps(..) => {}
                // It stands aside already.
                ActorCommand::SetAside(answer) => drop(answer.send(Ok(()))),
                ActorCommand::Rewrite => rewrite(),
                ActorCommand::Checkpoint | ActorCommand::Rest | ActorCommand::Confirm { .. } => {}
            },
            request = inbox.mailbox.recv() => match request? {
                Request::Unary { answer, .. } => drop(answer.send(Err(refusal()))),
                Request::Subscribe { answer, .. } => drop(answer.send(Err(refusal()))),
            },
            Some(_) = inbox.gone.recv() => {}
        }
    }
}
