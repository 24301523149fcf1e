//! What the leaderboards cost natively; the same in the guest is measured through the host.
//!
//! `cargo bench -p rank --profile release`; an argument is the number of entries (default 1,000,000).

use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};

use hotseat_services::rank::{Changes, Range, Users, method};
use prost::Message as _;
use rank::V1;
use rank::board::{Board, Change};
use rank::order::Ordering;

/// Changes of one `Update`.
const BATCH: usize = 1000;

fn main() -> std::io::Result<()> {
    let entries: u64 =
        std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let mut table = Table { out: std::io::stdout().lock() };
    writeln!(table.out, "{entries} entries, random scores\n")?;
    let mut random = Random(0x5DEE_CE66);
    let board = boards(entries, &mut random, &mut table)?;
    saving(&board, &mut table)?;
    drop(board);
    shards(entries, &mut random, &mut table)
}

/// The index alone.
fn boards(entries: u64, random: &mut Random, table: &mut Table) -> std::io::Result<Board> {
    let mut board = Board::new(Ordering::default());
    let start = Instant::now();
    for user in 0..entries {
        board.change(user.cast_signed(), random.score(), Change::Set);
    }
    table.row("insert a new user", start.elapsed(), entries)?;

    let updates = 2_000_000;
    let start = Instant::now();
    for _ in 0..updates {
        let user = random.below(entries).cast_signed();
        board.change(user, random.score(), Change::Set);
    }
    table.row("update a random user", start.elapsed(), updates)?;

    let batches = (0..updates / BATCH as u64).map(|_| {
        (0..BATCH)
            .map(|_| (random.below(entries).cast_signed(), random.score()))
            .unzip::<_, _, Vec<_>, Vec<_>>()
    });
    let batches: Vec<_> = batches.collect();
    let start = Instant::now();
    for (users, scores) in &batches {
        board.change_many(users, scores, Change::Set);
    }
    table.row("the same, 1,000 at once", start.elapsed(), updates)?;

    let start = Instant::now();
    for _ in 0..updates {
        board.change(random.below(entries).cast_signed(), 1, Change::Add);
    }
    table.row("increment a random user by 1", start.elapsed(), updates)?;

    let lookups = 1_000_000;
    let start = Instant::now();
    for _ in 0..lookups {
        black_box(board.find(random.below(entries).cast_signed()));
    }
    table.row("rank of a random user", start.elapsed(), lookups)?;

    let lists = 100_000;
    let start = Instant::now();
    for _ in 0..lists {
        black_box(board.list(0, 100).map(|(user, _)| user).sum::<i64>());
    }
    table.row("top 100", start.elapsed(), lists)?;

    let start = Instant::now();
    for _ in 0..lists {
        let position = usize::try_from(random.below(entries)).unwrap_or(0);
        black_box(board.list(position, 100).map(|(user, _)| user).sum::<i64>());
    }
    table.row("100 ranks from a random one", start.elapsed(), lists)?;
    Ok(board)
}

fn saving(board: &Board, table: &mut Table) -> std::io::Result<()> {
    let start = Instant::now();
    let bytes = postcard::to_allocvec(board).map_err(std::io::Error::other)?;
    table.row("save", start.elapsed(), 1)?;
    let start = Instant::now();
    let loaded: Board = postcard::from_bytes(&bytes).map_err(std::io::Error::other)?;
    table.row("load", start.elapsed(), 1)?;
    let start = Instant::now();
    let entries = loaded.len();
    drop(loaded);
    table.row("drop", start.elapsed(), 1)?;
    let each = bytes.len() as f64 / entries.max(1) as f64;
    writeln!(table.out, "{:<40} {:>10} bytes, {each:.1} an entry", "saved state", bytes.len())
}

/// The same through encoded requests.
fn shards(entries: u64, random: &mut Random, table: &mut Table) -> std::io::Result<()> {
    let failed = |failure: hotseat_guest::Failure| std::io::Error::other(failure.to_string());
    let mut shard = hotseat_guest::testing::TestShard::<V1>::open("rank#0").map_err(std::io::Error::other)?;
    let mut batch = |users: Vec<i64>| {
        let scores = users.iter().map(|_| random.score()).collect();
        Changes { set_id: 1, user_ids: users, scores }.encode_to_vec()
    };
    for first in (0..entries).step_by(BATCH) {
        let users = (first..entries.min(first + BATCH as u64)).map(u64::cast_signed).collect();
        shard.call(method::UPDATE, &batch(users)).map_err(failed)?;
    }
    let mut other = Random(7);
    let calls = 2000;
    let bodies: Vec<_> =
        (0..calls).map(|_| batch((0..BATCH).map(|_| other.below(entries).cast_signed()).collect())).collect();
    let start = Instant::now();
    for body in &bodies {
        shard.call(method::UPDATE, body).map_err(failed)?;
    }
    table.row("Update of 1,000 random users, per user", start.elapsed(), calls * BATCH as u64)?;

    let body = Range { a: 1, b: 100, set_id: 1, season: 0 }.encode_to_vec();
    let queries = 20_000;
    let start = Instant::now();
    for _ in 0..queries {
        black_box(shard.query(method::QUERY_RANK_RANGE, &body).map_err(failed)?);
    }
    table.row("QueryRankRange of the top 100", start.elapsed(), queries)?;

    let start = Instant::now();
    for _ in 0..queries {
        let user_ids = vec![other.below(entries).cast_signed()];
        let body = Users { user_ids, set_id: 1, season: 0 }.encode_to_vec();
        black_box(shard.query(method::QUERY_USERS, &body).map_err(failed)?);
    }
    table.row("QueryUsers of one user", start.elapsed(), queries)
}

struct Table {
    out: std::io::StdoutLock<'static>,
}

impl Table {
    fn row(&mut self, what: &str, took: Duration, times: u64) -> std::io::Result<()> {
        let each_ns = took.as_nanos() as f64 / times as f64;
        let rate = times as f64 / took.as_secs_f64();
        let each = if each_ns < 10_000.0 {
            format!("{each_ns:.0} ns")
        } else if each_ns < 10_000_000.0 {
            format!("{:.1} us", each_ns / 1e3)
        } else {
            format!("{:.1} ms", each_ns / 1e6)
        };
        writeln!(self.out, "{what:<40} {each:>10} {:>12.0} /s", rate)
    }
}

/// xorshift64*, the same numbers each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn score(&mut self) -> i64 {
        self.below(1_000_000_000).cast_signed()
    }
}
