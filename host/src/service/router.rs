//! Service router: all service plugins of this node, and the way of a request to its shard.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use hotseat_build::{Digest, Method, MethodKind};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::down::{self, ShardInit};
use super::frames::Unread;
use super::metrics::ServiceMetrics;
use super::request::{Code, Failure, Request};
use super::shard::Inbox;
use super::stream::{self, Messages, Queue};
use super::wire;
use crate::actor::{ActorGroup, COMMANDS, RegisterError, Services, spread};
use crate::files;
use crate::journal::SavedState;
use crate::plugin::Version;

/// Bounds of the services; the configuration's keys of the same names say more.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Shards of each service.
    pub shards: u32,
    /// Requests a shard's mailbox holds.
    pub shard_mailbox: usize,
    /// Messages a stream's client may leave unread.
    pub stream_messages: usize,
    /// Bytes it may leave unread.
    pub stream_bytes: usize,
    /// Bytes that all streams together may keep for clients that have not read them.
    pub streams_bytes: usize,
    /// Streams that may be open at a time.
    pub max_streams: usize,
}

/// What the service router is made of.
pub struct ServiceRouterParts {
    /// Where the number of shards is written down.
    pub data_dir: PathBuf,
    /// Limits.
    pub bounds: Bounds,
    /// Counters.
    pub metrics: ServiceMetrics,
    /// What guests may call.
    pub services: Services,
}

/// All services of this node.
pub struct ServiceRouter {
    parts: ServiceRouterParts,
    plugins: Vec<Plugin>,
    unread: Arc<Unread>,
    tasks: TaskTracker,
}

struct Plugin {
    group: Arc<ActorGroup>,
    shards: Vec<Handle>,
}

struct Handle {
    mailbox: mpsc::Sender<Request>,
    gone: mpsc::UnboundedSender<u64>,
}

/// Why a service does not start.
#[derive(Debug, thiserror::Error)]
pub enum ShardsError {
    /// The data belongs to another number of shards.
    #[error(
        "plugin {plugin}: its data in {path} is spread over {found} shards, shards = {wanted}; start it with \
         --shards {found}, or move the data directory away to begin anew"
    )]
    Count {
        /// The plugin.
        plugin: String,
        /// Where it is written.
        path: PathBuf,
        /// What stands there.
        found: String,
        /// In the configuration.
        wanted: u32,
    },
    /// The number cannot be read or written.
    #[error("plugin {plugin}: {path}: {source}")]
    Io {
        /// The plugin.
        plugin: String,
        /// Where it is written.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nothing can begin.
    #[error(transparent)]
    Enlist(#[from] RegisterError),
}

/// Where a request goes.
pub(super) struct Route<'a> {
    plugin: &'a Plugin,
    version: Arc<Version>,
}

impl ServiceRouter {
    /// A service router without services.
    pub fn new(parts: ServiceRouterParts) -> Self {
        let unread = Unread::new(parts.bounds.streams_bytes, parts.metrics.unread.clone());
        Self { parts, plugins: Vec::new(), unread, tasks: TaskTracker::new() }
    }

    /// The name of a shard, in the journal and in logs. No room has a `#` in its name.
    pub fn shard_name(plugin: &str, shard: u32) -> String {
        format!("{plugin}#{shard}")
    }

    /// The plugin that a name of the journal belongs to, if it is a shard's.
    pub fn plugin_of(name: &str) -> Option<&str> {
        name.split_once('#').map(|(plugin, _)| plugin)
    }

    /// Starts all shards of a plugin whose version is live, from what an earlier process left of them, and waits until
    /// each serves or is down.
    ///
    /// # Errors
    /// See [`ShardsError`]; nothing has been changed.
    pub async fn add(
        &mut self,
        group: Arc<ActorGroup>,
        mut saved_states: BTreeMap<String, SavedState>,
    ) -> Result<(), ShardsError> {
        let wanted = self.parts.bounds.shards;
        check_count(&self.parts.data_dir, group.plugin(), wanted, saved_states.is_empty())?;
        let mut shards = Vec::new();
        let mut all_ready = Vec::new();
        for shard in 0..wanted {
            let name: Arc<str> = Self::shard_name(group.plugin(), shard).into();
            let (orders_sender, commands) = mpsc::channel(COMMANDS);
            let live = group.register(&name, orders_sender)?;
            let (mailbox_sender, mailbox) = mpsc::channel(self.parts.bounds.shard_mailbox);
            let (gone_sender, gone) = stream::words();
            let (ready, is_ready) = oneshot::channel();
            all_ready.push(is_ready);
            shards.push(Handle { mailbox: mailbox_sender, gone: gone_sender });
            self.tasks.spawn(down::run(ShardInit {
                group: Arc::clone(&group),
                past: saved_states.remove(&*name),
                name,
                live,
                services: self.parts.services.clone(),
                unread: Arc::clone(&self.unread),
                metrics: self.parts.metrics.clone(),
                inbox: Inbox { mailbox, commands, gone },
                ready,
            }));
        }
        for ready in all_ready {
            // A shard that ends at once is ready for nothing, which is as good.
            let _ = ready.await;
        }
        self.plugins.push(Plugin { group, shards });
        Ok(())
    }

    /// The plugins' crews.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<ActorGroup>> {
        self.plugins.iter().map(|plugin| &plugin.group)
    }

    /// Ends all shards and waits for them.
    pub async fn stop(&self) {
        for plugin in &self.plugins {
            plugin.group.stop().await;
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The live versions, and the services each declares.
    pub(super) fn versions(&self) -> Vec<Arc<Version>> {
        self.plugins.iter().filter_map(|plugin| Some(plugin.group.live()?.version)).collect()
    }

    /// What is live, by digest.
    pub(super) fn digests(&self) -> Vec<Digest> {
        self.versions().iter().map(|version| version.digest()).collect()
    }

    /// Finds who serves `package.Service/Method`.
    pub(super) fn route(&self, path: &str) -> Result<Route<'_>, Failure> {
        let service = path.split_once('/').map_or(path, |(service, _)| service);
        for plugin in &self.plugins {
            let Some(live) = plugin.group.live() else { continue };
            if live.version.services().iter().any(|known| known == service) {
                return Ok(Route { plugin, version: live.version });
            }
        }
        Err(Failure::new(Code::Unimplemented, format!("this node serves no {service}")))
    }

    /// Counts an answer.
    pub(super) fn count(&self, route: &Route<'_>, status: i32) {
        let labels = [route.plugin.group.plugin(), &status.to_string()];
        self.parts.metrics.requests.with_label_values(&labels).inc();
    }

    /// Asks the shard that a unary request belongs to.
    pub(super) async fn unary(
        &self,
        route: &Route<'_>,
        method: &Method,
        body: Bytes,
    ) -> Result<Bytes, Failure> {
        let (answer, answered) = oneshot::channel();
        let query = method.kind == MethodKind::Query;
        let shard = route.shard(method, &body)?;
        shard.ask(Request::Unary { method: method.path.as_str().into(), body, query, answer })?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Begins a stream at the shard that the request belongs to.
    pub(super) async fn subscribe(
        &self,
        route: &Route<'_>,
        method: &Method,
        body: Bytes,
    ) -> Result<Messages, Failure> {
        let most = self.parts.bounds.max_streams;
        if usize::try_from(self.parts.metrics.streams.get()).unwrap_or(0) >= most {
            return Err(Failure::new(
                Code::ResourceExhausted,
                format!("max_streams limit of {most} reached"),
            ));
        }
        let bounds = stream::Bounds {
            messages: self.parts.bounds.stream_messages,
            bytes: self.parts.bounds.stream_bytes,
        };
        let queue = Arc::new(Queue::new(bounds, Arc::clone(&self.unread)));
        let (answer, answered) = oneshot::channel();
        let shard = route.shard(method, &body)?;
        let method = method.path.as_str().into();
        shard.ask(Request::Subscribe { method, body, queue: Arc::clone(&queue), answer })?;
        let channel = answered.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(Messages { queue, channel, gone: shard.gone.clone() })
    }
}

impl<'a> Route<'a> {
    /// The method as the live version declares it.
    pub(super) fn method(&self, path: &str) -> Result<&Method, Failure> {
        let unknown = || Failure::new(Code::Unimplemented, format!("{} has no method {path}", self.version));
        self.version.method(path).ok_or_else(unknown)
    }

    fn shard(&self, method: &Method, body: &[u8]) -> Result<&'a Handle, Failure> {
        let malformed = |_| {
            let text = format!("the request of {} is no protobuf message", method.path);
            Failure::new(Code::Internal, text)
        };
        let id = wire::integer(body, method.shard_field).map_err(malformed)?;
        let at = spread(id, self.plugin.shards.len() as u64);
        Ok(&self.plugin.shards[usize::try_from(at).expect("it is below the number of shards")])
    }
}

impl Handle {
    fn ask(&self, request: Request) -> Result<(), Failure> {
        self.mailbox.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                let most = self.mailbox.max_capacity();
                Failure::new(
                    Code::ResourceExhausted,
                    format!("shard_mailbox limit of {most} reached, try later"),
                )
            }
            mpsc::error::TrySendError::Closed(_) => gone(),
        })
    }
}

fn gone() -> Failure {
    Failure::new(Code::Unavailable, "the shard went away; whether the request was carried out is not known")
}

/// Data spread over one number of shards cannot be served by another one.
fn check_count(data_dir: &Path, plugin: &str, wanted: u32, fresh: bool) -> Result<(), ShardsError> {
    let path = data_dir.join("plugins").join(plugin).join("shards");
    let io = |source| ShardsError::Io { plugin: plugin.to_owned(), path: path.clone(), source };
    match std::fs::read_to_string(&path) {
        Ok(found) if found.trim() == wanted.to_string() => return Ok(()),
        Ok(found) if !fresh => {
            let found = found.trim().chars().take(20).collect();
            return Err(ShardsError::Count { plugin: plugin.to_owned(), path, found, wanted });
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
    }
    files::write_whole(&path, format!("{wanted}\n").as_bytes()).map_err(io)
}
