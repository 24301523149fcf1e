//! Play: a case on a real node, held against the model.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use futures_util::future::try_join_all;
use hotseat::proto::admin::RollbackRequest;
use hotseat_client::{Client, Frame};
use hotseat_packet::{ErrorInfo, Message as _, Reader, Writer, code, opcode};
use ledger::{CLOSED, COUNT, COUNTED, MOVE, SHOUT, SHOUTED, TRAP};
use tonic::Code;

use super::model::{Due, Expected, Model, heard};
use super::{Case, Entry, Op, Operator, PLAYERS, ROOMS, Round};
use crate::guests::guests;
use crate::world::{PATIENCE, World};

/// One player's connection and what it has heard.
struct Player {
    device: String,
    user: u64,
    client: Option<Client>,
    /// The version that counted last.
    version: u8,
    /// Seqs heard in this round, by user.
    heard: BTreeMap<u64, Vec<u32>>,
}

/// Plays a case to its end.
pub(super) async fn play(case: &Case) -> Result<(), String> {
    let world = World::with(&guests().ledger, |config| {
        config.probation_ms = if case.probation { 3_600_000 } else { 0 };
        // Small, so that snapshots take the place of the log now and then.
        config.log_inputs = if case.probation { 4096 } else { 16 };
    })
    .await;
    let mut model = Model::new();
    let mut players: Vec<_> = (0..PLAYERS)
        .map(|name| Player {
            device: format!("player {name}"),
            user: 0,
            client: None,
            version: 0,
            heard: BTreeMap::new(),
        })
        .collect();
    for (at, round) in case.rounds.iter().enumerate() {
        play_round(&world, &mut model, &mut players, round).await.map_err(|e| format!("round {at}: {e}"))?;
    }
    settled(&world, &mut model, &mut players).await?;
    if world.metric("hotseat_frames_undelivered_total").await > 0 && !goes(case) {
        return Err("frames were sent to nobody".into());
    }
    // The node waits a moment for clients to hear its goodbye; these do not listen any more.
    drop(players);
    world.stop().await;
    Ok(())
}

/// In the end every room runs what the node says is live. A version that is taken back goes room by room.
async fn settled(world: &World, model: &mut Model, players: &mut [Player]) -> Result<(), String> {
    for (player, figure) in players.iter_mut().zip(&mut model.figures).filter(|(_, figure)| figure.here) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut fence = Expected::default();
            figure.act(Op::Count, &mut fence);
            player.script(&fence, false).await?;
            let live = world.live().await;
            if live == format!("{}.0.0", player.version) {
                break;
            }
            if Instant::now() > deadline {
                return Err(format!("{} plays version {}, live is {live}", player.device, player.version));
            }
        }
    }
    Ok(())
}

/// Whether anybody ever goes.
fn goes(case: &Case) -> bool {
    case.rounds.iter().flat_map(|round| &round.parts).any(|part| part.entry != Entry::Stay)
}

async fn play_round(
    world: &World,
    model: &mut Model,
    players: &mut [Player],
    round: &Round,
) -> Result<(), String> {
    let expected = model.round(round);
    let ticks = world.metric(TICKS).await;
    let operator = operate(world, round.operator);
    let scripts = players.iter_mut().zip(&expected).zip(&round.parts);
    let acting = scripts.map(|((player, expected), part)| player.act(world, expected, part));
    let (operated, acted) = tokio::join!(operator, try_join_all(acting));
    operated?;
    acted?;
    if round.tick && model.figures.iter().any(|figure| figure.here) {
        crate::world::eventually("tick", async || (world.metric(TICKS).await > ticks).then_some(())).await;
    }
    // All have been answered, so all shouts are out; what is behind one more count has arrived.
    for (player, figure) in players.iter_mut().zip(&mut model.figures).filter(|(_, figure)| figure.here) {
        let mut fence = Expected::default();
        figure.act(Op::Count, &mut fence);
        player.script(&fence, false).await?;
    }
    for (listener, player) in
        expected.iter().zip(players.iter()).filter(|(listener, _)| !listener.rooms.is_empty())
    {
        for (speaker, other) in expected.iter().zip(players.iter()).filter(|(_, it)| it.user != player.user) {
            let seqs = player.heard.get(&other.user).map_or(&[][..], Vec::as_slice);
            heard(listener, speaker, seqs)
                .map_err(|error| format!("{} of {}: {error}", player.device, other.device))?;
        }
    }
    players.iter_mut().for_each(|player| player.heard.clear());
    Ok(())
}

const TICKS: &str = "hotseat_guest_calls_total{kind=\"tick\"}";

async fn operate(world: &World, operator: Operator) -> Result<(), String> {
    match operator {
        Operator::Nothing => Ok(()),
        Operator::Deploy => {
            world.deploy(&guests().ledger_v2).await.map(drop).map_err(|error| error.to_string())
        }
        Operator::Rollback => {
            let request = RollbackRequest { name: "game-logic".into(), cluster: false };
            match world.admin().await.rollback(request).await {
                // Nothing to go back to, or, off probation, a state that version 1 cannot read.
                Err(status) if status.code() != Code::FailedPrecondition => Err(status.to_string()),
                _ => Ok(()),
            }
        }
    }
}

impl Player {
    async fn act(&mut self, world: &World, expected: &Expected, part: &super::Part) -> Result<(), String> {
        let older = match part.entry {
            Entry::Away => {
                self.client = None;
                return Ok(());
            }
            Entry::Stay => None,
            Entry::Return => {
                self.client = None;
                None
            }
            Entry::Again => self.client.take(),
        };
        if self.client.is_none() {
            let (client, user) = world.player(&self.device).await;
            (self.client, self.user) = (Some(client), user);
        }
        if let Some(older) = older {
            replaced(older).await?;
        }
        self.script(expected, part.piecemeal).await.map_err(|error| format!("{}: {error}", self.device))
    }

    /// Sends what is to be sent and reads until all of it is answered.
    pub(super) async fn script(&mut self, expected: &Expected, piecemeal: bool) -> Result<(), String> {
        let Self { client, user, version, heard, .. } = self;
        let client = client.as_mut().ok_or("is not there")?;
        for (op, seq) in &expected.sends {
            let (opcode, payload) = encode(*op, *seq);
            client.queue(opcode, &payload).map_err(|error| error.to_string())?;
            if piecemeal {
                client.flush().await.map_err(|error| error.to_string())?;
            }
        }
        client.flush().await.map_err(|error| error.to_string())?;
        let mut due: VecDeque<Due> = expected.due.iter().copied().collect();
        while let Some(next) = due.front() {
            let frame = client.recv().await.map_err(|error| format!("{error}, {next:?} is due"))?;
            if let Some((by, seq)) = shouted(&frame).filter(|(by, _)| by != user) {
                if let Due::Closed { .. } = next {
                    return Err(format!("{next:?} is torn from what came with it"));
                }
                heard.entry(by).or_default().push(seq);
            } else if answers(&frame, *next, *user) {
                if let Due::Counted { .. } = next {
                    *version = frame.payload[8];
                }
                due.pop_front();
            } else {
                return Err(format!("{next:?} is due, {frame:?} came"));
            }
        }
        Ok(())
    }
}

/// The older connection hears that it is replaced, and nothing but shouts before.
async fn replaced(mut older: Client) -> Result<(), String> {
    loop {
        match older.recv().await {
            Ok(frame) if shouted(&frame).is_some() || opcode::is_error(frame.opcode) => {}
            Ok(frame) => return Err(format!("{frame:?} came to a connection that is replaced")),
            Err(hotseat_client::ClientError::Closed { last_error: Some(last), .. })
                if last.code == code::DUPLICATE_LOGIN =>
            {
                return Ok(());
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn encode(op: Op, seq: u32) -> (u16, Vec<u8>) {
    let seq = seq.to_be_bytes().to_vec();
    match op {
        Op::Count => (COUNT, seq),
        Op::Shout => (SHOUT, seq),
        Op::Trap => (TRAP, seq),
        Op::Move(to) => {
            let mut writer = Writer::new();
            writer.string(ROOMS[to]).unwrap();
            (MOVE, writer.into_bytes())
        }
    }
}

/// Who shouted, and what.
fn shouted(frame: &Frame) -> Option<(u64, u32)> {
    let mut reader = Reader::new(&frame.payload);
    (frame.opcode == SHOUTED).then(|| (reader.u64().unwrap(), reader.u32().unwrap()))
}

/// Whether the frame is what is due.
fn answers(frame: &Frame, due: Due, user: u64) -> bool {
    let mut reader = Reader::new(&frame.payload);
    match (due, frame.opcode) {
        (Due::Counted { seq, count }, COUNTED) => {
            let seen = (reader.u32(), reader.u32());
            seen == (Ok(seq), Ok(count)) && matches!(reader.u8(), Ok(1 | 2)) && reader.rest().is_empty()
        }
        (Due::Closed { seq }, CLOSED) => reader.u32() == Ok(seq),
        (Due::OwnShout { seq }, SHOUTED) => shouted(frame) == Some((user, seq)),
        (Due::Failed, opcode::CLIENT_ERROR_ACK) => {
            ErrorInfo::from_bytes(&frame.payload).is_ok_and(|error| error.code == code::MESSAGE_FAILED)
        }
        _ => false,
    }
}
