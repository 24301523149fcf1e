use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Owned {
    Join(u64, Option<(u64, Vec<u8>)>),
    Rejoin(u64),
    Leave(u64, u32),
    Message(u64, u16, Vec<u8>),
    Tick(u32),
    Timer(u64),
    Reply(u64, u32, Vec<u8>, String),
    Call(String, Vec<u8>),
    Query(String, Vec<u8>),
    Subscribe(u64, String, Vec<u8>),
    Unsubscribe(u64),
}

impl Owned {
    fn borrow(&self) -> Input<'_> {
        match self {
            Self::Join(user, profile) => {
                let profile = profile.as_ref().map(|(version, bytes)| (*version, &bytes[..]));
                Input::Join { user: *user, profile }
            }
            Self::Rejoin(user) => Input::Rejoin { user: *user },
            Self::Leave(user, reason) => Input::Leave { user: *user, reason: *reason },
            Self::Message(user, op, payload) => Input::Message { user: *user, op: *op, payload },
            Self::Tick(dt_ms) => Input::Tick { dt_ms: *dt_ms },
            Self::Timer(id) => Input::Timer { id: *id },
            Self::Reply(token, status, body, text) => {
                Input::Reply { token: *token, status: *status, body, text }
            }
            Self::Call(method, body) => Input::Call { method, body },
            Self::Query(method, body) => Input::Query { method, body },
            Self::Subscribe(channel, method, body) => Input::Subscribe { channel: *channel, method, body },
            Self::Unsubscribe(channel) => Input::Unsubscribe { channel: *channel },
        }
    }
}

fn any_input() -> impl Strategy<Value = Owned> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        (any::<u64>(), prop::option::of((1u64.., bytes()))).prop_map(|(u, p)| Owned::Join(u, p)),
        any::<u64>().prop_map(Owned::Rejoin),
        (any::<u64>(), any::<u32>()).prop_map(|(u, r)| Owned::Leave(u, r)),
        (any::<u64>(), any::<u16>(), bytes()).prop_map(|(u, o, p)| Owned::Message(u, o, p)),
        any::<u32>().prop_map(Owned::Tick),
        any::<u64>().prop_map(Owned::Timer),
        (any::<u64>(), any::<u32>(), bytes(), ".{0,10}").prop_map(|(t, s, b, x)| Owned::Reply(t, s, b, x)),
        (".{0,10}", bytes()).prop_map(|(m, b)| Owned::Call(m, b)),
        (".{0,10}", bytes()).prop_map(|(m, b)| Owned::Query(m, b)),
        (any::<u64>(), ".{0,10}", bytes()).prop_map(|(c, m, b)| Owned::Subscribe(c, m, b)),
        any::<u64>().prop_map(Owned::Unsubscribe),
    ]
}

proptest! {
    #[test]
    fn records_read_back_as_written(
        inputs in prop::collection::vec((any::<u64>(), any_input(), prop::collection::vec(any::<u64>(), 0..3)), 0..30)
    ) {
        let mut records = Records::default();
        for (at, input, ids) in &inputs {
            records.push(*at, &input.borrow());
            if !ids.is_empty() {
                records.push_ids(*at, ids);
            }
        }
        prop_assert_eq!(records.inputs(), inputs.len());
        let seen: Vec<_> = records.iter().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(seen.len(), inputs.len());
        for ((at, input, ids), (at_seen, input_seen, ids_seen)) in inputs.iter().zip(&seen) {
            prop_assert_eq!(at, at_seen);
            prop_assert_eq!(&input.borrow(), input_seen);
            prop_assert_eq!(ids, ids_seen);
        }
    }

    #[test]
    fn damaged_records_are_an_error_and_never_a_panic(
        inputs in prop::collection::vec(any_input(), 1..10), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut records = Records::default();
        for input in &inputs {
            records.push(1, &input.borrow());
        }
        let at = at.index(records.bytes.len());
        records.bytes[at] = byte;
        let mut faults = 0;
        for read in records.iter() {
            faults += usize::from(read.is_err());
        }
        prop_assert!(faults <= 1);
    }
}

#[test]
fn a_cut_drops_the_tail_only() {
    let mut records = Records::default();
    records.push(1, &Input::Tick { dt_ms: 50 });
    let mark = records.mark();
    records.push(2, &Input::Message { user: 1, op: 1001, payload: b"x" });
    records.push_ids(2, &[9]);
    records.cut(mark);
    let seen: Vec<_> = records.iter().map(|read| read.unwrap().1).collect();
    assert_eq!(seen, [Input::Tick { dt_ms: 50 }]);
}
