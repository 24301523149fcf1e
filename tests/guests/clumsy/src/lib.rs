//! A service guest that counts its orders and misbehaves on request: `proto/clumsy.proto`.
//!
//! | `what` | happens |
//! |---|---|
//! | [`COUNT`] | counts, tells the listeners |
//! | [`TRAP`] | counts, panics: the count must not show it |
//! | [`LOOP`] | counts, never returns |
//! | [`REFUSE`] | refuses with the gRPC status `number` |
//! | [`BIG`] | answers, or tells the listeners, `number` bytes |
//! | [`FLOOD`] | tells the listeners `number` messages of 1 KiB |
//! | [`LATER`] | counts `number` ms later, in a timer; [`TRAP_LATER`] traps there |
//! | [`END`] | ends all streams with the status `number` |
//! | [`CALL`] | calls itself through the host: counts once more when the answer is there |
//! | [`DRAW`] | answers a random number and an id, and asks for all it can: in a query none of it may be seen |
//! | [`FEED`] | calls itself `number` times at once |

use hotseat_guest::{Answer, Failure, Service, Shard};
use prost::Message;
use serde::{Deserialize, Serialize};

#[expect(missing_docs, reason = "see the table above")]
pub mod what {
    pub const COUNT: u32 = 0;
    pub const TRAP: u32 = 1;
    pub const LOOP: u32 = 2;
    pub const REFUSE: u32 = 3;
    pub const BIG: u32 = 4;
    pub const FLOOD: u32 = 5;
    pub const LATER: u32 = 6;
    pub const TRAP_LATER: u32 = 7;
    pub const END: u32 = 8;
    pub const CALL: u32 = 9;
    pub const FEED: u32 = 10;
    pub const DRAW: u32 = 11;
}
use what::*;

/// A request.
#[derive(Clone, PartialEq, Message)]
pub struct Order {
    /// Names the shard.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// What is to be done.
    #[prost(uint32, tag = "2")]
    pub what: u32,
    /// How much, or how.
    #[prost(uint64, tag = "3")]
    pub number: u64,
}

/// An answer.
#[derive(Clone, PartialEq, Message)]
pub struct Sum {
    /// How many orders this shard has carried out.
    #[prost(uint64, tag = "1")]
    pub orders: u64,
    /// As much as was asked for.
    #[prost(bytes = "vec", tag = "2")]
    pub filler: Vec<u8>,
}

/// The state.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Clumsy {
    orders: u64,
    listeners: Vec<u64>,
}

hotseat_guest::export_service!(Clumsy);

impl Clumsy {
    fn sum(&self, filler: usize) -> Vec<u8> {
        Sum { orders: self.orders, filler: vec![7; filler] }.encode_to_vec()
    }

    fn tell(&self, shard: &Shard, filler: usize) {
        shard.send(&self.listeners, &self.sum(filler));
    }
}

fn read(body: &[u8]) -> Result<Order, Failure> {
    Order::decode(body).map_err(|error| Failure::undecodable(error.to_string()))
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Service for Clumsy {
    const SCHEMA: u32 = 1;

    fn open(_: &Shard, _: &str) -> Result<Self, String> {
        Ok(Self::default())
    }

    fn call(&mut self, shard: &Shard, _: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let Order { id, what, number } = read(body)?;
        self.orders += 1;
        let mut filler = 0;
        match what {
            COUNT => self.tell(shard, 0),
            TRAP => panic!("as ordered"),
            LOOP => loop {
                std::hint::black_box(id);
            },
            REFUSE => {
                self.orders -= 1;
                return Err(Failure::new(u32::try_from(number).unwrap_or(u32::MAX), "as ordered"));
            }
            BIG => {
                filler = size(number);
                self.tell(shard, filler);
            }
            FLOOD => (0..number).for_each(|_| self.tell(shard, 1024)),
            LATER => shard.set_timer(1, u32::try_from(number).unwrap_or(u32::MAX)),
            TRAP_LATER => shard.set_timer(2, u32::try_from(number).unwrap_or(u32::MAX)),
            END => {
                let status = u32::try_from(number).unwrap_or(u32::MAX);
                for listener in std::mem::take(&mut self.listeners) {
                    let end = if status == 0 { Ok(()) } else { Err(Failure::new(status, "as ordered")) };
                    shard.end(listener, end);
                }
            }
            CALL | FEED => {
                let body = Order { id, what: COUNT, number: 0 }.encode_to_vec();
                for _ in 0..number.max(1) {
                    shard.call("clumsy", "", "test.Clumsy/Do", &body);
                }
            }
            _ => {
                self.orders -= 1;
                return Err(Failure::invalid(format!("there is no order {what}")));
            }
        }
        Ok(self.sum(filler))
    }

    fn query(&self, shard: &Shard, _: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let Order { what, number, .. } = read(body)?;
        match what {
            TRAP => panic!("as ordered"),
            DRAW => {
                shard.set_timer(1, 0);
                self.tell(shard, 0);
                shard.call("clumsy", "", "test.Clumsy/Do", body);
                shard.next_id();
                Ok(Sum { orders: shard.random(), filler: Vec::new() }.encode_to_vec())
            }
            _ => Ok(self.sum(size(number))),
        }
    }

    fn subscribe(&mut self, shard: &Shard, channel: u64, _: &str, body: &[u8]) -> Result<(), Failure> {
        let Order { what, number, .. } = read(body)?;
        match what {
            TRAP => panic!("as ordered"),
            REFUSE => Err(Failure::new(u32::try_from(number).unwrap_or(u32::MAX), "as ordered")),
            END => {
                shard.send(&[channel], &self.sum(0));
                shard.end(channel, Ok(()));
                Ok(())
            }
            _ => {
                self.listeners.push(channel);
                Ok(())
            }
        }
    }

    fn unsubscribe(&mut self, _: &Shard, channel: u64) {
        self.listeners.retain(|listener| *listener != channel);
        self.orders += 1000;
    }

    fn timer(&mut self, shard: &Shard, id: u64) {
        assert_eq!(id, 1, "as ordered");
        self.orders += 1;
        self.tell(shard, 0);
    }

    fn reply(&mut self, shard: &Shard, _: u64, answer: Answer) {
        if answer.status == 0 {
            self.orders += 1;
        }
        self.tell(shard, size(u64::from(answer.status)));
    }
}
