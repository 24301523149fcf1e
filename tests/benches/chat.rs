//! What one chat message to many subscribers costs inside the guest, and the same code natively, in one run.
//!
//! The chat plugin as it is built for a node, called through the engine as a shard does; beside it the same crate
//! compiled for this machine, called through the SDK's test shard. Both get the same encoded `Send` of 64 bytes, write it
//! to a log that is full, and ask for it to be sent to all subscribers: one effect with the list of them. The effect is
//! taken out as the host takes it, but nobody is given the message: that is the host's part, native in either case, and
//! `services.rs` measures it. Processor time of the thread, medians of three rounds.
//!
//! `cargo bench -p hotseat --bench chat -- [--subscribers 1,100,10000]`

#[path = "support/guest.rs"]
mod guest;
#[path = "support/instance.rs"]
mod instance;
#[path = "support/timing.rs"]
mod timing;

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use chat::{Chat, V1};
use guest::prepare;
use hotseat::plugin::{Effect, Input, Instance, Verdict};
use hotseat_guest::testing::{Effect as Asked, Setup, TestShard};
use hotseat_services::chat::{Consumer, Id, Message, NEW_ONLY, method};
use instance::fresh;
use prost::Message as _;
use timing::{median_of_three, row, spent};

/// No limit on senders: one of them sends all.
const SETTINGS: [(&str, &str); 1] = [("messages_per_minute", "0")];

/// More than the log keeps (1,024), so that it is full before anything is measured.
const WARM_UP: u32 = 2_000;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let at = args.iter().position(|arg| arg == "--subscribers");
    let counts = at.and_then(|at| args.get(at + 1)).map_or("1,100,10000", String::as_str);
    let mut out = std::io::stdout();
    writeln!(out, "chat `Send`, 64 bytes; processor time, medians of three rounds\n")?;
    writeln!(out, "| subscribers | in the guest | native | ratio |\n|---|---|---|---|")?;
    for count in counts.split(',') {
        let subscribers: u64 = count.parse()?;
        let guest = measure(&mut Guest::new(subscribers)?, subscribers)?;
        let native = measure(&mut Native::new(subscribers)?, subscribers)?;
        writeln!(out, "{}", row(count, guest, native))?;
    }
    Ok(())
}

/// Somebody who takes messages.
trait Shard {
    /// Hands a `Send` over and returns how many subscribers are to get the message.
    fn send(&mut self, body: &[u8]) -> Result<usize>;
}

fn measure(shard: &mut dyn Shard, subscribers: u64) -> Result<Duration> {
    let message = Message { id: 1, body: vec![b'x'; 64], ..Message::default() }.encode_to_vec();
    let subscribers = usize::try_from(subscribers)?;
    let mut send = |times: u32| -> Result<()> {
        for _ in 0..times {
            let told = shard.send(&message)?;
            ensure!(told == subscribers, "{told} of {subscribers} subscribers are to get a message");
        }
        Ok(())
    };
    send(WARM_UP)?;
    // A few tenths of a second a round.
    let times = if subscribers > 1_000 { 20_000 } else { 200_000 };
    median_of_three(|| Ok(spent(|| send(times))?.1 / times))
}

fn subscription(channel: u64) -> Vec<u8> {
    Consumer { id: 1, from: NEW_ONLY, user: channel }.encode_to_vec()
}

/// The plugin in the engine.
struct Guest {
    instance: Instance,
    _data: tempfile::TempDir,
}

impl Guest {
    fn new(subscribers: u64) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let mut instance = fresh(&prepare("chat", data.path())?, "chat#0", &SETTINGS)?;
        instance.open("chat#0", &[])?;
        instance.call(&Input::Call { method: method::REG, body: &Id { id: 1 }.encode_to_vec() })?;
        for channel in 1..=subscribers {
            instance.env().add_member(channel);
            let body = subscription(channel);
            let verdict =
                instance.call(&Input::Subscribe { channel, method: method::SUBSCRIBE, body: &body })?;
            ensure!(verdict == Verdict::Done, "{verdict:?}");
        }
        Ok(Self { instance, _data: data })
    }
}

impl Shard for Guest {
    fn send(&mut self, body: &[u8]) -> Result<usize> {
        match self.instance.call(&Input::Call { method: method::SEND, body })? {
            Verdict::Answered(_) => {}
            other => bail!("{other:?}"),
        }
        let mut told = 0;
        for effect in self.instance.effects().iter() {
            match effect {
                // As a shard takes it over.
                Effect::SendChannels { channels, message } => {
                    told += Box::<[u64]>::from(channels).len() * usize::from(!message.to_vec().is_empty());
                }
                other => bail!("{other:?}"),
            }
        }
        Ok(told)
    }
}

/// The same code compiled for this machine.
struct Native(TestShard<Chat<V1>>);

impl Native {
    fn new(subscribers: u64) -> Result<Self> {
        let setup = || SETTINGS.iter().fold(Setup::new(), |setup, (key, value)| setup.config(key, *value));
        let mut shard = setup().open_shard::<Chat<V1>>("chat#0").map_err(anyhow::Error::msg)?;
        let failed = |failure| anyhow::anyhow!("{failure:?}");
        shard.call(method::REG, &Id { id: 1 }.encode_to_vec()).map_err(failed)?;
        for channel in 1..=subscribers {
            shard.subscribe(channel, method::SUBSCRIBE, &subscription(channel)).map_err(failed)?;
        }
        // The shard knows its streams from its state; this test host does not, so it delivers to nobody either.
        Ok(Self(setup().load_shard(&shard.save()).map_err(anyhow::Error::msg)?))
    }
}

impl Shard for Native {
    fn send(&mut self, body: &[u8]) -> Result<usize> {
        self.0.call(method::SEND, body).map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
        let mut told = 0;
        for effect in self.0.effects() {
            match effect {
                Asked::ChannelSend { channels, .. } => told += channels.len(),
                other => bail!("{other:?}"),
            }
        }
        Ok(told)
    }
}
