//! Watcher: one prefix, kept up to date.
//!
//! A read of the whole prefix at one revision, then the changes after it. Whatever ends the changes (outage, compaction,
//! a node of etcd without a leader) leads to a new read: an etcd that was restored or begun anew counts its revisions
//! from somewhere else.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use etcd_client::{EventType, GetOptions, KeyValue, WatchOptions, WatchResponse, WatchStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::backoff::Backoff;
use super::wire::Failure;
use super::{Shared, entry, number};
use crate::discovery::{Entry, View};

/// Entries of one answer; a view of more is read in parts, all at the revision of the first.
const PAGE: i64 = 1000;
/// The largest answer, bytes. A page of the largest values would not fit; the ones of this cluster are small.
const ANSWER_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Changes that arrived for so long count as good ones: the next pause is short again.
const GOOD: Duration = Duration::from_secs(5);

type Sender = watch::Sender<Arc<View>>;

/// Until nobody looks at the view.
pub(super) async fn run(shared: Arc<Shared>, prefix: String, view: Sender) {
    let mut backoff = Backoff::default();
    let mut told = None;
    loop {
        let begun = Instant::now();
        let end = tokio::select! {
            end = follow(&shared, &prefix, &view) => end,
            () = view.closed() => {
                if forget(&shared, &prefix, &view) {
                    return;
                }
                continue;
            }
        };
        debug!(prefix, ?end, "a view ends, read anew");
        if let Failure::Refused(why) = &end
            && told.as_ref() != Some(why)
        {
            warn!(prefix, why, "etcd refuses a view, asking again and again");
            told = Some(why.clone());
        }
        if begun.elapsed() >= GOOD {
            backoff = Backoff::default();
        }
        if end != Failure::Compacted {
            stale(&view);
        }
        sleep(backoff.pause()).await;
    }
}

/// Whether nobody looks still, and nobody will.
fn forget(shared: &Shared, prefix: &str, view: &Sender) -> bool {
    let mut views = shared.views.lock().unwrap_or_else(PoisonError::into_inner);
    let idle = view.receiver_count() == 0;
    if idle {
        views.remove(prefix);
    }
    idle
}

fn stale(view: &Sender) {
    view.send_if_modified(|view| view.fresh && std::mem::take(&mut Arc::make_mut(view).fresh));
}

/// Reads the view and follows its changes; why that ended.
async fn follow(shared: &Shared, prefix: &str, view: &Sender) -> Failure {
    let mut away = shared.away.subscribe();
    away.mark_unchanged();
    let (entries, revision) = match read(shared, prefix).await {
        Ok(read) => read,
        Err(failure) => return failure,
    };
    let read = View { entries, revision: number(revision), fresh: true };
    view.send_if_modified(|view| {
        let news = **view != read;
        *view = Arc::new(read);
        news
    });
    let mut changes = match changes(shared, prefix, revision + 1).await {
        Ok(changes) => changes,
        Err(failure) => return failure,
    };
    loop {
        tokio::select! {
            message = changes.message() => match message {
                Ok(Some(message)) if message.canceled() => {
                    return if message.compact_revision() > 0 {
                        Failure::Compacted
                    } else {
                        Failure::Away(format!("watch cancelled: {}", message.cancel_reason()))
                    };
                }
                Ok(Some(message)) => apply(shared, view, &message),
                Ok(None) => return Failure::Away("the watch has ended".into()),
                Err(error) => return Failure::from(&error),
            },
            // A connection that is silent may be a broken one; the keeper asks all the time.
            () = turns(&mut away) => return Failure::Away("the lease gets no answer".into()),
        }
    }
}

/// Completes when the keeper loses etcd; not if it had lost it before. Cancel safe.
async fn turns(away: &mut watch::Receiver<bool>) {
    while away.changed().await.is_ok() {
        if *away.borrow_and_update() {
            return;
        }
    }
}

async fn read(shared: &Shared, prefix: &str) -> Result<(BTreeMap<String, Entry>, i64), Failure> {
    let start = shared.path(prefix);
    let end = after(&start);
    let mut entries = BTreeMap::new();
    let (mut from, mut revision) = (start.into_bytes(), 0);
    loop {
        let answer = shared.wire.call(|client| {
            let mut kv = client.kv_client().max_decoding_message_size(ANSWER_MAX_BYTES);
            let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE).with_revision(revision);
            let from = from.clone();
            async move { kv.get(from, Some(options)).await }
        });
        let answer = answer.await?;
        if revision == 0 {
            revision = answer.header().map_or(0, |header| header.revision());
        }
        entries.extend(answer.kvs().iter().filter_map(|kv| Some((name(shared, kv)?, entry(kv)))));
        match answer.kvs().last() {
            Some(last) if answer.more() => {
                from = last.key().to_vec();
                from.push(0);
            }
            _ => return Ok((entries, revision)),
        }
    }
}

async fn changes(shared: &Shared, prefix: &str, from: i64) -> Result<WatchStream, Failure> {
    let path = shared.path(prefix);
    let stream = shared.wire.call(|client| {
        let mut watch = client.watch_client().max_decoding_message_size(ANSWER_MAX_BYTES);
        let options = WatchOptions::new().with_prefix().with_start_revision(from);
        let path = path.clone();
        async move { watch.watch(path, Some(options)).await }
    });
    stream.await
}

fn apply(shared: &Shared, view: &Sender, message: &WatchResponse) {
    let revision = message.header().map_or(0, |header| header.revision());
    let events = message.events();
    if events.is_empty() {
        return;
    }
    view.send_modify(|view| {
        let view = Arc::make_mut(view);
        view.revision = view.revision.max(number(revision));
        for event in events {
            let Some((kv, name)) = event.kv().and_then(|kv| Some((kv, name(shared, kv)?))) else { continue };
            match event.event_type() {
                EventType::Put => view.entries.insert(name, entry(kv)),
                EventType::Delete => view.entries.remove(&name),
            };
        }
    });
}

/// The key as the seam knows it; none if it is no text, since none of us has written it.
fn name(shared: &Shared, kv: &KeyValue) -> Option<String> {
    let name = kv.key_str().ok()?.strip_prefix(&shared.root)?;
    Some(name.to_owned())
}

/// The first key after all that begin with `prefix`, which is a text and so has a byte below 0xff.
fn after(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
