//! Simulated: a table that somebody else keeps: the simulator of the cluster, with an etcd that it can slow down, cut off
//! and empty.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::{DiscoveryError, Entry, Hold, Lease, Same, View, Written};

/// On what a write depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// On nothing.
    Always,
    /// There is no such entry.
    Absent,
    /// The entry has not changed since this revision.
    At(u64),
}

/// An answer under way.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DiscoveryError>> + Send + 'a>>;

/// What [`super::Discovery`] needs of a table; its methods say what each is to do.
pub trait Simulated: Debug + Send + Sync {
    /// See [`super::Discovery::watch`].
    fn watch(&self, prefix: &str) -> watch::Receiver<Arc<View>>;
    /// See [`super::Discovery::get`].
    fn get(&self, key: &str) -> Answer<'_, Option<Entry>>;
    /// Writes an entry if the condition holds; no value removes it.
    fn write(&self, key: &str, value: Option<Vec<u8>>, hold: Hold, on: Condition) -> Answer<'_, Written>;
    /// See [`super::Discovery::register`]; the registration's number.
    fn register(&self, key: &str, value: Vec<u8>) -> u64;
    /// See [`super::Discovery::register_own`]; the registration's number.
    fn register_own(&self, key: &str, value: Vec<u8>, same: Same) -> u64;
    /// See [`super::Discovery::taken`].
    fn taken(&self) -> watch::Receiver<Option<Bytes>>;
    /// Changes what was registered under this number or, without a value, removes it.
    fn update(&self, key: &str, token: u64, value: Option<Vec<u8>>);
    /// See [`super::Discovery::lease`].
    fn lease(&self) -> watch::Receiver<Lease>;
    /// See [`super::Discovery::close`].
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}
