//! SIGKILL at any moment: what a service has acknowledged is there when the node comes back.
//!
//! Writers note what was acknowledged; the node is killed in mid-flight, started again on the same data, and what it
//! has is compared with what it may have: all that was acknowledged, at most what was under way besides, in order.
//! Traps and swaps are mixed in. `HOTSEAT_TEST_KILLS` says how often; by default it is few.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hotseat::proto::admin::DeployRequest;
use hotseat::proto::admin::admin_client::AdminClient;
use hotseat_build::Artefact;
use hotseat_services::chat::{ChatServiceClient, ConsumeRange, Id, Message};
use hotseat_services::rank::{Change, Range, RankingServiceClient};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use crate::guests::{guests, services, versioned};
use crate::process::Process;
use crate::world::take_compiled;

/// Endpoints and sets, each with a writer.
const WRITERS: u64 = 6;

/// Users of a set.
const USERS: i64 = 5;

/// Random numbers that differ from run to run: SplitMix64, seeded by the clock.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)) % bound
    }
}

/// What one endpoint and one set must have, and may have besides.
#[derive(Debug, Clone, Default)]
struct Model {
    /// Messages acknowledged: their bodies, by offset.
    said: Vec<String>,
    /// One that was under way.
    unsure: Option<String>,
    /// Scores acknowledged, and when: the order of arrival among equals.
    scores: Vec<(i64, i64)>,
    /// One that was under way.
    unsure_score: Option<(i64, i64)>,
}

impl Model {
    fn set(&mut self, user: i64, score: i64) {
        if self.scores.contains(&(user, score)) {
            return;
        }
        self.scores.retain(|(known, _)| *known != user);
        self.scores.push((user, score));
    }

    /// Users and scores by rank: higher ones first, and of equal ones who came first.
    fn ranks(&self) -> Vec<(i64, i64)> {
        let mut ranks = self.scores.clone();
        ranks.sort_by_key(|(_, score)| -score);
        ranks
    }

    /// Compares with what is there, and takes over what was under way and has arrived.
    async fn check(&mut self, id: u64, channel: &Channel) {
        let mut chat = ChatServiceClient::new(channel.clone());
        let mut there = Vec::new();
        loop {
            let from = i64::try_from(there.len()).unwrap() + 1;
            let list = match chat.query(ConsumeRange { id, from, to: i64::MAX }).await {
                Ok(list) => list.into_inner(),
                Err(status) => {
                    assert!(
                        status.code() == Code::NotFound && self.said.is_empty(),
                        "{id}: {status} {self:?}"
                    );
                    chat.reg(Id { id }).await.unwrap();
                    break;
                }
            };
            for message in list.messages {
                there.push(String::from_utf8(message.body).unwrap());
                assert_eq!(usize::try_from(message.offset).unwrap(), there.len(), "{id}");
            }
            // An answer has its limit.
            if !list.cut {
                break;
            }
        }
        if let Some(unsure) = self.unsure.take()
            && there.len() == self.said.len() + 1
        {
            self.said.push(unsure);
        }
        assert_eq!(there, self.said, "endpoint {id}");

        let mut rank = RankingServiceClient::new(channel.clone());
        let list = rank.query_rank_range(Range { a: 1, b: 100, set_id: id, season: 0 }).await;
        let there = match list {
            Ok(list) => {
                let list = list.into_inner();
                list.user_ids.into_iter().zip(list.scores).collect()
            }
            Err(status) => {
                assert_eq!(status.code(), Code::NotFound, "{status}");
                Vec::new()
            }
        };
        if let Some((user, score)) = self.unsure_score.take()
            && there != self.ranks()
        {
            self.set(user, score);
        }
        assert_eq!(there, self.ranks(), "set {id}");
    }

    /// Writes until the node is gone.
    async fn write(mut self, id: u64, channel: Channel, mut random: Random) -> (u64, Self) {
        let mut chat = ChatServiceClient::new(channel.clone());
        let mut rank = RankingServiceClient::new(channel);
        loop {
            let trap = random.below(20) == 0;
            let body = format!("{}{}", if trap { "!trap!" } else { "" }, random.below(u64::MAX));
            let message = Message { id, body: body.clone().into(), ..Message::default() };
            match chat.post(message).await {
                Ok(posted) => {
                    assert!(!trap, "a message that traps was taken");
                    self.said.push(body);
                    assert_eq!(posted.into_inner().offset, i64::try_from(self.said.len()).unwrap());
                }
                Err(status) if trap && status.code() == Code::Internal => {}
                Err(_) => {
                    self.unsure = (!trap).then_some(body);
                    return (id, self);
                }
            }
            let user = i64::try_from(random.below(USERS as u64)).unwrap();
            let score = if trap { rank::TRAP_SCORE } else { i64::try_from(random.below(8)).unwrap() };
            match rank.rank_change(Change { user_id: user, score, set_id: id }).await {
                Ok(_) => {
                    assert!(!trap, "a score that traps was taken");
                    self.set(user, score);
                }
                Err(status) if trap && status.code() == Code::Internal => {}
                Err(_) => {
                    self.unsure_score = (!trap).then_some((user, score));
                    return (id, self);
                }
            }
        }
    }
}

fn start(data: &Path, plugins: &[Artefact]) -> Process {
    start_with(data, plugins, "chat.messages_per_minute=0,chat.retention=65536")
}

fn start_with(data: &Path, plugins: &[Artefact], setting: &str) -> Process {
    let mut args = args(data, plugins);
    args.push(format!("--plugin-config={setting}"));
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    Process::start(&guests().v1, &args)
}

/// What a node on that data is started with.
fn args(data: &Path, plugins: &[Artefact]) -> Vec<String> {
    let mut args = vec!["--data-dir".to_owned(), data.display().to_string(), "--shards=3".to_owned()];
    for plugin in plugins {
        let name = &plugin.manifest.name;
        let file = data.join(format!("{name}.wasm"));
        std::fs::write(&file, &plugin.bytes).unwrap();
        args.push(format!("--plugin={name}={}", file.display()));
    }
    take_compiled(&data.join("cache"));
    args
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_whenever_the_node_was_killed() {
    let kills: u64 = std::env::var("HOTSEAT_TEST_KILLS").map_or(6, |kills| kills.parse().unwrap());
    let data = tempfile::tempdir().unwrap();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = u64::from(since.subsec_nanos());
    let mut random = Random(seed);
    // Both trap where they are told to.
    let first = [services().rank_trapping.clone(), services().chat_trapping.clone()];
    let mut models = vec![Model::default(); usize::try_from(WRITERS).unwrap()];
    for life in 0..kills {
        let mut process = start(data.path(), &first);
        let url = format!("http://{}", process.grpc());
        let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
        for (id, model) in (0..).zip(&mut models) {
            model.check(id, &channel).await;
        }
        let mut writers = JoinSet::new();
        for (id, model) in (0..).zip(models.drain(..)) {
            let random = Random(random.below(u64::MAX));
            writers.spawn(model.write(id, channel.clone(), random));
        }
        let swaps = (random.below(3) == 0).then(|| {
            let next = first.clone().map(|plugin| versioned(&plugin, 10 + life));
            let url = format!("http://{}", process.admin());
            tokio::spawn(async move {
                for plugin in next {
                    let request = DeployRequest {
                        name: plugin.manifest.name,
                        artefact: plugin.bytes,
                        cluster: false,
                        plan: false,
                        ..DeployRequest::default()
                    };
                    // The node may be killed in the middle of it, or before.
                    if let Ok(channel) = Endpoint::from_shared(url.clone()).unwrap().connect().await {
                        let most = request.artefact.len() + 1024;
                        let _ =
                            AdminClient::new(channel).max_encoding_message_size(most).deploy(request).await;
                    }
                }
            })
        });
        tokio::time::sleep(Duration::from_millis(random.below(250))).await;
        process.signal("KILL");
        assert!(!process.ended().success());
        if let Some(swaps) = swaps {
            // Who found no node any more has failed, and that is fine.
            let _ = swaps.await;
        }
        let mut left: Vec<_> = writers.join_all().await;
        left.sort_by_key(|(id, _)| *id);
        models = left.into_iter().map(|(_, model)| model).collect();
    }
    let said: usize = models.iter().map(|model| model.said.len()).sum();
    assert!(said > 0, "nothing was said in {kills} lives, seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_answers_nobody_and_loses_nothing() {
    const ID: u64 = 1;
    let data = tempfile::tempdir().unwrap();
    let plugins = [services().chat.clone()];
    let game = data.path().join("game.wasm");
    std::fs::write(&game, &guests().v1.bytes).unwrap();
    // No file may grow beyond some megabytes, which is what a full disk is to whoever writes.
    let limited = "trap '' XFSZ; ulimit -f 16384; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", limited, env!("CARGO_BIN_EXE_hotseat"), "run"]).args(args(data.path(), &plugins));
    command.arg(format!("--plugin=game-logic={}", game.display()));
    let mut process = Process::of(&mut command, tempfile::tempdir().unwrap());
    let channel = |process: &Process| Endpoint::from_shared(format!("http://{}", process.grpc())).unwrap();
    let mut chat = ChatServiceClient::new(channel(&process).connect().await.unwrap());
    chat.reg(Id { id: ID }).await.unwrap();
    let body = vec![b'x'; 60 << 10];
    let mut posted = 0;
    let refusal = loop {
        assert!(posted < 1000, "the disk never fills up");
        let mut message = Request::new(Message { id: ID, body: body.clone(), ..Message::default() });
        message.set_timeout(Duration::from_secs(2));
        match chat.post(message).await {
            Ok(answer) => posted = answer.into_inner().offset,
            Err(refusal) => break refusal,
        }
    };
    // The client counts too, and may be the first to give up.
    assert!(matches!(refusal.code(), Code::DeadlineExceeded | Code::Cancelled), "{refusal}");
    process.wait("word of it", |process| {
        process.lines().iter().any(|line| line.contains("journal not written, trying again"))
    });
    process.signal("KILL");
    assert!(!process.ended().success());
    let process = start(data.path(), &plugins);
    let mut chat = ChatServiceClient::new(channel(&process).connect().await.unwrap());
    let described = chat.describe(Id { id: ID }).await.unwrap().into_inner();
    // What was not answered may be there or not.
    assert!((posted + 1..=posted + 2).contains(&described.next_offset), "{posted} {described:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_under_other_settings_is_kept() {
    let data = tempfile::tempdir().unwrap();
    let plugins = [services().chat.clone()];
    let message = || Message { id: 1, sender: 7, body: b"hello".to_vec(), ..Message::default() };
    let chat = async |process: &Process| {
        let url = format!("http://{}", process.grpc());
        ChatServiceClient::new(Endpoint::from_shared(url).unwrap().connect().await.unwrap())
    };
    let mut process = start(data.path(), &plugins);
    let mut client = chat(&process).await;
    client.reg(Id { id: 1 }).await.unwrap();
    for _ in 0..50 {
        client.send(message()).await.unwrap();
    }
    process.signal("KILL");
    assert!(!process.ended().success());
    // Replayed under these, most of them would be refused.
    let process = start_with(data.path(), &plugins, "chat.messages_per_minute=1,chat.burst=2");
    let mut client = chat(&process).await;
    let described = client.describe(Id { id: 1 }).await.unwrap().into_inner();
    assert_eq!(described.next_offset, 51);
    let mut refused = 0;
    for _ in 0..5 {
        refused += u32::from(client.send(message()).await.is_err());
    }
    assert!(refused >= 2, "the new settings are not in force");
}
