//! Node: the running node that a command talks to, and what its refusals mean.

use std::error::Error;
use std::time::Duration;

use serde::Serialize;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::cli::failure::Failure;
use crate::cli::terminal;
use crate::proto::ADMIN_MESSAGE_MAX_BYTES;
use crate::proto::admin::admin_client::AdminClient;

const DEFAULT: &str = "127.0.0.1:9600";
const VARIABLE: &str = "HOTSEAT_ADMIN";
/// A node on the other side of the world answers a connection in well under this.
const CONNECT: Duration = Duration::from_secs(5);
/// Compiling a large component and handing over many rooms takes minutes at worst.
const ANSWER: Duration = Duration::from_secs(600);
/// How soon a node that vanished during a long call is noticed.
const ALIVE: Duration = Duration::from_secs(10);

/// Where a node is.
#[derive(Debug, Clone)]
pub(super) struct Node {
    address: String,
    endpoint: Endpoint,
}

impl Node {
    /// The node at `flag`, else at `HOTSEAT_ADMIN`, else at the default address of this machine.
    pub(super) fn named(flag: Option<&str>) -> Result<Self, Failure> {
        let variable = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
        let (address, origin) = match (flag, variable) {
            (Some(flag), _) => (flag.to_owned(), "flag --admin"),
            (None, Some(variable)) => (variable, "environment HOTSEAT_ADMIN"),
            (None, None) => (DEFAULT.to_owned(), "default"),
        };
        let wrong = || {
            let allowed = "an address such as 127.0.0.1:9600";
            Failure::new(format!("admin = {address} ({origin}): allowed is {allowed}"))
                .next("the node logs its admin address when it starts")
        };
        if !address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        {
            return Err(wrong());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| wrong())?
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .http2_keep_alive_interval(ALIVE)
            .keep_alive_timeout(ALIVE);
        Ok(Self { address, endpoint })
    }

    /// Connects.
    pub(super) async fn connect(&self) -> Result<AdminClient<Channel>, Failure> {
        let channel = self.endpoint.connect().await.map_err(|error| {
            Failure::new(format!("no node answers at {}", self.address))
                .cause(root(&error).to_string())
                .next("is a node running? start one with `hotseat run`, or name it with --admin ADDR:PORT")
        })?;
        Ok(AdminClient::new(channel)
            .max_encoding_message_size(ADMIN_MESSAGE_MAX_BYTES)
            .max_decoding_message_size(ADMIN_MESSAGE_MAX_BYTES))
    }

    /// A refusal of the node as one line and a next step. `what`: what was asked for, such as `deploy`.
    pub(super) fn refused(&self, what: &str, status: &Status) -> Failure {
        let text = status.message();
        let at = &self.address;
        match status.code() {
            Code::InvalidArgument => Failure::new(refusal(what, text))
                .next("nothing has changed; `hotseat plugin inspect FILE` shows what is in a file"),
            Code::FailedPrecondition | Code::Aborted => Failure::new(refusal(what, text))
                .next("nothing has changed; `hotseat plugin history NAME` shows what happened before"),
            Code::NotFound => {
                Failure::new(text.to_owned()).next("`hotseat plugin list` shows the plugins of the node")
            }
            Code::Unimplemented => Failure::new(format!("{at} is no admin address of a node ({text})"))
                .next("the node logs its admin address when it starts; the default is 127.0.0.1:9600"),
            Code::Unavailable => Failure::new(format!("the node at {at} went away: {text}"))
                .next("`hotseat plugin list` shows what it runs once it is back"),
            Code::DeadlineExceeded | Code::Cancelled => {
                Failure::new(format!("the node at {at} did not answer within {} s", ANSWER.as_secs()))
                    .next("it may still be at it: `hotseat plugin list` shows its state")
            }
            Code::ResourceExhausted | Code::OutOfRange => Failure::new(format!("{what} refused: {text}"))
                .next("an artefact may have 64 MiB; `hotseat build` without --debug makes smaller ones"),
            code => Failure::new(format!("{what} failed at {at}: {text} ({code:?})"))
                .next("the node's log says more"),
        }
    }
}

/// Writes an answer for machines.
pub(super) fn json(answer: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(answer)
        .map_err(|error| Failure::new("the answer cannot be written as JSON").cause(error))?;
    terminal::line(&text);
    Ok(())
}

/// The system's reason; the layers above it only say that there is one.
fn root<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut root = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    root
}

/// One sentence, whether or not the node's text begins with the verdict.
fn refusal(what: &str, text: &str) -> String {
    let verdict = ["refused", "taken back"].iter().any(|verdict| text.starts_with(verdict));
    if verdict { format!("{what} {text}") } else { format!("{what} refused: {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_one_sentence() {
        let node = Node::named(Some("127.0.0.1:1")).unwrap();
        let cases = [
            (Code::InvalidArgument, "refused: not a component", "deploy refused: not a component"),
            (Code::FailedPrecondition, "refused in rehearsal: no", "deploy refused in rehearsal: no"),
            (Code::FailedPrecondition, "taken back: room a", "deploy taken back: room a"),
            (Code::FailedPrecondition, "nothing to go back to", "deploy refused: nothing to go back to"),
            (Code::NotFound, "no plugin x", "no plugin x"),
            (Code::Unavailable, "closed", "the node at 127.0.0.1:1 went away: closed"),
        ];
        for (code, text, told) in cases {
            assert_eq!(node.refused("deploy", &Status::new(code, text)).to_string(), told);
        }
    }

    #[test]
    fn an_address_is_checked_before_it_is_tried() {
        for wrong in ["", "9600", ":9600", "host:", "host:70000", "http://host"] {
            let error = Node::named(Some(wrong)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("admin = {wrong} (flag --admin)")), "{error}");
        }
        for fine in ["localhost:9600", "[::1]:9600", "10.0.0.1:1"] {
            Node::named(Some(fine)).unwrap();
        }
    }

    #[tokio::test]
    async fn nobody_there_says_what_to_do() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Node::named(Some(&free.to_string())).unwrap().connect().await.unwrap_err();
        assert_eq!(error.to_string(), format!("no node answers at {free}"));
    }
}
