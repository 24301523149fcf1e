//! Claim: how a node comes to its machine number.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::super::error::SnowflakeError;
use super::super::generator::MACHINES;
use super::super::memory::Memory;
use super::entry::{self, Claim, Mark};
use super::{CLAIMS, Held, Keeper, LEAD_MS, MARKS, Standing, Stuck};
use crate::discovery::{DiscoveryError, Entry, Hold, View, Written};

/// Between two attempts to claim a number, unless a claim of another node ends.
const RETRY: Duration = Duration::from_millis(500);
/// A mark so far ahead of the clock is worth a warning, milliseconds.
const FAR_MS: u64 = 60_000;

/// What became of an attempt.
enum Attempt {
    Held(Held),
    /// Another number may do.
    Stuck(Stuck),
    /// Something changed in between: again.
    Again,
}

impl Keeper {
    /// Until there is a number.
    pub(super) async fn claim(&self, claims: &mut watch::Receiver<Arc<View>>, last: Option<Memory>) -> Held {
        let mut told = None;
        loop {
            self.discovery.ready().await;
            let view = Arc::clone(&claims.borrow_and_update());
            let stuck = match self.discovery.holds() {
                Some(epoch) if view.fresh => match self.any(epoch, &view, last).await {
                    Ok(Attempt::Held(held)) => return held,
                    Ok(Attempt::Stuck(stuck)) => Some(stuck),
                    Ok(Attempt::Again) => None,
                    Err(error) => {
                        // Discovery itself says when it is away.
                        if !matches!(error, DiscoveryError::Away { .. } | DiscoveryError::NoLease { .. }) {
                            error!(
                                error = &error as &dyn std::error::Error,
                                "no machine number can be claimed"
                            );
                        }
                        None
                    }
                },
                _ => None,
            };
            let malformed = matches!(stuck, Some(Stuck::Malformed { .. }));
            if let Some(stuck) = stuck {
                let why = SnowflakeError::from(stuck.clone()).to_string();
                self.ids.lose(&why);
                if told.as_ref() != Some(&why) {
                    warn!(why, "no machine number: waiting");
                    told = Some(why);
                }
                self.standing.send_replace(Standing::Stuck(stuck));
            }
            tokio::select! {
                // It fails when discovery is gone, and this is a hand on it. Of a bad mark only time brings news: what
                // changes is the claim that was tried.
                _ = claims.changed(), if !malformed => {}
                () = sleep(RETRY) => {}
            }
        }
    }

    /// The number to have; or the one had last, or the lowest that is free.
    async fn any(&self, epoch: u64, view: &View, last: Option<Memory>) -> Result<Attempt, DiscoveryError> {
        if let Some(number) = self.fixed {
            return self.one(number, epoch, last).await;
        }
        let free = |number: &u16| !view.entries.contains_key(&format!("{CLAIMS}{number}"));
        let preferred = last.map(|memory| memory.machine);
        let others = (0..MACHINES).filter(free).filter(|number| Some(*number) != preferred);
        let mut stuck = None;
        for number in preferred.into_iter().chain(others) {
            match self.one(number, epoch, last).await? {
                Attempt::Stuck(Stuck::Malformed { key, value }) => {
                    warn!(key, value, "malformed: this machine number is left out");
                    stuck = Some(Stuck::Malformed { key, value });
                }
                Attempt::Stuck(why) => stuck = stuck.or(Some(why)),
                other => return Ok(other),
            }
        }
        Ok(stuck.map_or(Attempt::Again, Attempt::Stuck))
    }

    async fn one(&self, number: u16, epoch: u64, last: Option<Memory>) -> Result<Attempt, DiscoveryError> {
        let key = format!("{CLAIMS}{number}");
        let claim = Claim { node: self.node_id.clone(), process: self.process, epoch };
        let claim_revision = match self.discovery.create(&key, claim.bytes(), Hold::Lease).await? {
            Written::Done(revision) => revision,
            Written::Refused(None) => return Ok(Attempt::Again),
            Written::Refused(Some(entry)) => match Claim::read(&entry.value) {
                // Written by an attempt that had no answer.
                Some(standing) if standing == claim => entry.revision,
                Some(standing) if standing.process == self.process => {
                    self.discovery.remove(&key, entry.revision).await?;
                    return Ok(Attempt::Again);
                }
                standing => {
                    let holder = standing.map_or_else(|| entry::shown(&entry.value), |claim| claim.node);
                    return Ok(Attempt::Stuck(Stuck::Taken { number, holder }));
                }
            },
        };
        // Under which lease is certain only if there was one all the time.
        if self.discovery.holds() != Some(epoch) {
            return Ok(Attempt::Again);
        }
        let key = format!("{MARKS}{number}");
        let standing = self.discovery.get(&key).await?;
        let begin_ms = match self.begin_ms(number, standing.as_ref(), last) {
            Ok(begin_ms) => begin_ms,
            Err(value) => {
                self.discovery.remove(&format!("{CLAIMS}{number}"), claim_revision).await?;
                let key = self.discovery.full_key(&key);
                return Ok(Attempt::Stuck(Stuck::Malformed { key, value }));
            }
        };
        let mark_ms = self.mark_ms(begin_ms);
        let bytes = self.mark(mark_ms).bytes();
        let written = match standing {
            None => self.discovery.create(&key, bytes, Hold::Forever).await?,
            Some(entry) => self.discovery.replace(&key, entry.revision, bytes, Hold::Forever).await?,
        };
        let Written::Done(mark_revision) = written else { return Ok(Attempt::Again) };
        self.remember(number, mark_ms).await;
        if self.discovery.holds() != Some(epoch) {
            return Ok(Attempt::Again);
        }
        let ahead_ms = begin_ms.saturating_sub(self.ids.generator().now_ms());
        if ahead_ms > FAR_MS {
            warn!(
                machine = number,
                ahead_ms, "this number's ids are ahead of the clock, and go on from there"
            );
        }
        self.ids.generator().open(number, begin_ms, mark_ms);
        self.ids.hold(number, epoch);
        info!(machine = number, "machine number claimed");
        self.standing.send_replace(Standing::Held(number));
        Ok(Attempt::Held(Held { number, epoch, claim_revision, mark_revision, mark_ms }))
    }

    /// Where this number's ids begin; what stands there if that is no mark.
    fn begin_ms(&self, number: u16, standing: Option<&Entry>, last: Option<Memory>) -> Result<u64, String> {
        let written = match standing {
            Some(entry) => Mark::read(&entry.value).ok_or_else(|| entry::shown(&entry.value))?.mark_ms,
            // Nobody has had it, or the table has lost what it knew. Somebody who had it may have issued up to here.
            None if last.is_some() => self.ids.generator().now_ms() + LEAD_MS,
            None => 0,
        };
        Ok(match last {
            // What we had ourselves, we know.
            Some(Memory { machine, mark_ms }) if machine == number && standing.is_none() => mark_ms,
            Some(Memory { machine, mark_ms }) if machine == number => written.max(mark_ms),
            _ => written,
        })
    }
}

impl From<Stuck> for SnowflakeError {
    fn from(stuck: Stuck) -> Self {
        match stuck {
            Stuck::Taken { number, holder } => Self::Taken { number, holder },
            Stuck::Malformed { key, value } => Self::Malformed { key, value },
        }
    }
}
