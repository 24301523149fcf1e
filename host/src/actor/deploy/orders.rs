//! Orders to many rooms, and their answers.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::sync::oneshot;

use crate::actor::Order;
use crate::actor::crew::Member;

/// How long a room may take to answer an order before the deployment gives it up.
const PATIENCE: Duration = Duration::from_secs(10);

/// A room's name and what it answered; no pause if it had ended.
pub(super) type Answer = (Arc<str>, Result<Option<Duration>, String>);

/// Gives every room an order, a few at a time: a hand-over keeps a core busy, and rooms whose turn has not come play
/// on meanwhile.
pub(super) async fn ask_all(
    rooms: Vec<Member>,
    order: impl Fn(oneshot::Sender<Result<Duration, String>>) -> Order,
) -> Vec<Answer> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let order = &order;
    let asked = rooms.into_iter().map(|room| async move {
        let answer = match ask(&room, order).await {
            Some(answer) => answer.map(Some),
            None => Ok(None),
        };
        (room.name, answer)
    });
    stream::iter(asked).buffer_unordered(cores.saturating_sub(1).max(1)).collect().await
}

/// Gives a room an order and awaits the answer; none if the room has ended.
pub(super) async fn ask<T>(
    room: &Member,
    order: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Order,
) -> Option<Result<T, String>> {
    let (sender, answer) = oneshot::channel();
    room.orders.send(order(sender)).await.ok()?;
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.ok(),
        Err(_) => Some(Err(format!("no answer within {PATIENCE:?}"))),
    }
}
