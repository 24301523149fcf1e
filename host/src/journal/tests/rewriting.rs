//! What rewriting of bases writes, against what rooms write.

use super::super::disk::MemoryDisk;
use super::*;

const BASE: usize = 32 << 10;

const BOUNDS: Bounds =
    Bounds { segment_bytes: 64 << 10, buffer_bytes: 64 << 20, sync_every: Duration::from_millis(1) };

struct Node {
    disk: MemoryDisk,
    journal: Journal,
    /// Bytes that rooms were asked to write anew.
    rewritten: usize,
}

impl Node {
    fn new(rooms: usize) -> Self {
        let disk = MemoryDisk::new();
        let surroundings = Surroundings { disk: Arc::new(disk.clone()), ..Surroundings::default() };
        let (journal, _) = Journal::open_in(Path::new("/journal"), BOUNDS, surroundings).unwrap();
        for at in 0..rooms {
            journal.base(&room(&format!("home/{at}")), &[0; BASE]);
        }
        Self { disk, journal, rewritten: 0 }
    }

    /// As the node's keeper does, once a second.
    fn inspect(&mut self) -> usize {
        let stale = self.journal.stale();
        for name in &stale {
            self.journal.base(name, &[0; BASE]);
            self.rewritten += BASE;
        }
        stale.len()
    }

    fn size(&self) -> usize {
        usize::try_from(self.journal.shared.lock().usage.bytes().0).unwrap()
    }
}

#[test]
fn an_idle_node_writes_nothing() {
    // Many times as many bytes of bases as a segment holds; each room has said one thing.
    let mut node = Node::new(120);
    for at in 0..120 {
        node.journal.inputs(&room(&format!("home/{at}")), b"one");
    }
    for _ in 0..100 {
        assert_eq!(node.inspect(), 0);
    }
    // After a time of work it comes to rest.
    for _ in 0..20_000 {
        node.journal.inputs(&room("home/0"), &[1; 1000]);
    }
    let mut looks = 0;
    while node.inspect() > 0 {
        looks += 1;
        assert!(looks < 1000);
    }
    assert!(node.rewritten > 0);
    for _ in 0..100 {
        assert_eq!(node.inspect(), 0);
    }
    let written = node.disk.written();
    node.journal.close();
    assert!(node.disk.written() < written.max(1) + (20_000 * 1100) + 2 * (120 * BASE) as u64);
}

#[test]
fn rewriting_writes_a_share_of_what_rooms_write_and_the_journal_stays_small() {
    let mut node = Node::new(60);
    let bases = 60 * BASE;
    let mut fresh = bases;
    let mut random = 1u64;
    let mut most = 0;
    for round in 0..600 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Five rooms play, one of them writes its own base now and then; the others are idle.
        let name = room(&format!("home/{}", (random >> 33) % 5));
        for _ in 0..50 {
            node.journal.inputs(&name, &[2; 1000]);
            fresh += 1000;
        }
        if round % 10 == 0 {
            node.journal.base(&name, &[0; BASE]);
            fresh += BASE;
        }
        // Some seconds.
        for _ in 0..2 {
            node.inspect();
        }
        most = most.max(node.size());
        // As the writer does.
        let mut state = node.journal.shared.lock();
        let floor = state.usage.needed(state.segment);
        state.usage.removed_below(floor);
    }
    assert!(node.rewritten > 0);
    assert!(node.rewritten <= fresh / 2, "{} of {fresh}", node.rewritten);
    assert!(most < 4 * bases + 10 * (64 << 10) + (8 << 20), "{most} with {bases} of bases");
}

#[test]
fn few_bases_are_asked_for_at_a_time_oldest_first_and_once() {
    let node = Node::new(1000);
    let (mut asked, mut most) = (Vec::new(), 0);
    for _ in 0..80 {
        for _ in 0..1000 {
            node.journal.inputs(&room("home/999"), &[1; 1000]);
        }
        let stale = node.journal.stale();
        most = most.max(stale.len());
        assert!(stale.iter().all(|name| !asked.contains(name)), "asked twice");
        asked.extend(stale);
    }
    assert!(most > 0 && most * BASE <= (8 << 20) + BASE, "{most}");
    // The first ones are those whose bases are the oldest.
    assert!(asked.iter().take(2).all(|name| **name == *"home/0" || **name == *"home/1"), "{:?}", &asked[..2]);
    node.journal.close();
}

#[test]
fn what_nobody_runs_is_copied_as_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let (idle, busy) = (room("other#0"), room("home/1"));
    journal.base(&idle, b"idle");
    journal.inputs(&idle, b"said");
    journal.base(&busy, b"busy");
    journal.close();
    let (journal, saved_states) = open(dir.path());
    journal.copy(&[Arc::clone(&idle), Arc::clone(&busy)], |name| name == "home/1").unwrap();
    journal.base(&busy, b"busy");
    journal.close();
    assert_eq!(segments(dir.path()).len(), 1);
    assert_eq!(open(dir.path()).1, saved_states);
}
