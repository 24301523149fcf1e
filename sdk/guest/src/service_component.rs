//! The exports of the world `service`, for any service.

use std::marker::PhantomData;

use crate::answer::Answer;
use crate::bindings_module::bindings::exports::hotseat::plugin::{downgrade, lifecycle};
use crate::bindings_module::service_bindings::exports::hotseat::plugin::handler;
use crate::failure::Failure;
use crate::instance::{start, with};
use crate::service::Service;
use crate::shard_runtime::ShardRuntime;
use crate::state::Snapshot;

/// What [`export_service!`](crate::export_service) exports. Not for authors.
pub struct ServiceComponent<S>(PhantomData<S>);

impl<S: Service> lifecycle::Guest for ServiceComponent<S> {
    // A shard is opened by its number alone: there are no arguments.
    fn open(key: String, _args: Vec<u8>) -> Result<(), String> {
        start(|| ShardRuntime::<S>::open(&key))
    }

    fn save() -> lifecycle::Snapshot {
        let Snapshot { schema, bytes } = with(|runtime: &mut ShardRuntime<S>| runtime.save());
        lifecycle::Snapshot { schema, bytes }
    }

    fn load(state: lifecycle::Snapshot) -> Result<(), String> {
        let snapshot = Snapshot { schema: state.schema, bytes: state.bytes };
        start(|| ShardRuntime::<S>::load(&snapshot))
    }
}

impl<S: Service> downgrade::Guest for ServiceComponent<S> {
    fn save_as(schema: u32) -> Result<Vec<u8>, String> {
        with(|runtime: &mut ShardRuntime<S>| runtime.save_as(schema))
    }
}

impl<S: Service> handler::Guest for ServiceComponent<S> {
    fn call(method: String, body: Vec<u8>) -> Result<Vec<u8>, handler::Failure> {
        with(|runtime: &mut ShardRuntime<S>| runtime.call(&method, &body)).map_err(failure)
    }

    fn query(method: String, body: Vec<u8>) -> Result<Vec<u8>, handler::Failure> {
        with(|runtime: &mut ShardRuntime<S>| runtime.query(&method, &body)).map_err(failure)
    }

    fn subscribe(channel: u64, method: String, body: Vec<u8>) -> Result<(), handler::Failure> {
        with(|runtime: &mut ShardRuntime<S>| runtime.subscribe(channel, &method, &body)).map_err(failure)
    }

    fn unsubscribe(channel: u64) {
        with(|runtime: &mut ShardRuntime<S>| runtime.unsubscribe(channel));
    }

    fn timer(id: u64) {
        with(|runtime: &mut ShardRuntime<S>| runtime.timer(id));
    }

    fn reply(token: u64, answer: handler::Answer) {
        let answer = Answer { status: answer.status, body: answer.body, text: answer.text };
        with(|runtime: &mut ShardRuntime<S>| runtime.reply(token, answer));
    }
}

fn failure(Failure { status, text }: Failure) -> handler::Failure {
    handler::Failure { status, text }
}
