//! `hotseat service list` and `call`.

use bytes::Bytes;
use futures_util::StreamExt as _;
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor, SerializeOptions};
use tonic::{Request, Status};

use super::number::exact;
use super::server::Server;
use crate::actor::Raw;
use crate::cli::failure::Failure;
use crate::cli::terminal;

pub(super) async fn list(server: &mut Server) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for service in server.services().await? {
        let pool = server.describe(&service).await?;
        let methods = pool
            .get_service_by_name(&service)
            .into_iter()
            .flat_map(|known| known.methods().map(|method| row(&method)).collect::<Vec<_>>());
        rows.extend(methods);
    }
    terminal::line(&terminal::table(["METHOD", "REQUEST", "ANSWER"], &rows));
    Ok(())
}

fn row(method: &MethodDescriptor) -> [String; 3] {
    let stream = if method.is_server_streaming() { "stream " } else { "" };
    [
        format!("{}/{}", method.parent_service().full_name(), method.name()),
        method.input().full_name().to_owned(),
        format!("{stream}{}", method.output().full_name()),
    ]
}

pub(super) async fn call(
    server: &mut Server,
    path: &str,
    json: &str,
    take: Option<usize>,
) -> Result<(), Failure> {
    let method = server.method(path).await?;
    let request = Request::new(read(&method.input(), json)?);
    let mut grpc = tonic::client::Grpc::new(server.channel.clone());
    let gone = |error: tower::BoxError| Failure::new("the node went away").cause(error);
    grpc.ready().await.map_err(gone)?;
    let uri = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let uri = uri.parse().map_err(|_| Failure::new(format!("method = {path}: no path of a URL")))?;
    let failed = |status: Status| failed(path, &status);
    if method.is_server_streaming() {
        let answers = grpc.server_streaming(request, uri, Raw).await.map_err(failed)?.into_inner();
        let mut answers = answers.take(take.unwrap_or(usize::MAX));
        while let Some(answer) = answers.next().await {
            show(method.output(), &answer.map_err(failed)?)?;
        }
        return Ok(());
    }
    let answer = grpc.unary(request, uri, Raw).await.map_err(failed)?.into_inner();
    show(method.output(), &answer)
}

fn read(message: &MessageDescriptor, json: &str) -> Result<Bytes, Failure> {
    let wrong = |error: serde_json::Error| {
        let fields: Vec<_> = message.fields().map(|field| field.name().to_owned()).collect();
        Failure::new(format!("the request is no {}: {error}", message.full_name()))
            .next(format!("its fields are {}", fields.join(", ")))
    };
    let json = exact(json).map_err(|number| {
        Failure::new(format!("the number {number} has more digits than can be kept"))
            .next("write a whole number, without a point")
    })?;
    let mut text = serde_json::Deserializer::from_str(&json);
    let request = DynamicMessage::deserialize(message.clone(), &mut text).map_err(wrong)?;
    text.end().map_err(wrong)?;
    Ok(request.encode_to_vec().into())
}

fn show(message: MessageDescriptor, bytes: &Bytes) -> Result<(), Failure> {
    let odd = |error: String| Failure::new("the answer cannot be read").cause(error);
    let answer = DynamicMessage::decode(message, bytes.clone()).map_err(|error| odd(error.to_string()))?;
    let mut text = Vec::new();
    let mut json = serde_json::Serializer::new(&mut text);
    let options = SerializeOptions::new()
        .skip_default_fields(false)
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false);
    answer.serialize_with_options(&mut json, &options).map_err(|error| odd(error.to_string()))?;
    terminal::line(&String::from_utf8_lossy(&text));
    Ok(())
}

fn failed(path: &str, status: &Status) -> Failure {
    Failure::new(format!("{path}: {:?}: {}", status.code(), status.message()))
}
