//! Round trips of everything, and frames against a model that is slow and plain.

use hotseat_packet::{
    AutoId, ErrorInfo, FrameError, MAX_SIZE, Message, ReadError, Reader, SeedInfo, UserLoginInfo,
    UserSnapshot, Writer, decode_down, decode_up, encode_down, encode_up,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// One field of any type.
#[derive(Debug, Clone, PartialEq)]
enum Field {
    Bool(bool),
    U8(u8),
    S8(i8),
    U16(u16),
    S16(i16),
    U24(u32),
    S24(i32),
    U32(u32),
    S32(i32),
    U64(u64),
    S64(i64),
    F32(f32),
    F64(f64),
    Text(String),
    Bytes(Vec<u8>),
    Raw(Vec<u8>),
    Array(Vec<u16>),
}

fn field() -> impl Strategy<Value = Field> {
    prop_oneof![
        any::<bool>().prop_map(Field::Bool),
        any::<u8>().prop_map(Field::U8),
        any::<i8>().prop_map(Field::S8),
        any::<u16>().prop_map(Field::U16),
        any::<i16>().prop_map(Field::S16),
        (0..1_u32 << 24).prop_map(Field::U24),
        (-(1_i32 << 23)..1 << 23).prop_map(Field::S24),
        any::<u32>().prop_map(Field::U32),
        any::<i32>().prop_map(Field::S32),
        any::<u64>().prop_map(Field::U64),
        any::<i64>().prop_map(Field::S64),
        any::<f32>().prop_filter("finite", |value| value.is_finite()).prop_map(Field::F32),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(Field::F64),
        any::<String>().prop_map(Field::Text),
        vec(any::<u8>(), 0..40).prop_map(Field::Bytes),
        vec(any::<u8>(), 0..40).prop_map(Field::Raw),
        vec(any::<u16>(), 0..20).prop_map(Field::Array),
    ]
}

fn write(writer: &mut Writer, field: &Field) {
    match field {
        Field::Bool(value) => writer.bool(*value),
        Field::U8(value) => writer.u8(*value),
        Field::S8(value) => writer.s8(*value),
        Field::U16(value) => writer.u16(*value),
        Field::S16(value) => writer.s16(*value),
        Field::U24(value) => writer.u24(*value).expect("in range"),
        Field::S24(value) => writer.s24(*value).expect("in range"),
        Field::U32(value) => writer.u32(*value),
        Field::S32(value) => writer.s32(*value),
        Field::U64(value) => writer.u64(*value),
        Field::S64(value) => writer.s64(*value),
        Field::F32(value) => writer.f32(*value).expect("finite"),
        Field::F64(value) => writer.f64(*value).expect("finite"),
        Field::Text(value) => writer.string(value).expect("short"),
        Field::Bytes(value) => writer.bytes(value).expect("short"),
        Field::Raw(value) => writer.raw(value),
        Field::Array(value) => writer
            .array(value, |writer, item| {
                writer.u16(*item);
                Ok(())
            })
            .expect("short"),
    };
}

/// Reads a field of the type (and, for raw bytes, the length) of `like`.
fn read(reader: &mut Reader<'_>, like: &Field) -> Result<Field, ReadError> {
    Ok(match like {
        Field::Bool(_) => Field::Bool(reader.bool()?),
        Field::U8(_) => Field::U8(reader.u8()?),
        Field::S8(_) => Field::S8(reader.s8()?),
        Field::U16(_) => Field::U16(reader.u16()?),
        Field::S16(_) => Field::S16(reader.s16()?),
        Field::U24(_) => Field::U24(reader.u24()?),
        Field::S24(_) => Field::S24(reader.s24()?),
        Field::U32(_) => Field::U32(reader.u32()?),
        Field::S32(_) => Field::S32(reader.s32()?),
        Field::U64(_) => Field::U64(reader.u64()?),
        Field::S64(_) => Field::S64(reader.s64()?),
        Field::F32(_) => Field::F32(reader.f32()?),
        Field::F64(_) => Field::F64(reader.f64()?),
        Field::Text(_) => Field::Text(reader.string()?.to_owned()),
        Field::Bytes(_) => Field::Bytes(reader.bytes()?.to_vec()),
        Field::Raw(value) => Field::Raw(reader.raw(value.len())?.to_vec()),
        Field::Array(_) => Field::Array(reader.array(Reader::u16)?),
    })
}

type Frames = Vec<(u32, u16, Vec<u8>)>;

/// Everything in `bytes` up to the first error, by plain index arithmetic over the whole stream.
fn model(bytes: &[u8], max: usize) -> (Frames, Option<FrameError>) {
    let (mut frames, mut at) = (Frames::new(), 0);
    while at + 2 <= bytes.len() {
        let size = usize::from(bytes[at]) * 256 + usize::from(bytes[at + 1]);
        if size < 6 {
            return (frames, Some(FrameError::TooShort { size, min: 6 }));
        }
        if size > max {
            return (frames, Some(FrameError::TooLong { size, max }));
        }
        if at + 2 + size > bytes.len() {
            break;
        }
        let seq = bytes[at + 2..at + 6].iter().fold(0, |seq, byte| seq * 256 + u32::from(*byte));
        let opcode = u16::from(bytes[at + 6]) * 256 + u16::from(bytes[at + 7]);
        frames.push((seq, opcode, bytes[at + 8..at + 2 + size].to_vec()));
        at += 2 + size;
    }
    (frames, None)
}

/// The same by the codec, as a connection does it: chunks come in, whole frames go out.
fn stream(bytes: &[u8], chunks: &[usize], max: usize) -> (Frames, Option<FrameError>) {
    let (mut frames, mut buffer, mut rest) = (Frames::new(), Vec::new(), bytes);
    let mut chunks = chunks.iter().cycle();
    while !rest.is_empty() {
        let len = chunks.next().map_or(rest.len(), |chunk| *chunk).clamp(1, rest.len());
        buffer.extend_from_slice(&rest[..len]);
        rest = &rest[len..];
        loop {
            match decode_up(&buffer, max) {
                Ok(Some((frame, used))) => {
                    frames.push((frame.seq, frame.opcode, frame.payload.to_vec()));
                    buffer.drain(..used);
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

proptest! {
    #[test]
    fn fields_come_back_as_written(fields in vec(field(), 0..30)) {
        let mut writer = Writer::new();
        fields.iter().for_each(|field| write(&mut writer, field));
        let mut reader = Reader::new(writer.as_bytes());
        for field in &fields {
            prop_assert_eq!(&read(&mut reader, field).expect("written above"), field);
        }
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn a_cut_payload_is_an_error_and_never_a_panic(fields in vec(field(), 1..10), cut in any::<prop::sample::Index>()) {
        let mut writer = Writer::new();
        fields.iter().for_each(|field| write(&mut writer, field));
        prop_assume!(!writer.is_empty());
        let mut reader = Reader::new(&writer.as_bytes()[..cut.index(writer.len())]);
        let outcome: Result<Vec<_>, _> = fields.iter().map(|field| read(&mut reader, field)).collect();
        let short = matches!(outcome, Err(ReadError::Short { .. }));
        prop_assert!(short, "{:?}", outcome);
    }

    #[test]
    fn arbitrary_payloads_never_panic(bytes in vec(any::<u8>(), 0..200), fields in vec(field(), 0..20)) {
        let mut reader = Reader::new(&bytes);
        for field in &fields {
            let before = reader.left();
            match read(&mut reader, field) {
                Ok(_) => prop_assert!(reader.left() <= before),
                Err(_) => prop_assert!(matches!(field, Field::Array(_)) || reader.left() == before),
            }
        }
        let _ = (AutoId::from_bytes(&bytes), SeedInfo::from_bytes(&bytes), UserSnapshot::from_bytes(&bytes));
        let _ = (ErrorInfo::from_bytes(&bytes), UserLoginInfo::from_bytes(&bytes));
    }

    #[test]
    fn messages_come_back_as_written(
        id in any::<i32>(), other in any::<i32>(), user in any::<u64>(),
        text in any::<[String; 8]>(), tail in vec(any::<u8>(), 0..5),
    ) {
        fn there_and_back<M: Message + PartialEq + std::fmt::Debug>(message: &M, tail: &[u8]) {
            let mut bytes = message.to_bytes().expect("short");
            bytes.extend_from_slice(tail);
            assert_eq!(&M::from_bytes(&bytes).expect("written above"), message);
        }
        let [open_udid, client_certificate, user_lang, app_id, os_version, device_name, device_id, login_ip] = text;
        there_and_back(&AutoId { id }, &tail);
        there_and_back(&SeedInfo { client_send_seed: id, client_receive_seed: other }, &tail);
        there_and_back(&UserSnapshot::new(user), &tail);
        there_and_back(&ErrorInfo { code: id, msg: app_id.clone() }, &tail);
        there_and_back(&UserLoginInfo {
            login_way: id, open_udid, client_certificate, client_version: other, user_lang, app_id, os_version,
            device_name, device_id, device_id_type: id ^ other, login_ip,
        }, &tail);
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_frames(
        frames in vec((any::<u32>(), any::<u16>(), vec(any::<u8>(), 0..300)), 0..12),
        chunks in vec(1_usize..400, 1..8),
    ) {
        let mut bytes = Vec::new();
        for (seq, opcode, payload) in &frames {
            encode_up(&mut bytes, *seq, *opcode, payload).expect("short");
        }
        prop_assert_eq!(model(&bytes, MAX_SIZE), (frames.clone(), None));
        prop_assert_eq!(stream(&bytes, &chunks, MAX_SIZE), (frames, None));
    }

    #[test]
    fn arbitrary_bytes_give_what_the_model_gives(
        bytes in vec(prop_oneof![3 => 0_u8..12, 1 => any::<u8>()], 0..600),
        chunks in vec(1_usize..50, 1..8),
        max in 0_usize..2000,
    ) {
        prop_assert_eq!(stream(&bytes, &chunks, max), model(&bytes, max));
        let _ = decode_down(&bytes);
    }

    #[test]
    fn agent_frames_come_back_whole_and_only_whole(opcode in any::<u16>(), payload in vec(any::<u8>(), 0..300)) {
        let mut bytes = Vec::new();
        encode_down(&mut bytes, opcode, &payload).expect("short");
        for cut in 0..bytes.len() {
            prop_assert_eq!(decode_down(&bytes[..cut]), Ok(None));
        }
        let (frame, used) = decode_down(&bytes).expect("a frame").expect("whole");
        prop_assert_eq!((frame.opcode, frame.payload, used), (opcode, &payload[..], bytes.len()));
    }
}
