//! What a call into a guest costs, without sockets and rooms.
//!
//! The reference game's `ping` (read an i32, send it back) through the whole boundary: deadline set, payload lowered
//! into the guest, handler, one `send` lifted into the effect queue. Best of five rounds of 200,000 calls on one
//! thread; nanoseconds by the wall clock.
//!
//! `cargo bench -p hotseat --bench call`

#[path = "support/guest.rs"]
mod guest;
#[path = "support/instance.rs"]
mod instance;

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use guest::prepare;
use hotseat::plugin::{Effect, Input, Snapshot, Version};
use instance::fresh;

const CALLS: u32 = 200_000;

fn main() -> Result<()> {
    let data = tempfile::tempdir()?;
    let version = prepare("game-logic", data.path())?;
    let mut out = std::io::stdout();

    let mut instance = fresh(&version, "home/1", &[])?;
    instance.open("home/1", &[])?;
    let ping = Input::Message { user: 7, op: 1001, payload: &7i32.to_be_bytes() };
    let leave = Input::Leave { user: 8, reason: 0 };
    instance.call(&Input::Join { user: 7, profile: None })?;
    writeln!(
        out,
        "message with one send   {:>7.0} ns",
        best(|| {
            let verdict = instance.call(&ping);
            assert_eq!(instance.effects().len(), 1, "{verdict:?}");
        })
    )?;
    writeln!(
        out,
        "event without an effect {:>7.0} ns",
        best(|| {
            assert!(instance.call(&leave).is_ok());
        })
    )?;

    for user in 100..125 {
        instance.call(&Input::Join { user, profile: None })?;
        instance.call(&Input::Message { user, op: 1101, payload: &0u16.to_be_bytes() })?;
    }
    instance.call(&Input::Tick { dt_ms: 50 })?;
    // Who stands where a coin lies takes it, so there may be more effects than this one.
    let broadcasts = instance.effects().iter().any(|effect| matches!(effect, Effect::Broadcast { .. }));
    ensure!(broadcasts, "a tick with players broadcasts");
    writeln!(
        out,
        "tick with 25 players    {:>7.0} ns",
        best(|| {
            assert!(instance.call(&Input::Tick { dt_ms: 50 }).is_ok());
        })
    )?;

    let snapshot = instance.save()?;
    let open = time(2_000, || {
        let mut instance = fresh(&version, "home/1", &[]).expect("an instance");
        instance.open("home/1", &[]).expect("opens");
    });
    writeln!(out, "open a room             {:>7.1} us", open.as_secs_f64() * 1e6 / 2_000.0)?;
    let load = time(2_000, || take_over(&version, &snapshot).expect("takes over"));
    writeln!(
        out,
        "take a room over ({} B) {:>6.1} us",
        snapshot.bytes.len(),
        load.as_secs_f64() * 1e6 / 2_000.0
    )?;
    Ok(())
}

fn take_over(version: &Arc<Version>, snapshot: &Snapshot) -> Result<()> {
    fresh(version, "home/1", &[])?.load(snapshot)?;
    Ok(())
}

/// The best of five rounds, ns a call.
fn best(mut call: impl FnMut()) -> f64 {
    let rounds = (0..5).map(|_| time(CALLS, &mut call).as_secs_f64() * 1e9 / f64::from(CALLS));
    rounds.fold(f64::INFINITY, f64::min)
}

fn time(calls: u32, mut call: impl FnMut()) -> Duration {
    let started = Instant::now();
    for _ in 0..calls {
        call();
    }
    started.elapsed()
}
