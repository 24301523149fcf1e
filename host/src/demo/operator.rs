//! Operator: what an operator asks of the node.

use std::net::SocketAddr;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use super::DemoError;
use crate::proto::ADMIN_MESSAGE_MAX_BYTES;
use crate::proto::admin::admin_client::AdminClient;
use crate::proto::admin::{DeployReply, DeployRequest, Event, HistoryRequest, ListPluginsRequest};

/// The plugin of the story.
const NAME: &str = "game-logic";
/// How long a deployment may take before the story has taken a wrong turn.
const ANSWER: Duration = Duration::from_secs(60);
/// How often the node is asked for what it did by itself.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// A connection to the node's door for operators.
#[derive(Clone)]
pub(super) struct Operator {
    client: AdminClient<Channel>,
}

impl Operator {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self, DemoError> {
        let no = |error: tonic::transport::Error| DemoError::Operator(error.to_string());
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(no)?.timeout(ANSWER);
        let channel = endpoint.connect().await.map_err(no)?;
        Ok(Self { client: AdminClient::new(channel).max_encoding_message_size(ADMIN_MESSAGE_MAX_BYTES) })
    }

    /// Puts an artefact live, or the node's reason not to.
    pub(super) async fn deploy(&mut self, artefact: Vec<u8>) -> Result<DeployReply, String> {
        let request = DeployRequest {
            name: NAME.to_owned(),
            artefact,
            cluster: false,
            plan: false,
            set_aside: Vec::new(),
            accept_pause: false,
        };
        let reply = self.client.deploy(request).await;
        reply.map(tonic::Response::into_inner).map_err(|status| status.message().to_owned())
    }

    /// The label of the live version and what the deployer does.
    pub(super) async fn live(&mut self) -> Result<(String, String), String> {
        let reply = self.client.list_plugins(ListPluginsRequest {}).await;
        let reply = reply.map_err(|status| status.message().to_owned())?.into_inner();
        let plugin = reply.plugins.into_iter().find(|plugin| plugin.name == NAME);
        let plugin = plugin.ok_or_else(|| format!("the node has no {NAME}"))?;
        Ok((plugin.live.unwrap_or_default().label, plugin.state))
    }

    /// Waits until nothing is under way any more.
    pub(super) async fn idle(&mut self, within: Duration) -> Result<(), String> {
        let idle = async {
            loop {
                if self.live().await?.1 == "idle" {
                    return Ok(());
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        let idle = tokio::time::timeout(within, idle).await;
        idle.unwrap_or_else(|_| Err(format!("the node is not idle after {within:?}")))
    }

    /// Waits for the next event of this kind after the first `known` events.
    pub(super) async fn event(
        &mut self,
        kind: &str,
        known: usize,
        within: Duration,
    ) -> Result<Event, String> {
        let event = async {
            loop {
                let mut events = self.history().await?.into_iter().skip(known);
                if let Some(event) = events.find(|event| event.kind == kind) {
                    return Ok(event);
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        let event = tokio::time::timeout(within, event).await;
        event.unwrap_or_else(|_| Err(format!("nothing was {kind} within {within:?}")))
    }

    /// What happened so far.
    pub(super) async fn history(&mut self) -> Result<Vec<Event>, String> {
        let reply = self.client.history(HistoryRequest { name: NAME.to_owned() }).await;
        Ok(reply.map_err(|status| status.message().to_owned())?.into_inner().events)
    }
}
