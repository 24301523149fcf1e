//! Services beside many who use all they can: streams that nobody reads, and calls that do not end.

use clumsy::{Order, what};
use hotseat_services::rank::{Change, RankingServiceClient};
use tonic::Code;

use crate::guests::services;
use crate::served::{Boss, DO};
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_streams_keep_unread_has_one_bound() {
    const BOUND: usize = 4 << 20;
    const MESSAGE: usize = 500_000;
    let world = World::serving_with(&[&services().clumsy], |config| config.streams_max_bytes = BOUND).await;
    let mut boss = Boss::of(&world).await;
    let mut stalled = Vec::new();
    for _ in 0..32 {
        stalled.push(Boss::of(&world).await.listen(what::COUNT, 0).await.unwrap());
    }
    // Each stream takes more than all together may keep.
    while world.metric("hotseat_service_streams_cut_total").await == 0 {
        boss.order(what::BIG, MESSAGE as u64).await.unwrap();
        let unread = world.metric("hotseat_service_streams_unread_bytes").await;
        // One message may be the one that is too many.
        assert!(unread < (BOUND + 2 * MESSAGE) as u64, "{unread} bytes");
    }
    // Who reads is served, and what was kept is given back when they go.
    boss.order(what::COUNT, 0).await.unwrap();
    drop(stalled);
    world.counted("hotseat_service_streams_unread_bytes", 0).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_a_method_that_loops_end_at_its_deadline_and_others_are_served() {
    let world = World::serving(&[&services().clumsy, &services().rank]).await;
    let mut ranks = RankingServiceClient::new(world.channel().await);
    let mut callers = Vec::new();
    for id in 0..32 {
        let mut boss = Boss::of(&world).await;
        let order = Order { id, what: what::LOOP, number: 0 };
        callers.push(tokio::spawn(async move { boss.send(DO, order).await }));
    }
    let mut change = Change { user_id: 1, score: 0, set_id: 7 };
    // All the time that the loops take, and once more after it.
    let mut served = 0;
    while served == 0 || callers.iter().any(|caller| !caller.is_finished()) {
        change.score += 1;
        ranks.rank_change(change).await.unwrap();
        served += 1;
    }
    for caller in callers {
        let status = caller.await.unwrap().unwrap_err();
        assert!([Code::DeadlineExceeded, Code::Unavailable].contains(&status.code()), "{status}");
    }
    assert!(served > 10, "{served} calls of another service while 32 callers had theirs loop");
    world.stop().await;
}
