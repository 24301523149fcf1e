//! The methods of `proto.ChatService` as the host names them.

/// `Reg(Id) -> Nil`.
pub const REG: &str = "proto.ChatService/Reg";
/// `Subscribe(Consumer) -> stream of Message`.
pub const SUBSCRIBE: &str = "proto.ChatService/Subscribe";
/// `Query(ConsumeRange) -> List`, a query.
pub const QUERY: &str = "proto.ChatService/Query";
/// `Latest(ConsumeLatest) -> List`, a query.
pub const LATEST: &str = "proto.ChatService/Latest";
/// `Send(Message) -> Nil`.
pub const SEND: &str = "proto.ChatService/Send";
/// `Post(Message) -> Posted`.
pub const POST: &str = "proto.ChatService/Post";
/// `Unreg(Id) -> Nil`.
pub const UNREG: &str = "proto.ChatService/Unreg";
/// `Join(Member) -> Nil`.
pub const JOIN: &str = "proto.ChatService/Join";
/// `Leave(Member) -> Nil`.
pub const LEAVE: &str = "proto.ChatService/Leave";
/// `Members(Page) -> Users`, a query.
pub const MEMBERS: &str = "proto.ChatService/Members";
/// `Presence(Page) -> Users`, a query.
pub const PRESENCE: &str = "proto.ChatService/Presence";
/// `Configure(Settings) -> Nil`.
pub const CONFIGURE: &str = "proto.ChatService/Configure";
/// `Mute(Silence) -> Nil`.
pub const MUTE: &str = "proto.ChatService/Mute";
/// `Unmute(Member) -> Nil`.
pub const UNMUTE: &str = "proto.ChatService/Unmute";
/// `Describe(Id) -> Description`, a query.
pub const DESCRIBE: &str = "proto.ChatService/Describe";
