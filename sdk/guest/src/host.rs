//! The host's side of the contract: the generated imports in a component, the test host anywhere else.

#[cfg(target_arch = "wasm32")]
pub(crate) use component::*;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::*;

/// The levels of a log line, with their numbers in the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something is broken; a panic is logged as this.
    Error = 0,
    /// Somebody should look.
    Warn = 1,
    /// Worth a line in production.
    Info = 2,
    /// For the author.
    Debug = 3,
}

/// A number from 0 to `bound - 1`, all equally likely; 0 if `bound` is 0.
pub(crate) fn random_below(bound: u64) -> u64 {
    if bound == 0 {
        return 0;
    }
    // The lowest 2^64 mod bound values are what would make some remainders likelier: drawn again.
    let surplus = bound.wrapping_neg() % bound;
    loop {
        let drawn = random();
        if drawn >= surplus {
            return drawn % bound;
        }
    }
}

#[cfg(target_arch = "wasm32")]
mod component {
    use super::Level;
    use crate::bindings_module::bindings::hotseat::plugin;
    use crate::game::UserId;

    pub(crate) fn log(level: Level, line: &str) {
        plugin::log::write(level as u32, line);
    }
    pub(crate) fn now_ms() -> u64 {
        plugin::clock::now_ms()
    }
    pub(crate) fn random() -> u64 {
        plugin::random::next()
    }
    pub(crate) fn next_id() -> u64 {
        plugin::ids::next()
    }
    pub(crate) fn send(user: UserId, op: u16, payload: &[u8]) {
        plugin::players::send(user, op, payload);
    }
    pub(crate) fn broadcast(users: &[UserId], op: u16, payload: &[u8]) {
        plugin::players::broadcast(users, op, payload);
    }
    pub(crate) fn kick(user: UserId, reason: u32) {
        plugin::players::kick(user, reason);
    }
    pub(crate) fn transfer(user: UserId, room: &str) {
        plugin::players::transfer(user, room);
    }
    pub(crate) fn create_room(room: &str, args: &[u8]) {
        plugin::rooms::create(room, args);
    }
    pub(crate) fn close_room(reason: u32) {
        plugin::rooms::close(reason);
    }
    pub(crate) fn set_timer(id: u64, after_ms: u32) {
        plugin::timers::set(id, after_ms);
    }
    pub(crate) fn cancel_timer(id: u64) {
        plugin::timers::cancel(id);
    }
    pub(crate) fn profile(user: UserId) -> Option<Vec<u8>> {
        plugin::profile::get(user)
    }
    pub(crate) fn put_profile(user: UserId, bytes: &[u8]) {
        plugin::profile::put(user, bytes);
    }
    pub(crate) fn call(service: &str, instance: &str, method: &str, body: &[u8]) -> u64 {
        plugin::services::call(service, instance, method, body)
    }
    pub(crate) fn config(key: &str) -> Option<Vec<u8>> {
        plugin::config::get(key)
    }
    pub(crate) fn channel_send(to: &[u64], message: &[u8]) {
        plugin::channels::send(to, message);
    }
    pub(crate) fn channel_end(channel: u64, status: u32, text: &str) {
        plugin::channels::end(channel, status, text);
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use super::Level;
    use crate::game::UserId;
    use crate::testing::{Effect, with_host};

    pub(crate) fn log(level: Level, line: &str) {
        with_host(|host| host.log(level, line));
    }
    pub(crate) fn now_ms() -> u64 {
        with_host(|host| host.now_ms)
    }
    pub(crate) fn random() -> u64 {
        with_host(|host| host.random())
    }
    pub(crate) fn next_id() -> u64 {
        with_host(|host| host.next_id())
    }
    pub(crate) fn send(user: UserId, op: u16, payload: &[u8]) {
        with_host(|host| host.queue(Effect::Send { user, op, payload: payload.to_vec() }));
    }
    pub(crate) fn broadcast(users: &[UserId], op: u16, payload: &[u8]) {
        with_host(|host| {
            host.queue(Effect::Broadcast { users: users.to_vec(), op, payload: payload.to_vec() })
        });
    }
    pub(crate) fn kick(user: UserId, reason: u32) {
        with_host(|host| host.queue(Effect::Kick { user, reason }));
    }
    pub(crate) fn transfer(user: UserId, room: &str) {
        with_host(|host| host.queue(Effect::Transfer { user, room: room.into() }));
    }
    pub(crate) fn create_room(room: &str, args: &[u8]) {
        with_host(|host| host.queue(Effect::CreateRoom { room: room.into(), args: args.to_vec() }));
    }
    pub(crate) fn close_room(reason: u32) {
        with_host(|host| host.queue(Effect::CloseRoom { reason }));
    }
    pub(crate) fn set_timer(id: u64, after_ms: u32) {
        with_host(|host| host.queue(Effect::SetTimer { id, after_ms }));
    }
    pub(crate) fn cancel_timer(id: u64) {
        with_host(|host| host.queue(Effect::CancelTimer { id }));
    }
    pub(crate) fn profile(user: UserId) -> Option<Vec<u8>> {
        with_host(|host| host.profile(user))
    }
    pub(crate) fn put_profile(user: UserId, bytes: &[u8]) {
        with_host(|host| host.queue(Effect::PutProfile { user, bytes: bytes.to_vec() }));
    }
    pub(crate) fn call(service: &str, instance: &str, method: &str, body: &[u8]) -> u64 {
        with_host(|host| host.call(service, instance, method, body))
    }
    pub(crate) fn config(key: &str) -> Option<Vec<u8>> {
        with_host(|host| host.config.get(key).cloned())
    }
    pub(crate) fn channel_send(to: &[u64], message: &[u8]) {
        with_host(|host| {
            host.queue(Effect::ChannelSend { channels: to.to_vec(), message: message.to_vec() })
        });
    }
    pub(crate) fn channel_end(channel: u64, status: u32, text: &str) {
        with_host(|host| host.queue(Effect::ChannelEnd { channel, status, text: text.into() }));
    }
}
