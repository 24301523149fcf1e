//! Story: what is done to the game, and what must come of it.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::node::Node;
use super::operator::Operator;
use super::report::{Chapter, Live, Report, Takeover};
use super::{ARENAS, DemoError, PROBATION, RAMP, Show, timeline};
use crate::bots::{Fleet, span};
use crate::proto::admin::DeployReply;

/// How long the players may take to get in beyond their ramp.
const GATHER: Duration = Duration::from_secs(30);
/// How long the next notify of every player may take; one comes every 50 ms.
const NOTICE: Duration = Duration::from_secs(5);
/// How much of the time after an event belongs to it.
const AFTERMATH: Duration = Duration::from_secs(1);

/// The versions of the story.
pub(super) struct Cast {
    pub(super) first: Version,
    second: Version,
    bad_migration: Version,
    trapping: Version,
}

/// A version in its file.
pub(super) struct Version {
    pub(super) path: PathBuf,
    label: String,
    bytes: Vec<u8>,
}

impl Cast {
    /// Finds the four files in `dir`, or where the reference plugins are.
    pub(super) fn find(dir: Option<&Path>) -> Result<Self, DemoError> {
        let places: Vec<PathBuf> = match dir {
            Some(dir) => vec![dir.to_owned()],
            None => {
                let exe = std::env::current_exe().unwrap_or_default();
                let dir = exe.parent().unwrap_or(Path::new(""));
                ["../plugins", "plugins", "../share/hotseat/plugins"].map(|place| dir.join(place)).into()
            }
        };
        Ok(Self {
            first: Version::find(&places, "game-logic.wasm")?,
            second: Version::find(&places, "game-logic-v2.wasm")?,
            bad_migration: Version::find(&places, "game-logic-bad-migration.wasm")?,
            trapping: Version::find(&places, "game-logic-trapping.wasm")?,
        })
    }
}

impl Version {
    fn find(places: &[PathBuf], file: &'static str) -> Result<Self, DemoError> {
        let path = places.iter().map(|place| place.join(file)).find(|path| path.is_file());
        let path = path.ok_or_else(|| {
            let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
            DemoError::Plugin { file, places: places.join(", ") }
        })?;
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(DemoError::File { path, source }),
        };
        // What is no plugin is for the node to refuse; here it only lacks a name.
        let label =
            hotseat_build::verify(&bytes).map_or_else(|_| file.to_owned(), |it| it.version.to_string());
        Ok(Self { path, label, bytes })
    }

    fn name(&self) -> String {
        timeline::short(&self.label)
    }
}

/// The story under way.
pub(super) struct Story<'a> {
    cast: Cast,
    fleet: Fleet,
    operator: Operator,
    step: Duration,
    show: &'a mut dyn FnMut(Show<'_>),
    beat: Interval,
    chapters: Vec<Chapter>,
    lives: Vec<Live>,
    refused: Vec<(f64, String)>,
    takeovers: Vec<Takeover>,
}

impl<'a> Story<'a> {
    pub(super) fn new(
        cast: Cast,
        fleet: Fleet,
        operator: Operator,
        step: Duration,
        show: &'a mut dyn FnMut(Show<'_>),
    ) -> Self {
        let mut beat = interval(Duration::from_secs(1));
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        beat.reset();
        let live = Live { label: cast.first.label.clone(), from_s: 0.0, to_s: 0.0, failed: false };
        let lives = vec![live];
        let (chapters, refused, takeovers) = (Vec::new(), Vec::new(), Vec::new());
        Self { cast, fleet, operator, step, show, beat, chapters, lives, refused, takeovers }
    }

    /// Tells it. A wrong turn ends it; the chapter that says so is then the last.
    pub(super) async fn tell(&mut self, clients: u32, node: &str) {
        if let Err(text) = self.story(clients, node).await {
            self.fail(&text);
        }
    }

    async fn story(&mut self, clients: u32, node: &str) -> Result<(), String> {
        self.gather(clients, node).await?;
        self.during(tokio::time::sleep(self.step)).await;
        self.second_version(clients).await?;
        self.bad_migration().await?;
        self.trapping_version().await?;
        self.during(tokio::time::sleep(self.step)).await;
        Ok(())
    }

    async fn gather(&mut self, clients: u32, node: &str) -> Result<(), String> {
        let first = self.cast.first.name();
        self.event(&format!("{first} is live on {node}"));
        let gathered = tokio::time::timeout(RAMP + GATHER, self.fleet.gathered());
        if !self.during(gathered).await.unwrap_or(false) {
            return Err(format!("not all of the {clients} players got in"));
        }
        self.fleet.mark(&format!("{first} live"));
        let arenas = ARENAS.min(clients);
        self.event(&format!("{clients} players are in, in {arenas} arenas: moving, taking coins, pinging"));
        Ok(())
    }

    async fn second_version(&mut self, clients: u32) -> Result<(), String> {
        let (first, second) = (self.cast.first.name(), self.cast.second.name());
        self.event(&format!("deploying {second} under load: other rules, and state with a new schema"));
        let reply = self.swap(self.cast.second.bytes.clone(), &second).await?;
        let see = self.during(self.fleet.all_see(2, NOTICE)).await;
        if see < clients as usize {
            return Err(format!("only {see} of {clients} players see the new rules"));
        }
        self.event(&format!(
            "{second} is live: {}\nall {clients} players see the new rules",
            told(&reply, &first)
        ));
        self.during(tokio::time::sleep(AFTERMATH)).await;
        self.fleet.mark(&format!("{second} live"));
        let mut operator = self.operator.clone();
        let idle = self.during(async { operator.idle(PROBATION + NOTICE).await }).await;
        idle.map_err(|why| format!("{second} has not passed its probation: {why}"))?;
        self.event(&format!("{second} has passed its {} s of probation", PROBATION.as_secs()));
        Ok(())
    }

    async fn bad_migration(&mut self) -> Result<(), String> {
        let (second, bad) = (self.cast.second.name(), self.cast.bad_migration.name());
        self.event(&format!("deploying {bad}, whose migration fails"));
        self.fleet.mark(&format!("{bad} refused"));
        let (mut operator, artefact) = (self.operator.clone(), self.cast.bad_migration.bytes.clone());
        let Err(why) = self.during(async { operator.deploy(artefact).await }).await else {
            return Err(format!("{bad} went live"));
        };
        if !why.starts_with("refused in rehearsal") {
            return Err(format!("{bad} was not refused in rehearsal: {why}"));
        }
        let refused = self.fleet.now().as_secs_f64();
        self.refused.push((refused, self.cast.bad_migration.label.clone()));
        self.event(&format!("{bad} was {why}\n{second} plays on, nobody noticed"));
        self.during(tokio::time::sleep(self.step.max(AFTERMATH))).await;
        Ok(())
    }

    async fn trapping_version(&mut self) -> Result<(), String> {
        let (second, trapping) = (self.cast.second.name(), self.cast.trapping.name());
        self.event(&format!("deploying {trapping}, which traps on every ping whose id is divisible by 50"));
        let mut operator = self.operator.clone();
        let known = operator.history().await?.len();
        let reply = self.swap(self.cast.trapping.bytes.clone(), &trapping).await?;
        self.event(&format!("{trapping} is live: {}", told(&reply, &second)));
        let reverted = async { operator.event("reverted", known, PROBATION + NOTICE).await };
        let event = self.during(reverted).await?;
        let at = self.wall(event.at_ms);
        let lived =
            Duration::from_secs_f64((at - self.lives.last().map_or(0.0, |live| live.from_s)).max(0.0));
        self.live(&self.cast.second.label.clone(), at, true);
        let (live, _) = operator.live().await?;
        if live != self.cast.second.label {
            return Err(format!("{live} is live after the roll-back, not {}", self.cast.second.label));
        }
        let why = event.reason.split_once(" failed: ").map_or(event.reason.as_str(), |(_, why)| why);
        self.event(&format!(
            "{trapping} trapped and was rolled back by the node {} after its swap: {second} is live again,\n\
             and has answered the pings on which {trapping} trapped\n{why}",
            span(lived)
        ));
        self.during(tokio::time::sleep(AFTERMATH)).await;
        self.fleet.mark(&format!("{second} again"));
        Ok(())
    }

    /// Deploys what should go live; the stretch of time that begins with it is its own.
    async fn swap(&mut self, artefact: Vec<u8>, name: &str) -> Result<DeployReply, String> {
        self.fleet.mark(&format!("swap to {name}"));
        let mut operator = self.operator.clone();
        let reply = self.during(async { operator.deploy(artefact).await }).await;
        let reply = reply.map_err(|why| format!("{name} was not taken: {why}"))?;
        let label = |version: &Option<crate::proto::admin::Version>| {
            version.as_ref().map_or_else(String::new, |version| version.label.clone())
        };
        let (from, to) = (label(&reply.from), label(&reply.to));
        self.live(&to, self.fleet.now().as_secs_f64(), false);
        self.takeovers.push(Takeover {
            from,
            to,
            rooms: reply.rooms,
            pause_p50_us: reply.pause_p50_us,
            pause_max_us: reply.pause_max_us,
            compile_ms: reply.compile_ms,
        });
        Ok(reply)
    }

    /// Another version is live from now on.
    fn live(&mut self, label: &str, from_s: f64, failed: bool) {
        if let Some(before) = self.lives.last_mut() {
            (before.to_s, before.failed) = (from_s, failed);
        }
        self.lives.push(Live { label: label.to_owned(), from_s, to_s: from_s, failed: false });
    }

    /// A moment of the node's clock, which is this machine's, on the fleet's.
    fn wall(&self, ms: u64) -> f64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ago = now.saturating_sub(Duration::from_millis(ms));
        self.fleet.now().saturating_sub(ago).as_secs_f64()
    }

    /// Shows how the players do once a second while something else goes on.
    async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = self.beat.tick() => {
                    let sample = self.fleet.sample();
                    (self.show)(Show::Beat(&sample));
                }
            }
        }
    }

    fn event(&mut self, text: &str) {
        self.chapter(text, true);
    }

    /// The story has taken a wrong turn.
    pub(super) fn fail(&mut self, text: &str) {
        self.chapter(text, false);
    }

    fn chapter(&mut self, text: &str, fine: bool) {
        let chapter = Chapter { at_s: self.fleet.now().as_secs_f64(), text: text.to_owned(), fine };
        (self.show)(Show::Event(&timeline::chapter(&chapter)));
        self.chapters.push(chapter);
    }

    /// Lets the players finish, then stops the node.
    pub(super) async fn end(mut self, node: &mut Node) -> Report {
        let end_s = self.fleet.now().as_secs_f64();
        if let Some(live) = self.lives.last_mut() {
            live.to_s = end_s;
        }
        let players = self.fleet.stop().await;
        let begun = Instant::now();
        let stopped = node.stop().await;
        let took = span(begun.elapsed());
        let (text, fine) = match stopped {
            Ok(Some(status)) if status.success() => (
                format!("the players have left; SIGTERM: the node has stopped in {took}, exit status 0"),
                true,
            ),
            Ok(Some(status)) => (format!("the node has ended with {status}"), false),
            Ok(None) => (format!("the node did not stop within {took} of SIGTERM and was killed"), false),
            Err(error) => (format!("the node cannot be stopped: {error}"), false),
        };
        let chapter = Chapter { at_s: end_s, text, fine };
        (self.show)(Show::Event(&timeline::chapter(&chapter)));
        self.chapters.push(chapter);
        let mut report = Report {
            passed: false,
            chapters: self.chapters,
            lives: self.lives,
            refused: self.refused,
            takeovers: self.takeovers,
            players,
            node_log: None,
        };
        report.passed = report.passed();
        report
    }
}

/// What the node says of a swap.
fn told(reply: &DeployReply, before: &str) -> String {
    format!(
        "compiled in {} ms while {before} played on, {} rooms handed over, each paused {} at most",
        reply.compile_ms,
        reply.rooms,
        span(Duration::from_micros(reply.pause_max_us)),
    )
}
