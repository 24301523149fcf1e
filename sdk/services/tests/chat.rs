//! A game that calls chat: what it asks, and what it makes of the answers.

use hotseat_guest::testing::TestRoom;
use hotseat_guest::{Answer, Game, Refusal, Room, UserId};
use hotseat_services::chat::{Client, ConsumeLatest, Id, List, Message, Posted, method};
use prost::Message as _;
use serde::{Deserialize, Serialize};

const CHAT: Client = Client::new("chat");

/// Frame 1300 registers endpoint 1, 1301 posts to it, 1302 reads it; each notes what came of it.
#[derive(Serialize, Deserialize)]
struct Hall {
    notes: Vec<String>,
}

impl Game for Hall {
    const SCHEMA: u32 = 1;

    fn open(_room: &Room<Self>, _key: &str, _args: &[u8]) -> Result<Self, String> {
        Ok(Self { notes: Vec::new() })
    }

    fn message(&mut self, room: &Room<Self>, user: UserId, op: u16, body: &[u8]) -> Result<(), Refusal> {
        let body = body.to_vec();
        room.spawn(async move |handle| {
            let note = match op {
                1300 => CHAT.reg(&handle, 1).await.map(|()| "registered".to_owned()),
                1301 => {
                    CHAT.post(&handle, 1, user, &body).await.map(|posted| format!("at {}", posted.offset))
                }
                _ => CHAT.latest(&handle, 1, 2).await.map(|messages| format!("{} messages", messages.len())),
            };
            let note = note.unwrap_or_else(|error| error.to_string());
            handle.update(|hall, _| hall.notes.push(note));
        });
        Ok(())
    }
}

/// What a frame asks of chat, and what the hall notes at that answer.
#[track_caller]
fn ask(op: u16, answer: Answer) -> (&'static str, Vec<u8>, String) {
    let mut room = TestRoom::<Hall>::open("home/1", b"").expect("opens");
    room.join(7);
    room.message(7, op, b"hi").expect("is accepted");
    let call = room.answer_next(answer);
    assert_eq!((call.service.as_str(), call.instance.as_str()), ("chat", ""));
    let method = [method::REG, method::POST, method::LATEST].into_iter().find(|it| *it == call.method);
    (method.expect("is one of three"), call.body, room.state().notes.concat())
}

#[test]
fn registering_is_fine_if_it_is_there() {
    let request = Id { id: 1 }.encode_to_vec();
    for (answer, note) in [
        (Answer::ok([]), "registered"),
        (Answer::error(6, "id already exists"), "registered"),
        (Answer::error(14, "away"), "proto.ChatService/Reg: status 14: away"),
    ] {
        assert_eq!(ask(1300, answer), (method::REG, request.clone(), note.into()));
    }
}

#[test]
fn posting_answers_the_offset() {
    let request = Message { id: 1, body: b"hi".into(), sender: 7, ..Message::default() }.encode_to_vec();
    let posted = Posted { offset: 5, time_ms: 9 }.encode_to_vec();
    assert_eq!(ask(1301, Answer::ok(posted)), (method::POST, request.clone(), "at 5".into()));
    let muted = ask(1301, Answer::error(7, "user 7 is muted"));
    assert_eq!(muted, (method::POST, request, "proto.ChatService/Post: status 7: user 7 is muted".into()));
}

#[test]
fn the_latest_are_read() {
    let request = ConsumeLatest { id: 1, length: 2 }.encode_to_vec();
    let list = List { messages: vec![Message::default(); 2], cut: false }.encode_to_vec();
    assert_eq!(ask(1302, Answer::ok(list)), (method::LATEST, request, "2 messages".into()));
    let (_, _, note) = ask(1302, Answer::ok([0xff]));
    assert!(note.starts_with("proto.ChatService/Latest: the response does not decode: "), "{note}");
}
