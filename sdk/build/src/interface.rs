//! Interface: which gRPC methods a service plugin serves, read from the descriptors in its artefact.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use protox::prost_reflect::prost_types::method_options::IdempotencyLevel;
use protox::prost_reflect::{DescriptorPool, Kind, MethodDescriptor};

/// The custom section that holds the encoded `FileDescriptorSet` of a service plugin's `.proto` file.
pub const PROTO_SECTION: &str = "hotseat:proto";

/// The descriptors' largest size in bytes.
pub const MAX_PROTO_BYTES: usize = 1 << 20;

/// What a service plugin serves: every method of every service in its descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The encoded `FileDescriptorSet`, imports included.
    pub descriptors: Vec<u8>,
    /// The services' full names, such as `proto.RankingService`, in the order of the file.
    pub services: Vec<String>,
    /// Their methods, in the order of the file.
    pub methods: Vec<Method>,
}

/// One gRPC method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// Its full name: `proto.RankingService/RankChange`.
    pub path: String,
    /// Which handler of the plugin it reaches.
    pub kind: MethodKind,
    /// The number of the field in its request that decides the shard: the manifest's `service.shard_by`. On the
    /// wire it is a varint or, for the fixed types, 8 bytes.
    pub shard_field: u32,
}

/// Which handler of the plugin a method reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodKind {
    /// Unary: `handler.call`.
    Call,
    /// Unary with `option idempotency_level = NO_SIDE_EFFECTS`: `handler.query`.
    Query,
    /// Server streaming: `handler.subscribe`.
    Subscribe,
}

impl fmt::Display for MethodKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Call => "call",
            Self::Query => "query",
            Self::Subscribe => "subscribe",
        })
    }
}

impl Interface {
    /// Reads descriptors. The error says what is wrong with them. Never panics, whatever the bytes are.
    pub(crate) fn read(descriptors: &[u8], shard_by: &str) -> Result<Self, String> {
        if descriptors.len() > MAX_PROTO_BYTES {
            return Err(format!("{} bytes, at most {MAX_PROTO_BYTES} are allowed", descriptors.len()));
        }
        // The reader is made for descriptors from a compiler; a panic in it must not take a node down.
        catch_unwind(AssertUnwindSafe(|| Self::walk(descriptors, shard_by)))
            .unwrap_or_else(|_| Err("it holds no usable descriptors: their reader gave up on them".into()))
    }

    fn walk(descriptors: &[u8], shard_by: &str) -> Result<Self, String> {
        let pool = DescriptorPool::decode(descriptors)
            .map_err(|e| format!("it holds no usable descriptors: {e:?}"))?;
        let services: Vec<String> = pool.services().map(|it| it.full_name().to_owned()).collect();
        if services.is_empty() {
            return Err("the .proto file declares no service".into());
        }
        let methods: Vec<Method> = pool
            .services()
            .flat_map(|it| it.methods().collect::<Vec<_>>())
            .map(|it| method(&it, shard_by))
            .collect::<Result<_, _>>()?;
        if methods.is_empty() {
            return Err(format!("no service declares a method: {}", services.join(", ")));
        }
        Ok(Self { descriptors: descriptors.to_vec(), services, methods })
    }
}

fn method(method: &MethodDescriptor, shard_by: &str) -> Result<Method, String> {
    let path = format!("{}/{}", method.parent_service().full_name(), method.name());
    if !is_path(&path) {
        return Err(format!("{path:?} is no name of a method"));
    }
    if method.is_client_streaming() {
        return Err(format!("{path} takes a stream of requests: only responses may be streamed"));
    }
    let options = method.method_descriptor_proto().options.as_ref();
    let level = options.map_or(IdempotencyLevel::IdempotencyUnknown, |it| it.idempotency_level());
    let kind = match level {
        _ if method.is_server_streaming() => MethodKind::Subscribe,
        IdempotencyLevel::NoSideEffects => MethodKind::Query,
        IdempotencyLevel::Idempotent | IdempotencyLevel::IdempotencyUnknown => MethodKind::Call,
    };
    Ok(Method { kind, shard_field: shard_field(&path, method, shard_by)?, path })
}

fn shard_field(path: &str, method: &MethodDescriptor, shard_by: &str) -> Result<u32, String> {
    let request = method.input();
    let name = request.full_name();
    let field = request.get_field_by_name(shard_by).ok_or_else(|| {
        format!("{path}: its request {name} has no field {shard_by:?}, which service.shard_by names")
    })?;
    let integer = matches!(
        field.kind(),
        Kind::Uint64 | Kind::Int64 | Kind::Uint32 | Kind::Int32 | Kind::Fixed64 | Kind::Sfixed64
    );
    if integer && !field.is_list() {
        return Ok(field.number());
    }
    let repeated = if field.is_list() { "repeated " } else { "" };
    let kind = field.kind();
    Err(format!(
        "{path}: field {shard_by:?} of its request {name} has type \"{repeated}{kind:?}\"; service.shard_by takes a \
         uint64, int64, uint32, int32, fixed64 or sfixed64"
    ))
}

/// Whether it is `package.Service/Method`, with names as a `.proto` file allows them.
fn is_path(path: &str) -> bool {
    let name = |name: &str| {
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        begins && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
    };
    path.split_once('/').is_some_and(|(service, method)| service.split('.').all(name) && name(method))
}

#[cfg(test)]
mod tests;
