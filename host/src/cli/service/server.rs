//! Server: a gRPC server, and what it says of itself by reflection.

use std::collections::VecDeque;

use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use tonic::{Code, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::cli::failure::Failure;
use crate::peer::{ConnectError, Dialer, PeerChannel};

const DEFAULT: &str = "127.0.0.1:10000";
const VARIABLE: &str = "HOTSEAT_GRPC";

/// A server that is there.
pub(super) struct Server {
    address: String,
    pub(super) channel: PeerChannel,
}

impl Server {
    /// Connects to `flag`, else to `HOTSEAT_GRPC`, else to the default address of this machine.
    pub(super) async fn connect(flag: Option<&str>, dialer: &Dialer) -> Result<Self, Failure> {
        let variable = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
        let address = flag.map(str::to_owned).or(variable).unwrap_or_else(|| DEFAULT.to_owned());
        match dialer.connect(&address).await {
            Ok(channel) => Ok(Self { address, channel }),
            Err(ConnectError::Address(error)) => {
                Err(Failure::new(format!("grpc = {address}: allowed is an address such as {DEFAULT}"))
                    .cause(error))
            }
            Err(error @ ConnectError::Away { .. }) => {
                Err(Failure::new(format!("no node answers at {address}")).cause(error).next(
                    "is a node running? start one with `hotseat run`, or name its gRPC address with \
                     --grpc ADDR:PORT",
                ))
            }
        }
    }

    /// The names of all services.
    pub(super) async fn services(&self) -> Result<Vec<String>, Failure> {
        match self.ask(MessageRequest::ListServices(String::new())).await? {
            MessageResponse::ListServicesResponse(list) => {
                Ok(list.service.into_iter().map(|service| service.name).collect())
            }
            _ => Err(self.odd()),
        }
    }

    /// What a service's protocol says, with all that it imports.
    pub(super) async fn describe(&self, service: &str) -> Result<DescriptorPool, Failure> {
        let mut wanted = VecDeque::from([MessageRequest::FileContainingSymbol(service.to_owned())]);
        let mut files: Vec<FileDescriptorProto> = Vec::new();
        while let Some(next) = wanted.pop_front() {
            let MessageResponse::FileDescriptorResponse(answer) = self.ask(next).await? else {
                return Err(self.unknown(service));
            };
            for bytes in answer.file_descriptor_proto {
                let file =
                    FileDescriptorProto::decode(&bytes[..]).map_err(|error| self.odd().cause(error))?;
                if files.iter().all(|known| known.name != file.name) {
                    let imports = file.dependency.iter().cloned();
                    wanted.extend(imports.map(MessageRequest::FileByFilename));
                    files.push(file);
                }
            }
        }
        let mut pool = DescriptorPool::new();
        pool.add_file_descriptor_protos(files).map_err(|error| self.odd().cause(error))?;
        Ok(pool)
    }

    /// Finds `package.Service/Method`.
    pub(super) async fn method(&self, path: &str) -> Result<MethodDescriptor, Failure> {
        let (service, name) = path.trim_start_matches('/').split_once('/').ok_or_else(|| {
            Failure::new(format!("method = {path}: allowed is package.Service/Method"))
                .next("`hotseat service list` shows the methods that are served")
        })?;
        let pool = self.describe(service).await?;
        let known = pool.get_service_by_name(service).ok_or_else(|| self.unknown(service))?;
        known.methods().find(|method| method.name() == name).ok_or_else(|| {
            Failure::new(format!("{service} has no method {name}"))
                .next("`hotseat service list` shows the methods that are served")
        })
    }

    async fn ask(&self, what: MessageRequest) -> Result<MessageResponse, Failure> {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(what) };
        let mut client = ServerReflectionClient::new(self.channel.clone());
        let asked = client.server_reflection_info(tokio_stream::once(request)).await;
        let mut answers = asked.map_err(|status| self.failed(&status))?.into_inner();
        let answer = answers.message().await.map_err(|status| self.failed(&status))?;
        answer.and_then(|answer| answer.message_response).ok_or_else(|| self.odd())
    }

    /// A status that is none of the service's own.
    fn failed(&self, status: &Status) -> Failure {
        if status.code() == Code::NotFound {
            return Failure::new(format!("{} serves no such thing: {}", self.address, status.message()))
                .next(
                    "`hotseat service list` shows what is served, `hotseat plugin list` which plugins run",
                );
        }
        let failure =
            Failure::new(format!("{} does not tell what it serves: {}", self.address, status.message()));
        if status.code() == Code::Unauthenticated {
            return failure.next("name the cluster's secret with --peer-token-file FILE");
        }
        failure.next(
            "a node logs its gRPC address when it starts, the default is 127.0.0.1:10000; one that wants \
             certificates is called with --peer-ca, --peer-cert and --peer-key",
        )
    }

    fn odd(&self) -> Failure {
        Failure::new(format!("{} tells what it serves in a way that makes no sense", self.address))
    }

    fn unknown(&self, service: &str) -> Failure {
        Failure::new(format!("no plugin of {} serves {service}", self.address))
            .next("`hotseat service list` shows what is served, `hotseat plugin list` which plugins run")
    }
}
