//! Outgoing: what sessions have for their host, made into messages.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Sessions, lock};
use crate::cluster::metrics::ClusterMetrics;
use crate::link::{Frames, Signal, Up};
use crate::proto::cluster::up::What as Sent;
use crate::proto::cluster::{self, Fence, Hello, UpBatch};

/// Items a message.
const BATCH: usize = 512;

/// Fields of [`UpBatch`] and [`cluster::Up`].
const UPS: u32 = 2;
const SESSION: u32 = 1;
const FRAMES: u32 = 2;

/// What the request stream is made of.
pub(super) struct Outgoing {
    queue: mpsc::Receiver<Up>,
    hello: Option<Hello>,
    batch: Vec<Up>,
    sessions: Arc<Mutex<Sessions>>,
    metrics: ClusterMetrics,
    /// Fires once what was not sent has been put back.
    ended: CancellationToken,
    /// Nobody reads what the host says any more: nothing is sent either. The transport would not find out by itself for as
    /// long as there is nothing to send.
    over: oneshot::Receiver<()>,
}

/// The stream is no more: frames that were never sent go with their sessions to the next host.
impl Drop for Outgoing {
    fn drop(&mut self) {
        let mut sessions = lock(&self.sessions);
        sessions.closed = true;
        // A session that finds its mailbox closed and has not been told why takes its room for dead.
        for seat in sessions.here.values().filter(|seat| seat.seated) {
            seat.outbox.signal(Signal::Moving);
        }
        self.queue.close();
        while let Ok(up) = self.queue.try_recv() {
            if let Up::Frames { session, frames, .. } = up {
                sessions.unsent.entry(session.0).or_default().push(frames);
            }
        }
        drop(sessions);
        self.ended.cancel();
    }
}

impl Outgoing {
    pub(super) fn new(
        queue: mpsc::Receiver<Up>,
        hello: Hello,
        sessions: Arc<Mutex<Sessions>>,
        metrics: ClusterMetrics,
        ended: CancellationToken,
        over: oneshot::Receiver<()>,
    ) -> Self {
        let batch = Vec::with_capacity(BATCH);
        Self { queue, hello: Some(hello), batch, sessions, metrics, ended, over }
    }

    /// The next message: what waits, once something does.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        if let Some(hello) = self.hello.take() {
            return Some(UpBatch { hello: Some(hello), ups: Vec::new() }.encode_to_vec().into());
        }
        let count = tokio::select! {
            biased;
            _ = &mut self.over => 0,
            count = self.queue.recv_many(&mut self.batch, BATCH) => count,
        };
        if count == 0 {
            return None;
        }
        self.metrics.messages.inc();
        self.metrics.entries.inc_by(count as u64);
        let bytes =
            self.batch.iter().map(|up| if let Up::Frames { frames, .. } = up { frames.bytes() } else { 0 });
        let mut out = Vec::with_capacity(bytes.sum::<usize>() + count * 32);
        for up in self.batch.drain(..) {
            encode(&self.sessions, up, &mut out);
        }
        Some(out.into())
    }
}

/// Appends one item to an encoded [`UpBatch`].
fn encode(sessions: &Mutex<Sessions>, up: Up, out: &mut Vec<u8>) {
    let (session, what) = match up {
        Up::Frames { session, frames, .. } => return encode_frames(session.0, &frames, out),
        Up::Fence { session, .. } => (session, Sent::Fence(Fence {})),
        Up::Leave { session, reason, .. } => {
            lock(sessions).here.remove(&session.0);
            (session, Sent::Leave(reason as u32))
        }
        Up::Join { player, .. } => {
            let mut sessions = lock(sessions);
            let seat = sessions.here.get_mut(&player.session.0);
            let Some(seat) = seat else { return };
            if let Some(login) = seat.noted.take() {
                let note = Sent::Note(cluster::Note { user: player.user.0, login });
                return encode_one(player.session.0, note, out);
            }
            let Some((request, _)) = seat.asking.as_mut() else { return };
            let attach = cluster::Attach {
                user: player.user.0,
                room: request.room.take().unwrap_or_default(),
                backlog: std::mem::take(&mut request.backlog).iter().map(Frames::to_bytes).collect(),
                login: request.login,
                again: request.again,
            };
            (player.session, Sent::Attach(attach))
        }
    };
    encode_one(session.0, what, out);
}

fn encode_one(session: u64, what: Sent, out: &mut Vec<u8>) {
    UpBatch { hello: None, ups: vec![cluster::Up { session, what: Some(what) }] }.encode_raw(out);
}

fn encode_frames(session: u64, frames: &Frames, out: &mut Vec<u8>) {
    let bytes = frames.as_bytes();
    let id = key_len(SESSION) + encoded_len_varint(session);
    let up = id + key_len(FRAMES) + encoded_len_varint(bytes.len() as u64) + bytes.len();
    encode_key(UPS, WireType::LengthDelimited, out);
    encode_varint(up as u64, out);
    encode_key(SESSION, WireType::Varint, out);
    encode_varint(session, out);
    encode_key(FRAMES, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::super::LinkedSession;
    use super::*;
    use crate::link::{FramesBuilder, Outbox, SessionId, UserId};

    #[tokio::test]
    async fn sessions_are_told_before_their_mailbox_closes() {
        let (ups, queue) = mpsc::channel(4);
        let (_reading, over) = oneshot::channel();
        let (sessions, ended) = (Arc::new(Mutex::new(Sessions::default())), CancellationToken::new());
        let metrics = ClusterMetrics::register(&Registry::new()).unwrap();
        let outgoing =
            Outgoing::new(queue, Hello::default(), Arc::clone(&sessions), metrics, ended.clone(), over);
        let outboxes = [7, 8].map(|number| {
            let outbox = Arc::new(Outbox::new(1 << 16));
            let seat =
                LinkedSession { outbox: Arc::clone(&outbox), asking: None, seated: number == 7, noted: None };
            lock(&sessions).here.insert(number, seat);
            outbox
        });
        let mut frames = FramesBuilder::default();
        frames.push(1001, b"unsent");
        ups.try_send(Up::Frames { user: UserId(1), session: SessionId(7), frames: frames.take() }).unwrap();
        drop(outgoing);
        assert!(ups.is_closed() && ended.is_cancelled());
        assert_eq!(lock(&sessions).unsent[&7].len(), 1);
        let [seated, known] = outboxes;
        assert!(matches!(seated.shut()[..], [Signal::Moving]));
        assert!(known.shut().is_empty());
    }
}
