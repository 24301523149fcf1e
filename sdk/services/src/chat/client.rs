//! Calling `proto.ChatService` from within a plugin.

use hotseat_guest::{Game, Handle};

use super::{ConsumeLatest, ConsumeRange, Id, List, Member, Message, Nil, Posted, Silence, method};
use crate::caller::{CallError, call};

/// gRPC's status of an endpoint that is there already.
const ALREADY_EXISTS: u32 = 6;

/// The endpoints of one configured service. Every method makes its call at once; awaiting waits for the answer,
/// dropping the future does not take the call back. Limits and errors are those of `proto/chat.proto`; what the
/// host adds to them (no answer in time, too many calls at once) is a [`CallError`] too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    service: &'static str,
}

impl Client {
    /// The service of this name in the operator's configuration.
    #[must_use]
    pub const fn new(service: &'static str) -> Self {
        Self { service }
    }

    /// Makes an endpoint; fine if it is there.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn reg<G: Game>(
        &self,
        handle: &Handle<G>,
        endpoint: u64,
    ) -> impl Future<Output = Result<(), CallError>> + use<G> {
        let call = call::<G, Nil>(handle, self.service, method::REG, &Id { id: endpoint });
        async move {
            match call.await {
                Err(error) if error.status() != ALREADY_EXISTS => Err(error),
                _ => Ok(()),
            }
        }
    }

    /// Removes an endpoint with all its messages.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn unreg<G: Game>(
        &self,
        handle: &Handle<G>,
        endpoint: u64,
    ) -> impl Future<Output = Result<(), CallError>> + use<G> {
        let call = call::<G, Nil>(handle, self.service, method::UNREG, &Id { id: endpoint });
        async move { call.await.map(drop) }
    }

    /// Publishes a message of a user (0 for the system); answers its offset and time.
    ///
    /// # Errors
    /// As [`Client`] says; status 7 if the user is muted or no member, 8 if it posts too often.
    pub fn post<G: Game>(
        &self,
        handle: &Handle<G>,
        endpoint: u64,
        sender: u64,
        body: &[u8],
    ) -> impl Future<Output = Result<Posted, CallError>> + use<G> {
        let message = Message { id: endpoint, body: body.into(), sender, ..Message::default() };
        call::<G, Posted>(handle, self.service, method::POST, &message)
    }

    /// The newest `n` messages, oldest first.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn latest<G: Game>(
        &self,
        handle: &Handle<G>,
        endpoint: u64,
        n: i64,
    ) -> impl Future<Output = Result<Vec<Message>, CallError>> + use<G> {
        let request = ConsumeLatest { id: endpoint, length: n };
        let call = call::<G, List>(handle, self.service, method::LATEST, &request);
        async move { call.await.map(|list| list.messages) }
    }

    /// The messages from one offset to another, both included, as far as they are kept and fit into an answer.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn range<G: Game>(
        &self,
        handle: &Handle<G>,
        endpoint: u64,
        from: i64,
        to: i64,
    ) -> impl Future<Output = Result<Vec<Message>, CallError>> + use<G> {
        let request = ConsumeRange { id: endpoint, from, to };
        let call = call::<G, List>(handle, self.service, method::QUERY, &request);
        async move { call.await.map(|list| list.messages) }
    }

    /// Makes a user a member.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn join<G: Game>(
        &self,
        handle: &Handle<G>,
        endpoint: u64,
        user: u64,
    ) -> impl Future<Output = Result<(), CallError>> + use<G> {
        let call = call::<G, Nil>(handle, self.service, method::JOIN, &Member { id: endpoint, user });
        async move { call.await.map(drop) }
    }

    /// Makes a user no member.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn leave<G: Game>(
        &self,
        handle: &Handle<G>,
        endpoint: u64,
        user: u64,
    ) -> impl Future<Output = Result<(), CallError>> + use<G> {
        let call = call::<G, Nil>(handle, self.service, method::LEAVE, &Member { id: endpoint, user });
        async move { call.await.map(drop) }
    }

    /// Refuses a user's messages until a time (milliseconds since 1970; 0 for no end).
    ///
    /// # Errors
    /// As [`Client`] says.
    pub fn mute<G: Game>(
        &self,
        handle: &Handle<G>,
        endpoint: u64,
        user: u64,
        until_ms: u64,
    ) -> impl Future<Output = Result<(), CallError>> + use<G> {
        let request = Silence { id: endpoint, user, until_ms };
        let call = call::<G, Nil>(handle, self.service, method::MUTE, &request);
        async move { call.await.map(drop) }
    }
}
