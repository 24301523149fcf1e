//! Byte vectors observed from the original, byte for byte.

use hotseat_packet::{
    AutoId, DownFrame, ErrorInfo, MAX_SIZE, Message, ReadError, Reader, SeedInfo, UpFrame, UserLoginInfo,
    UserSnapshot, Writer, decode_down, decode_up, encode_down, encode_up, opcode,
};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| u8::try_from(c.to_digit(16).expect("vectors are hex")).expect("a digit is below 16"))
        .collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn the_writer_sequence_and_back() {
    let vector = bytes(
        "01ffff00ff0000ff000000ff000000000000003f8000004000000000000000ff\
         000b68656c6c6f20776f726c64000b68656c6c6f20776f726c640000",
    );
    let mut writer = Writer::new();
    writer.bool(true).u8(0xFF).u16(0xFF00).u24(0x00FF_0000).expect("fits");
    writer.u32(0xFF00_0000).u64(0xFF00_0000_0000_0000);
    writer.f32(1.0).expect("finite").f64(2.0).expect("finite").s8(-1);
    writer
        .string("hello world")
        .expect("fits")
        .bytes(b"hello world")
        .expect("fits")
        .bytes(b"")
        .expect("fits");
    assert_eq!(writer.as_bytes(), vector);
    assert_eq!(writer.len(), vector.len());

    let mut reader = Reader::new(&vector);
    assert_eq!(reader.bool(), Ok(true));
    assert_eq!(reader.u8(), Ok(0xFF));
    assert_eq!(reader.u16(), Ok(0xFF00));
    assert_eq!(reader.u24(), Ok(0x00FF_0000));
    assert_eq!(reader.u32(), Ok(0xFF00_0000));
    assert_eq!(reader.u64(), Ok(0xFF00_0000_0000_0000));
    assert_eq!(reader.f32(), Ok(1.0));
    assert_eq!(reader.f64(), Ok(2.0));
    assert_eq!(reader.s8(), Ok(-1));
    assert_eq!(reader.string(), Ok("hello world"));
    assert_eq!(reader.bytes(), Ok(&b"hello world"[..]));
    assert_eq!(reader.bytes(), Ok(&b""[..]));
    assert!(reader.is_empty());
    assert_eq!(reader.u8(), Err(ReadError::Short { what: "u8", needed: 1, left: 0 }));
}

#[test]
fn the_packed_struct_and_back() {
    let vector = bytes(
        "0080 01 00000010 0001 41 3f800000 00000020 3ff0000000000000 0005 0102030405
         0002 0400 0800 1000 2000 0064 0000 000a 0000000000000000000000000000000000000000",
    );
    let pairs: [(i16, u16); 2] = [(1024, 2048), (4096, 8192)];
    let mut writer = Writer::new();
    writer.s16(128).bool(true).s32(16).string("A").expect("fits").f32(1.0).expect("finite").u32(32);
    writer.f64(1.0).expect("finite").bytes(&[1, 2, 3, 4, 5]).expect("fits");
    writer
        .array(&pairs, |writer, (a, b)| {
            writer.s16(*a).u16(*b);
            Ok(())
        })
        .expect("fits");
    writer.s16(100).u16(0).count(10).expect("fits").zeros(20);
    assert_eq!(writer.into_bytes(), vector);

    let mut reader = Reader::new(&vector);
    assert_eq!(reader.s16(), Ok(128));
    assert_eq!(reader.bool(), Ok(true));
    assert_eq!(reader.s32(), Ok(16));
    assert_eq!(reader.string(), Ok("A"));
    assert_eq!(reader.f32(), Ok(1.0));
    assert_eq!(reader.u32(), Ok(32));
    assert_eq!(reader.f64(), Ok(1.0));
    assert_eq!(reader.bytes(), Ok(&[1, 2, 3, 4, 5][..]));
    assert_eq!(reader.array(|reader| Ok((reader.s16()?, reader.u16()?))), Ok(pairs.to_vec()));
    assert_eq!((reader.s16(), reader.u16()), (Ok(100), Ok(0)));
    assert_eq!(reader.array(Reader::s16), Ok(vec![0; 10]));
    assert!(reader.is_empty());

    let mut empty = Writer::new();
    empty.s16(129);
    assert_eq!(empty.into_bytes(), bytes("0081"));
}

#[test]
fn the_heartbeat() {
    let request = bytes("000a 00000001 0000 00000309");
    let answer = bytes("0006 0001 00000309");
    let payload = AutoId { id: 777 }.to_bytes().expect("fits");

    let mut out = Vec::new();
    encode_up(&mut out, 1, opcode::HEART_BEAT_REQ, &payload).expect("fits");
    assert_eq!(out, request);
    let frame = UpFrame { seq: 1, opcode: 0, payload: &payload };
    assert_eq!(decode_up(&request, MAX_SIZE), Ok(Some((frame, 12))));

    out.clear();
    encode_down(&mut out, opcode::HEART_BEAT_ACK, &payload).expect("fits");
    assert_eq!(out, answer);
    assert_eq!(decode_down(&answer), Ok(Some((DownFrame { opcode: 1, payload: &payload }, 8))));
}

#[test]
fn the_key_exchange() {
    let request = bytes("000e00000001001e63f3d8a54782dd0a");
    let answer = bytes("000a001f1a55ea5f4840d285");
    let asked = SeedInfo { client_send_seed: 1_676_925_093, client_receive_seed: 1_199_758_602 };
    let given = SeedInfo { client_send_seed: 441_838_175, client_receive_seed: 1_212_207_749 };

    let (frame, used) = decode_up(&request, MAX_SIZE).expect("a frame").expect("whole");
    assert_eq!((frame.seq, frame.opcode, used), (1, opcode::GET_SEED_REQ, request.len()));
    assert_eq!(SeedInfo::from_bytes(frame.payload), Ok(asked));
    assert_eq!(asked.to_bytes().expect("fits"), frame.payload);

    let (frame, used) = decode_down(&answer).expect("a frame").expect("whole");
    assert_eq!((frame.opcode, used), (opcode::GET_SEED_ACK, answer.len()));
    assert_eq!(SeedInfo::from_bytes(frame.payload), Ok(given));
    assert_eq!(given.to_bytes().expect("fits"), frame.payload);
}

#[test]
fn the_login_fields_are_in_the_order_of_the_original() {
    let info = UserLoginInfo {
        login_way: 1,
        open_udid: "u".into(),
        client_certificate: "c".into(),
        client_version: 2,
        user_lang: "l".into(),
        app_id: "a".into(),
        os_version: "o".into(),
        device_name: "n".into(),
        device_id: "d".into(),
        device_id_type: 3,
        login_ip: "i".into(),
    };
    let vector = bytes("00000001 000175 000163 00000002 00016c 000161 00016f 00016e 000164 00000003 000169");
    assert_eq!(info.to_bytes().expect("fits"), vector);
    assert_eq!(UserLoginInfo::from_bytes(&vector), Ok(info));
}

#[test]
fn the_snapshot_serves_the_original_client_and_reads_the_original_server() {
    let snapshot = UserSnapshot::new(0xFEDC_BA98_8765_4321);
    let vector = bytes("07654321 fedcba9887654321");
    assert_eq!(snapshot.to_bytes().expect("fits"), vector);
    assert_eq!(UserSnapshot::from_bytes(&vector), Ok(snapshot));
    assert_eq!(UserSnapshot::from_bytes(&bytes("00000001")), Ok(UserSnapshot { uid: 1, user: 1 }));
    let half = UserSnapshot::from_bytes(&bytes("00000001 00"));
    assert_eq!(half, Err(ReadError::Short { what: "u64", needed: 8, left: 1 }));
}

#[test]
fn trailing_bytes_are_ignored() {
    assert_eq!(AutoId::from_bytes(&bytes("00000309 ffff")), Ok(AutoId { id: 777 }));
    let refused = ErrorInfo { code: 6, msg: "no".into() };
    assert_eq!(ErrorInfo::from_bytes(&bytes("00000006 0002 6e6f 00")), Ok(refused));
}
