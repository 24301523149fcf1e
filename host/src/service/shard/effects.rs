//! Told: what a shard says, held back until the disk has what it rests on.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Deferred, Shard, cut};
use crate::actor::{IN_FLIGHT_MAX, Request as Outgoing};
use crate::plugin::Effect;
use crate::service::request::{Code, Failure};

/// Something that others are to hear of.
#[derive(Debug)]
pub(super) enum Said {
    Answer(oneshot::Sender<Result<Bytes, Failure>>, Result<Bytes, Failure>),
    Subscribed(oneshot::Sender<Result<u64, Failure>>, Result<u64, Failure>),
    /// The message is a frame as the streams' clients get it.
    Messages {
        channels: Box<[u64]>,
        message: Bytes,
    },
    End {
        channel: u64,
        result: Result<(), Failure>,
    },
    Call {
        token: u64,
        service: String,
        instance: String,
        method: String,
        body: Bytes,
    },
}

impl Shard {
    /// Takes over what the last call asked for.
    pub(super) fn release(&mut self) {
        if self.actor.sandbox.effects().is_empty() {
            return;
        }
        let mut effects = std::mem::take(self.actor.sandbox.effects());
        for effect in effects.iter() {
            match effect {
                Effect::SendChannels { channels, message } => self
                    .said
                    .push(Said::Messages { channels: channels.into(), message: self.unread.frame(message) }),
                Effect::EndChannel { channel, status, text } => {
                    let code = Code::Guest(i32::try_from(status).unwrap_or(i32::MAX));
                    let result = if status == 0 { Ok(()) } else { Err(Failure::new(code, cut(text))) };
                    self.said.push(Said::End { channel, result });
                }
                Effect::Call { token, service, instance, method, body } => self.said.push(Said::Call {
                    token,
                    service: service.to_owned(),
                    instance: instance.to_owned(),
                    method: method.to_owned(),
                    body: Bytes::copy_from_slice(body),
                }),
                // The sandbox keeps timers; the rest belongs to rooms, and this world does not import it.
                _ => {}
            }
        }
        effects.clear();
        *self.actor.sandbox.effects() = effects;
    }

    /// Writes what has happened to the journal, and tells what the disk has already.
    pub(super) fn flush(&mut self) {
        self.actor.sandbox.write_inputs();
        let position = self.actor.sandbox.position();
        let mut said = std::mem::take(&mut self.said);
        self.held.extend(said.drain(..).map(|said| (position, said)));
        self.said = said;
        let synced = *self.synced.borrow_and_update();
        while self.held.front().is_some_and(|(position, _)| *position <= synced) {
            if let Some((_, said)) = self.held.pop_front() {
                self.tell(said);
            }
        }
        let held = i64::try_from(self.held.len()).unwrap_or(i64::MAX);
        if held != self.held_counted {
            self.metrics.held.add(held - self.held_counted);
            self.held_counted = held;
        }
    }

    fn tell(&mut self, said: Said) {
        match said {
            // Askers may have gone; the shard does not mind.
            Said::Answer(answer, result) => drop(answer.send(result)),
            Said::Subscribed(answer, result) => {
                if let Err(Ok(channel)) = answer.send(result)
                    && self.streams.contains_key(&channel)
                {
                    self.forget(channel);
                    self.deferred.push_back(Deferred::Cut(channel));
                }
            }
            Said::Messages { channels, message } => {
                for channel in channels {
                    if self.streams.get(&channel).is_some_and(|queue| !queue.push(&message)) {
                        self.forget(channel);
                        self.metrics.cut.inc();
                        self.deferred.push_back(Deferred::Cut(channel));
                    }
                }
            }
            Said::End { channel, result } => {
                if let Some(queue) = self.streams.get(&channel) {
                    queue.end(result);
                    self.forget(channel);
                }
            }
            Said::Call { token, service, instance, method, body } => {
                if self.in_flight == IN_FLIGHT_MAX {
                    self.deferred.push_back(Deferred::Refused(token));
                } else {
                    self.in_flight += 1;
                    let (service, instance, method) = (&*service, &*instance, &*method);
                    let outgoing = Outgoing { token, service, instance, method, body: &body };
                    self.services.start(&outgoing, self.replies.clone());
                }
            }
        }
    }
}
