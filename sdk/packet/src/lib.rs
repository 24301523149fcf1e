//! The wire codec of the client protocol, which is gonet/2's: frames, field readers and writers, the agent's
//! messages, opcodes and error codes. No I/O, no clock, no async; it builds for `wasm32-unknown-unknown`, so
//! host, plugins, clients and fuzzers share one codec.
//!
//! All integers are big-endian. A frame is
//!
//! ```text
//! client -> agent   size u16 | seq u32 | opcode u16 | payload     size counts all after itself, 6 to 65,535
//! agent -> client   size u16 | opcode u16 | payload               size counts all after itself, 2 to 65,535
//! ```
//!
//! Where the original truncates a length, drops the sign of an `s24` or reads rubbish as 0 or false, this codec
//! returns an error instead; bytes that both accept mean the same to both.
//!
//! ```
//! use hotseat_packet::{AutoId, MAX_SIZE, Message, decode_up, encode_up, opcode};
//!
//! let mut bytes = Vec::new();
//! encode_up(&mut bytes, 1, opcode::HEART_BEAT_REQ, &AutoId { id: 777 }.to_bytes()?)?;
//! assert_eq!(bytes, [0, 10, 0, 0, 0, 1, 0, 0, 0, 0, 3, 9]);
//!
//! let (frame, used) = decode_up(&bytes, MAX_SIZE)?.expect("the frame is whole");
//! assert_eq!((frame.seq, frame.opcode, used), (1, opcode::HEART_BEAT_REQ, 12));
//! assert_eq!(AutoId::from_bytes(frame.payload)?.id, 777);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod code;
mod frame;
mod message;
pub mod opcode;
mod reader;
mod writer;

pub use frame::{
    DownFrame, FrameError, MAX_DOWN_PAYLOAD, MAX_SIZE, MAX_UP_PAYLOAD, UpFrame, decode_down, decode_up,
    down_header, encode_down, encode_up, up_header,
};
pub use message::{
    AutoId, ErrorInfo, LOGIN_CERTIFICATE, LOGIN_DEVICE, Message, SeedInfo, UserLoginInfo, UserSnapshot,
};
pub use reader::{ReadError, Reader};
pub use writer::{MAX_LEN, WriteError, Writer};
