//! Calling a service from within a plugin.

use hotseat_guest::{Answer, Game, Handle};
use prost::Message;
use thiserror::Error;

/// Why a service gave no response.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallError {
    /// The service, or the host in its place, said no. Statuses are gRPC's: 4 no answer in time, 14 not there,
    /// 8 too much at once; others as the method's documentation says.
    #[error("{method}: status {status}: {text}")]
    Refused {
        /// The method that was called.
        method: &'static str,
        /// gRPC's status code, never 0.
        status: u32,
        /// For people.
        text: String,
    },
    /// The response does not decode: the service at that name is another one, or of an incompatible version.
    #[error("{method}: the response does not decode: {reason}")]
    Garbled {
        /// The method that was called.
        method: &'static str,
        /// What the decoder says.
        reason: String,
    },
}

impl CallError {
    /// gRPC's status code; 13 (internal) for a response that does not decode.
    #[must_use]
    pub fn status(&self) -> u32 {
        match self {
            Self::Refused { status, .. } => *status,
            Self::Garbled { .. } => 13,
        }
    }
}

/// One unary call of the service that the operator configured as `service`, any instance. The call is made at
/// once; awaiting the future waits for its answer.
///
/// Cancel safety: dropping the future does not take the call back.
pub(crate) fn call<G: Game, R: Message + Default>(
    handle: &Handle<G>,
    service: &str,
    method: &'static str,
    request: &dyn Encode,
) -> impl Future<Output = Result<R, CallError>> + use<G, R> {
    let reply = handle.call(service, "", method, &request.encode());
    async move { read(method, reply.await) }
}

/// A request of any type, so that the future of a call does not depend on it.
pub(crate) trait Encode {
    fn encode(&self) -> Vec<u8>;
}

impl<M: Message> Encode for M {
    fn encode(&self) -> Vec<u8> {
        self.encode_to_vec()
    }
}

fn read<R: Message + Default>(method: &'static str, answer: Answer) -> Result<R, CallError> {
    if answer.status != 0 {
        return Err(CallError::Refused { method, status: answer.status, text: answer.text });
    }
    R::decode(answer.body.as_slice())
        .map_err(|error| CallError::Garbled { method, reason: error.to_string() })
}
