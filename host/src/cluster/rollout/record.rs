//! Record: which version of a plugin the cluster runs, and which one it is about to run.
//!
//! One entry in etcd a plugin, changed by compare-and-swap alone; beside it, under its lease, each node's [`Status`].
//! What can become of a record is here; who does it, and when, is not.

use hotseat_build::Digest;
use serde::{Deserialize, Serialize};

use crate::actor::artefacts::EventKind;

/// Versions one can go back through.
const PREVIOUS_MAX: usize = 8;

/// Longest reason kept, characters.
const REASON_MAX: usize = 500;

/// A version, and where its artefact was given in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its sha256.
    #[serde(with = "text")]
    pub digest: Digest,
    /// Its manifest's name for it, for people.
    pub label: String,
    /// The artefact's size.
    pub size_bytes: u64,
    /// A node that had it.
    pub from: String,
}

/// What stands under `plugins/NAME`, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counts the changes of this record.
    pub generation: u64,
    /// What every node is to run; none before the first rollout has gone live.
    pub live: Option<Release>,
    /// The rollout that made it so: the generation it was proposed at.
    pub rollout: u64,
    /// When, ms since 1970, by the clock of the node that did it; for people.
    pub at_ms: u64,
    /// How it came to be live.
    pub kind: EventKind,
    /// How long it is on probation; 0 once that has passed.
    pub probation_ms: u64,
    /// What was live before, the latest first.
    pub previous: Vec<Release>,
    /// What was live before an operator went back to `live`; it is none of `previous`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Release>,
    /// What nodes are to get ready.
    pub next: Option<Next>,
    /// The last version that did not go live or was taken back.
    pub failed: Option<Failed>,
}

/// A version that is being rolled out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// The generation at which it was proposed: the rollout's name.
    pub rollout: u64,
    /// Which.
    pub release: Release,
    /// The node that decides; if it goes, anybody withdraws.
    pub coordinator: String,
    /// What the coordinator runs.
    pub over: Release,
    /// [`EventKind::Deployed`] or [`EventKind::RolledBack`].
    pub kind: EventKind,
    /// How long it is to be on probation, 0 for not at all.
    pub probation_ms: u64,
    /// Whether rooms may stand still for longer than the nodes allow by themselves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub any_pause: bool,
}

/// Why a version is not live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Its rollout.
    pub rollout: u64,
    /// Which.
    #[serde(with = "text")]
    pub digest: Digest,
    /// Its label.
    pub label: String,
    /// Which node, and its words.
    pub reason: String,
    /// It had been live, and was taken back.
    pub was_live: bool,
}

/// How far a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeStep {
    /// Nothing to do; no rollout has reached it.
    Idle,
    /// Asks other nodes for the artefact.
    Fetching,
    /// Verifies and compiles it.
    Compiling,
    /// Tries it on its live rooms.
    Rehearsing,
    /// Can cut over.
    Ready,
    /// Does not take it.
    Refused,
    /// Its rooms hand over.
    Swapping,
    /// Runs it.
    Live,
}

impl NodeStep {
    /// Its name for operators.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Fetching => "fetching",
            Self::Compiling => "compiling",
            Self::Rehearsing => "rehearsing",
            Self::Ready => "ready",
            Self::Refused => "refused",
            Self::Swapping => "swapping",
            Self::Live => "live",
        }
    }
}

/// What stands under `plugin-nodes/NAME/ID`, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The rollout it speaks of; 0 for none.
    pub rollout: u64,
    /// What it runs.
    #[serde(with = "text")]
    pub digest: Digest,
    /// How far it is.
    pub step: NodeStep,
    /// Why it refuses.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Rooms, or shards, that it swapped.
    #[serde(default)]
    pub rooms: u64,
    /// The longest any of them stood still.
    #[serde(default)]
    pub pause_max_us: u64,
    /// When it said so, ms since 1970, by its own clock; for people.
    pub at_ms: u64,
}

impl Record {
    /// The record with `next` proposed, which gets the number of its rollout here. None if a rollout is under way.
    pub fn proposed(before: Option<&Self>, next: Next) -> Option<Self> {
        let mut record = match before {
            Some(record) if record.next.is_some() => return None,
            Some(record) => record.clone(),
            None => Self {
                generation: 0,
                live: None,
                rollout: 0,
                at_ms: 0,
                kind: EventKind::Started,
                probation_ms: 0,
                previous: Vec::new(),
                left: None,
                next: None,
                failed: None,
            },
        };
        record.generation += 1;
        record.next = Some(Next { rollout: record.generation, ..next });
        Some(record)
    }

    /// Whether it has come after `other`, or there is none: etcd has lost its data if that is what it has.
    pub fn is_later_than(&self, other: Option<&Self>) -> bool {
        other.is_none_or(|other| other.generation < self.generation)
    }

    /// Whether a rollout is neither proposed nor live any more.
    pub fn is_past(&self, rollout: u64) -> bool {
        self.rollout != rollout && self.next.as_ref().is_none_or(|next| next.rollout != rollout)
    }

    /// The record without its proposal. None if that is no longer proposed.
    pub fn withdrawn(&self, rollout: u64, reason: &str) -> Option<Self> {
        let next = self.next.as_ref().filter(|next| next.rollout == rollout)?;
        Some(Self {
            generation: self.generation + 1,
            failed: Some(failed(rollout, &next.release, reason, false)),
            next: None,
            ..self.clone()
        })
    }

    /// The record with its proposal live. None if that is no longer proposed.
    pub fn flipped(&self, rollout: u64, now_ms: u64) -> Option<Self> {
        let next = self.next.clone().filter(|next| next.rollout == rollout)?;
        let release = next.release;
        let left = (next.kind == EventKind::RolledBack).then(|| next.over.clone());
        let mut previous = self.previous.clone();
        match previous.iter().position(|before| before.digest == release.digest) {
            // Going back leaves what came after: nobody wants a failed version back by "rollback".
            Some(at) if next.kind == EventKind::RolledBack => drop(previous.drain(..=at)),
            _ => {
                previous.insert(0, next.over);
                previous.retain(|before| before.digest != release.digest);
            }
        }
        previous.truncate(PREVIOUS_MAX);
        Some(Self {
            generation: self.generation + 1,
            live: Some(release),
            rollout,
            at_ms: now_ms,
            kind: next.kind,
            probation_ms: next.probation_ms,
            previous,
            left,
            next: None,
            failed: self.failed.clone(),
        })
    }

    /// The record after the probation. None if there is none, or somebody may be about to go back.
    pub fn passed(&self, rollout: u64) -> Option<Self> {
        let on_probation = self.rollout == rollout && self.probation_ms > 0 && self.next.is_none();
        on_probation.then(|| Self { generation: self.generation + 1, probation_ms: 0, ..self.clone() })
    }

    /// The record gone back to what was live before, because a node could not cut over or, `on_probation`,
    /// because the version failed there. What is being rolled out is withdrawn with it. None if it is too
    /// late for that.
    pub fn taken_back(&self, rollout: u64, reason: &str, on_probation: bool, now_ms: u64) -> Option<Self> {
        let bad = self.live.as_ref()?;
        let (good, previous) = match &self.left {
            Some(left) => (left, [std::slice::from_ref(bad), &self.previous].concat()),
            None => (self.previous.first()?, self.previous[1..].to_vec()),
        };
        let late = self.kind == EventKind::Reverted || (on_probation && self.probation_ms == 0);
        if self.rollout != rollout || late {
            return None;
        }
        Some(Self {
            generation: self.generation + 1,
            live: Some(good.clone()),
            // Nobody got ready for this one.
            rollout: self.generation + 1,
            at_ms: now_ms,
            kind: EventKind::Reverted,
            probation_ms: 0,
            previous,
            left: None,
            next: None,
            failed: Some(failed(rollout, bad, reason, true)),
        })
    }

    /// Why a rollout did not last, if it did not.
    pub fn failure(&self, rollout: u64) -> Option<&Failed> {
        self.failed.as_ref().filter(|failed| failed.rollout == rollout)
    }
}

fn failed(rollout: u64, release: &Release, reason: &str, was_live: bool) -> Failed {
    Failed {
        rollout,
        digest: release.digest,
        label: release.label.clone(),
        reason: shortened(reason),
        was_live,
    }
}

/// At most as much of a reason as an entry keeps.
pub(super) fn shortened(reason: &str) -> String {
    reason.chars().take(REASON_MAX).collect()
}

/// Digests as they are written everywhere: 64 hex digits.
mod text {
    use hotseat_build::Digest;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(digest: &Digest, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(digest)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(label: &str) -> Release {
        let digest = Digest::of(label.as_bytes());
        Release { digest, label: label.into(), size_bytes: 1, from: "game-1".into() }
    }

    fn next(over: &str, label: &str, kind: EventKind) -> Next {
        Next {
            rollout: 0,
            release: release(label),
            coordinator: "game-1".into(),
            over: release(over),
            kind,
            probation_ms: 9,
            any_pause: false,
        }
    }

    fn live(record: &Record) -> (&str, Vec<&str>) {
        let live = record.live.as_ref().map_or("", |release| &*release.label);
        (live, record.previous.iter().map(|release| &*release.label).collect())
    }

    fn rolled_out(before: Option<&Record>, label: &str, kind: EventKind) -> Record {
        let over = before.and_then(|before| before.live.as_ref()).map_or("1", |live| &*live.label);
        let proposed = Record::proposed(before, next(over, label, kind)).unwrap();
        proposed.flipped(proposed.generation, 7).unwrap()
    }

    #[test]
    fn versions_go_live_and_back_one_by_one() {
        let two = rolled_out(None, "2", EventKind::Deployed);
        assert_eq!(live(&two), ("2", vec!["1"]));
        assert_eq!((two.generation, two.rollout, two.probation_ms), (2, 1, 9));
        let three = rolled_out(Some(&two), "3", EventKind::Deployed);
        assert_eq!(live(&three), ("3", vec!["2", "1"]));
        let back = rolled_out(Some(&three), "2", EventKind::RolledBack);
        assert_eq!(live(&back), ("2", vec!["1"]));
        let again = rolled_out(Some(&back), "1", EventKind::Deployed);
        assert_eq!(live(&again), ("1", vec!["2"]));
        assert_eq!(Record::proposed(Some(&again), next("1", "5", EventKind::Deployed)).unwrap().rollout, 7);
        let text = serde_json::to_vec(&again).unwrap();
        assert_eq!(serde_json::from_slice::<Record>(&text).unwrap(), again);
    }

    #[test]
    fn going_back_is_undone_if_a_node_cannot() {
        let two = rolled_out(None, "2", EventKind::Deployed);
        let back = rolled_out(Some(&two), "1", EventKind::RolledBack);
        assert_eq!(live(&back), ("1", vec![]));
        let undone = back.taken_back(back.rollout, "no", false, 0).unwrap();
        assert_eq!(live(&undone), ("2", vec!["1"]));
        assert_eq!((undone.kind, undone.left.as_ref()), (EventKind::Reverted, None));
        assert_eq!(undone.taken_back(undone.rollout, "no", false, 0), None);
        assert!(undone.is_later_than(Some(&back)) && !back.is_later_than(Some(&undone)));
        assert!(back.is_later_than(None));
    }

    #[test]
    fn one_rollout_at_a_time_and_none_twice() {
        let proposed = Record::proposed(None, next("1", "2", EventKind::Deployed)).unwrap();
        assert_eq!(Record::proposed(Some(&proposed), next("1", "3", EventKind::Deployed)), None);
        assert_eq!(proposed.flipped(7, 0), None);
        assert_eq!(proposed.taken_back(1, "no", false, 0), None);
        let withdrawn = proposed.withdrawn(1, "game-2: no").unwrap();
        assert_eq!(withdrawn.failure(1).unwrap().reason, "game-2: no");
        assert_eq!((withdrawn.flipped(1, 0), withdrawn.withdrawn(1, "")), (None, None));
        assert_eq!(live(&withdrawn), ("", vec![]));
    }

    #[test]
    fn a_version_is_taken_back_once_and_not_after_its_probation() {
        let two = rolled_out(None, "2", EventKind::Deployed);
        let proposed = Record::proposed(Some(&two), next("1", "3", EventKind::Deployed)).unwrap();
        // Who may be about to go back needs the probation to last.
        assert_eq!(proposed.passed(two.rollout), None);
        let back = proposed.taken_back(two.rollout, "game-2: trap", true, 8).unwrap();
        assert_eq!(live(&back), ("1", vec![]));
        assert!(back.next.is_none() && back.failure(two.rollout).unwrap().was_live);
        assert_eq!(back.taken_back(back.rollout, "again", false, 8), None);
        let passed = two.passed(two.rollout).unwrap();
        assert_eq!(passed.taken_back(two.rollout, "trap", true, 8), None);
        assert!(passed.taken_back(two.rollout, "not cut over", false, 8).is_some());
        assert_eq!(passed.passed(two.rollout), None);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bad in [&b""[..], b"{}", b"[]", b"\xff", b"{\"generation\":1}"] {
            assert!(serde_json::from_slice::<Record>(bad).is_err());
        }
        let status = br#"{"rollout":1,"digest":"xyz","step":"live","at_ms":1}"#;
        assert!(serde_json::from_slice::<Status>(status).is_err());
    }
}
