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
use super::shard::{Ears, Exit, Shard};
use crate::actor::{Actor, Crew, HandOver, Live, Order, Sandbox, Services};
use crate::journal::Past;
use crate::plugin::{LoadError, Version};

/// What a shard is born with.
pub(super) struct Birth {
    pub(super) crew: Arc<Crew>,
    pub(super) name: Arc<str>,
    pub(super) live: Live,
    /// What an earlier process left of it.
    pub(super) past: Option<Past>,
    pub(super) services: Services,
    /// What all streams of the node keep.
    pub(super) unread: Arc<Unread>,
    pub(super) metrics: ServiceMetrics,
    pub(super) ears: Ears,
    /// Told once the shard serves or is down.
    pub(super) ready: oneshot::Sender<()>,
}

/// Runs a shard until the node ends.
pub(super) async fn run(birth: Birth) {
    let Birth { crew, name, live, mut past, services, unread, metrics, mut ears, ready } = birth;
    let mut ready = Some(ready);
    let mut version = live.version;
    let mut fallback = live.fallback;
    loop {
        let why = match begin(&crew, &version, fallback.take(), &name, past.as_ref()) {
            Ok(sandbox) => {
                let back = past.take().is_some();
                let actor = Actor::new(Arc::clone(&crew), Arc::clone(&name), sandbox);
                let (mut shard, answers) =
                    Shard::new(actor, services.clone(), Arc::clone(&unread), metrics.clone());
                if back {
                    shard.come_back();
                }
                ready.take().map(|ready| ready.send(()));
                match shard.run(&mut ears, answers).await {
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
                crew.world().journal.base_and_inputs(&name, &past.base, &past.inputs);
            }
        };
        let next = wait(&mut ears, &why, rewrite).await;
        metrics.shards_down.dec();
        match next {
            Some(next) => version = next,
            None => break,
        }
        info!(shard = %name, %version, "shard tries again");
    }
    ears.mailbox.close();
    crew.dismiss(&name);
}

fn begin(
    crew: &Arc<Crew>,
    version: &Arc<Version>,
    fallback: Option<Arc<Version>>,
    name: &Arc<str>,
    past: Option<&Past>,
) -> Result<Sandbox, String> {
    let world = crew.world().clone();
    crate::blocking::in_place(|| match past {
        Some(past) => {
            Sandbox::restore(world, version, Arc::clone(name), past).map_err(|error| error.to_string())
        }
        None => {
            let open = |version, fallback| {
                let (world, env) = (crew.world().clone(), crew.new_env());
                Sandbox::open(world, version, fallback, Arc::clone(name), Arc::from([]), env)
            };
            match open(version, fallback.clone()) {
                Err(LoadError::Fault(fault)) if let Some(fallback) = &fallback => {
                    crew.report(version, &fault);
                    open(fallback, None)
                }
                opened => opened,
            }
            .map_err(|error| error.to_string())
        }
    })
}

/// Turns requests away until there is another version to try; none if the node ends.
async fn wait(ears: &mut Ears, why: &str, rewrite: impl Fn()) -> Option<Arc<Version>> {
    let refusal = || Failure::new(Code::Unavailable, format!("the shard is down: {why}"));
    loop {
        tokio::select! {
            order = ears.orders.recv() => match order? {
                Order::Stop => return None,
                Order::Swap(version, answer) | Order::Revert(version, answer) => {
                    // It stands still anyway; what becomes of it does not hold up the others.
                    let _ = answer.send(Ok(HandOver::default()));
                    return Some(version);
                }
                // Nothing to rehearse on: the asker is told by the answer's end being dropped.
                Order::Snapshot(_) | Order::Weigh(_) | Order::Keeps(..) => {}
                // It stands aside already.
                Order::SetAside(answer) => drop(answer.send(Ok(()))),
                Order::Rewrite => rewrite(),
                Order::Checkpoint | Order::Rest | Order::Confirm { .. } => {}
            },
            request = ears.mailbox.recv() => match request? {
                Request::Unary { answer, .. } => drop(answer.send(Err(refusal()))),
                Request::Subscribe { answer, .. } => drop(answer.send(Err(refusal()))),
            },
            Some(_) = ears.gone.recv() => {}
        }
    }
}
