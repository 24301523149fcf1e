//! Service: `proto.SnowflakeService`, under gonet/2's names and numbers.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::error::IdsError;
use super::ids::Ids;
use super::sequences::{SequenceError, Sequences};
use crate::proto::original::snowflake::{Count, Key, Keys, NullRequest, UuiDs, Uuid, Value, Values};
use crate::proto::original::snowflake_service_server::SnowflakeService as Served;

/// Most ids a caller may ask for at once.
pub const IDS_MAX: u32 = 4096;

/// Answers the four calls. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SnowflakeService {
    ids: Arc<Ids>,
    sequences: Sequences,
}

impl SnowflakeService {
    /// Answers with these.
    pub fn new(ids: Arc<Ids>, sequences: Sequences) -> Self {
        Self { ids, sequences }
    }
}

#[tonic::async_trait]
impl Served for SnowflakeService {
    async fn next(&self, request: Request<Key>) -> Result<Response<Value>, Status> {
        let value = self.sequences.next(&request.into_inner().name, 1).await?;
        Ok(Response::new(Value { value }))
    }

    async fn get_uuid(&self, _: Request<NullRequest>) -> Result<Response<Uuid>, Status> {
        let uuid = self.ids.take(1).await?.first();
        Ok(Response::new(Uuid { uuid }))
    }

    async fn next_batch(&self, request: Request<Keys>) -> Result<Response<Values>, Status> {
        let Keys { name, count } = request.into_inner();
        let first = self.sequences.next(&name, count).await?;
        Ok(Response::new(Values { first, count }))
    }

    async fn get_uui_ds(&self, request: Request<Count>) -> Result<Response<UuiDs>, Status> {
        let count = request.into_inner().count;
        if count == 0 || count > IDS_MAX {
            let text = format!("count is {count}: allowed is 1 to {IDS_MAX}");
            return Err(Status::invalid_argument(text));
        }
        let uuids = self.ids.take(count).await?.collect();
        Ok(Response::new(UuiDs { uuids }))
    }
}

impl From<IdsError> for Status {
    fn from(error: IdsError) -> Self {
        let text = error.to_string();
        match error {
            IdsError::NoMachine(_) => Self::unavailable(text),
            IdsError::Busy => Self::resource_exhausted(text),
        }
    }
}

impl From<SequenceError> for Status {
    fn from(error: SequenceError) -> Self {
        let text = error.to_string();
        match error {
            SequenceError::Invalid(_) => Self::invalid_argument(text),
            SequenceError::Missing => Self::not_found(text),
            SequenceError::Malformed { .. } | SequenceError::Refused(_) => Self::failed_precondition(text),
            SequenceError::Full { .. } => Self::out_of_range(text),
            SequenceError::Crowded(_) => Self::resource_exhausted(text),
            SequenceError::Away { .. } => Self::unavailable(text),
        }
    }
}
