//! What the codec refuses, and with which words.

use hotseat_packet::{
    FrameError, MAX_DOWN_PAYLOAD, MAX_LEN, MAX_SIZE, MAX_UP_PAYLOAD, Message, ReadError, Reader,
    UserLoginInfo, WriteError, Writer, code, decode_down, decode_up, encode_down, encode_up, opcode,
};

#[test]
fn a_size_below_the_header_is_refused_before_the_body_is_there() {
    for size in 0..6_u8 {
        let error = FrameError::TooShort { size: size.into(), min: 6 };
        assert_eq!(decode_up(&[0, size], MAX_SIZE), Err(error));
        assert_eq!(decode_up(&[0, size, 1, 2, 3, 4, 5, 6, 7], MAX_SIZE), Err(error));
    }
    for size in 0..2_u8 {
        assert_eq!(decode_down(&[0, size]), Err(FrameError::TooShort { size: size.into(), min: 2 }));
    }
    assert_eq!(decode_up(&[], MAX_SIZE), Ok(None));
    assert_eq!(decode_up(&[0], MAX_SIZE), Ok(None));
    assert_eq!(decode_down(&[0]), Ok(None));
}

#[test]
fn a_size_above_the_limit_is_refused_at_its_second_byte() {
    assert_eq!(decode_up(&[0x04], 1024), Ok(None));
    assert_eq!(decode_up(&[0x04, 0x00], 1024), Ok(None));
    assert_eq!(decode_up(&[0x04, 0x01], 1024), Err(FrameError::TooLong { size: 1025, max: 1024 }));
    assert_eq!(decode_up(&[0xFF, 0xFF], MAX_SIZE), Ok(None));
}

#[test]
fn the_longest_payload_passes_and_one_more_byte_does_not() {
    let payload = vec![7; MAX_DOWN_PAYLOAD + 1];
    let mut out = vec![9];

    encode_up(&mut out, 1, 2, &payload[..MAX_UP_PAYLOAD]).expect("fits");
    let (frame, used) = decode_up(&out[1..], MAX_SIZE).expect("a frame").expect("whole");
    assert_eq!((frame.payload.len(), used), (65_529, 65_537));
    out.truncate(1);
    let error = encode_up(&mut out, 1, 2, &payload[..=MAX_UP_PAYLOAD]);
    assert_eq!(error, Err(FrameError::PayloadTooLong { len: 65_530, max: 65_529 }));
    assert_eq!(out, [9]);

    encode_down(&mut out, 2, &payload[..MAX_DOWN_PAYLOAD]).expect("fits");
    let (frame, used) = decode_down(&out[1..]).expect("a frame").expect("whole");
    assert_eq!((frame.payload.len(), used), (65_533, 65_537));
    out.truncate(1);
    let error = encode_down(&mut out, 2, &payload);
    assert_eq!(error, Err(FrameError::PayloadTooLong { len: 65_534, max: 65_533 }));
    assert_eq!(out, [9]);
}

#[test]
fn lengths_above_65535_are_errors_and_write_nothing() {
    let bytes = vec![b'x'; MAX_LEN + 1];
    let text = std::str::from_utf8(&bytes).expect("ascii");
    let too_long = |what| WriteError::TooLong { what, len: 65_536, max: 65_535 };
    let mut writer = Writer::new();
    writer.u8(1);
    assert_eq!(writer.string(text).err(), Some(too_long("string")));
    assert_eq!(writer.bytes(&bytes).err(), Some(too_long("bytes")));
    assert_eq!(writer.count(bytes.len()).err(), Some(too_long("array")));
    assert_eq!(writer.array(&bytes, |_, _| Ok(())).err(), Some(too_long("array")));
    assert_eq!(writer.as_bytes(), [1]);
    assert_eq!(too_long("string").to_string(), "string of length 65536 is above 65535");

    writer.string(&text[1..]).expect("65,535 bytes fit");
    assert_eq!(writer.len(), 1 + 2 + 65_535);
}

#[test]
fn a_failing_element_takes_its_array_back() {
    let mut writer = Writer::new();
    let error = writer.array(&[1.0, f32::NAN], |writer, value| writer.f32(*value).map(drop)).err();
    assert_eq!(error, Some(WriteError::NotFinite { what: "f32" }));
    assert!(writer.is_empty());
}

#[test]
fn three_byte_integers_keep_their_sign_and_their_range() {
    assert_eq!(Reader::new(&[0xFF, 0xFF, 0xFE]).s24(), Ok(-2));
    assert_eq!(Reader::new(&[0xFF, 0xFF, 0xFE]).u24(), Ok(16_777_214));
    assert_eq!(Reader::new(&[0x80, 0, 0]).s24(), Ok(-8_388_608));
    assert_eq!(Reader::new(&[0x7F, 0xFF, 0xFF]).s24(), Ok(8_388_607));
    let mut writer = Writer::new();
    let range = |what, value, min, max| Some(WriteError::OutOfRange { what, value, min, max });
    assert_eq!(writer.u24(1 << 24).err(), range("u24", 1 << 24, 0, 16_777_215));
    assert_eq!(writer.s24(1 << 23).err(), range("s24", 1 << 23, -8_388_608, 8_388_607));
    assert_eq!(writer.s24(-(1 << 23) - 1).err(), range("s24", -8_388_609, -8_388_608, 8_388_607));
    assert!(writer.is_empty());
}

#[test]
fn rubbish_is_an_error_and_the_reader_stays() {
    let mut reader = Reader::new(&[2]);
    assert_eq!(reader.bool(), Err(ReadError::BadBool { value: 2 }));
    assert_eq!(reader.left(), 1);

    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let bytes = value.to_be_bytes();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.f64(), Err(ReadError::NotFinite { what: "f64" }));
        assert_eq!(reader.left(), 8);
        let bytes = (value as f32).to_be_bytes();
        assert_eq!(Reader::new(&bytes).f32(), Err(ReadError::NotFinite { what: "f32" }));
        assert_eq!(Writer::new().f64(value).err(), Some(WriteError::NotFinite { what: "f64" }));
        assert_eq!(Writer::new().f32(value as f32).err(), Some(WriteError::NotFinite { what: "f32" }));
    }

    let mut reader = Reader::new(&[0, 3, b'a', 0xFF, b'b']);
    assert_eq!(reader.string(), Err(ReadError::NotUtf8 { len: 3, valid: 1 }));
    assert_eq!(reader.bytes(), Ok(&[b'a', 0xFF, b'b'][..]));
}

#[test]
fn a_short_read_names_type_need_and_rest_and_stays() {
    let mut reader = Reader::new(&[0, 5, 1]);
    assert_eq!(reader.u32(), Err(ReadError::Short { what: "u32", needed: 4, left: 3 }));
    assert_eq!(reader.string(), Err(ReadError::Short { what: "string", needed: 7, left: 3 }));
    assert_eq!(reader.bytes(), Err(ReadError::Short { what: "bytes", needed: 7, left: 3 }));
    assert_eq!(reader.raw(4), Err(ReadError::Short { what: "raw bytes", needed: 4, left: 3 }));
    assert_eq!(reader.u32().map_err(|error| error.to_string()), Err("u32 needs 4 bytes, 3 left".into()));
    assert_eq!(reader.raw(3), Ok(&[0, 5, 1][..]));
    assert_eq!(reader.bool(), Err(ReadError::Short { what: "bool", needed: 1, left: 0 }));
    assert_eq!(reader.count(), Err(ReadError::Short { what: "array count", needed: 2, left: 0 }));
}

#[test]
fn a_count_that_lies_reserves_no_memory_and_fails() {
    let mut reader = Reader::new(&[0xFF, 0xFF, 1, 2]);
    assert_eq!(reader.array(Reader::u8), Err(ReadError::Short { what: "u8", needed: 1, left: 0 }));
}

#[test]
fn debug_hides_the_certificate() {
    let info = UserLoginInfo { client_certificate: "secret".into(), ..UserLoginInfo::default() };
    let shown = format!("{info:?}");
    assert!(shown.contains("<6 bytes>") && !shown.contains("secret"), "{shown}");
}

#[test]
fn codes_and_opcodes_are_the_documented_ones() {
    assert_eq!(code::ALL, (1..=18).collect::<Vec<_>>());
    assert_eq!(code::name(code::MESSAGE_FAILED), Some("message_failed"));
    assert_eq!((code::name(0), code::name(code::PLUGIN_MIN)), (None, None));
    assert!(!opcode::is_game(1000) && opcode::is_game(1001));
    assert!(opcode::is_game(32_767) && !opcode::is_game(32_768));
    assert!(opcode::is_error(12) && opcode::is_error(13) && !opcode::is_error(11));
    assert_eq!(UserLoginInfo::from_bytes(&[]), Err(ReadError::Short { what: "s32", needed: 4, left: 0 }));
}
