//! Nodes: what the nodes of a cluster do while a version is rolled out, told line by line.

use std::collections::BTreeMap;
use std::time::Duration;

use tonic::transport::Channel;

use crate::cli::terminal::{duration, progress};
use crate::proto::admin::admin_client::AdminClient;
use crate::proto::admin::{NodeProgress, ProgressReply, ProgressRequest};

/// How often the node is asked how far all of them are.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Awaits `answer` and tells meanwhile, if `tell`, what becomes of the nodes.
pub(super) async fn watched<T>(
    mut client: AdminClient<Channel>,
    name: &str,
    tell: bool,
    answer: impl Future<Output = T>,
) -> T {
    let mut answer = std::pin::pin!(answer);
    if !tell {
        return answer.await;
    }
    let mut ask = async || {
        let reply = client.progress(ProgressRequest { name: name.to_owned() }).await;
        // Whether the node is there at all, the other answer says.
        reply.map(tonic::Response::into_inner).unwrap_or_default()
    };
    let mut told = Told::from(&ask().await);
    loop {
        tokio::select! {
            answer = &mut answer => {
                told.lines(&ask().await).iter().for_each(|line| progress(line));
                return answer;
            }
            () = tokio::time::sleep(ASK_EVERY) => {
                told.lines(&ask().await).iter().for_each(|line| progress(line));
            }
        }
    }
}

/// What has been told.
#[derive(Debug, Default)]
struct Told {
    /// Rollouts up to this one are of no interest.
    before: u64,
    steps: BTreeMap<String, String>,
}

impl Told {
    fn from(begin: &ProgressReply) -> Self {
        let ended = begin.nodes.iter().map(|node| node.rollout).max().unwrap_or(0);
        Self { before: ended.max(begin.rollout), steps: BTreeMap::new() }
    }

    /// What is news.
    fn lines(&mut self, now: &ProgressReply) -> Vec<String> {
        let mut lines = Vec::new();
        for node in now.nodes.iter().filter(|node| node.rollout > self.before) {
            let line = line(node);
            if self.steps.get(&node.node) != Some(&line) {
                self.steps.insert(node.node.clone(), line.clone());
                lines.push(line);
            }
        }
        lines
    }
}

fn line(node: &NodeProgress) -> String {
    let what = match (&*node.step, &*node.reason) {
        ("live", _) if node.rooms > 0 => {
            let pause = duration(Duration::from_micros(node.pause_max_us));
            format!("live, {} rooms, pause max {pause}", node.rooms)
        }
        (step, "") => step.to_owned(),
        (step, reason) => format!("{step}: {reason}"),
    };
    format!("{}: {what}", node.node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(node: &str, rollout: u64, step: &str, reason: &str) -> NodeProgress {
        let (node, step, reason) = (node.into(), step.into(), reason.into());
        NodeProgress { node, rollout, step, reason, digest: String::new(), rooms: 0, pause_max_us: 0 }
    }

    #[test]
    fn what_is_news_is_told_once() {
        let mut now = ProgressReply { rollout: 3, ..ProgressReply::default() };
        now.nodes = vec![node("a", 3, "live", ""), node("b", 2, "refused", "no")];
        let mut told = Told::from(&now);
        assert!(told.lines(&now).is_empty());
        now.nodes[0] = node("a", 4, "ready", "");
        assert_eq!(told.lines(&now), ["a: ready"]);
        now.nodes[1] = node("b", 4, "refused", "no such field");
        assert_eq!(told.lines(&now), ["b: refused: no such field"]);
        now.nodes[0] = NodeProgress { rooms: 2, pause_max_us: 85, ..node("a", 4, "live", "") };
        assert_eq!(told.lines(&now), ["a: live, 2 rooms, pause max 85 µs"]);
        assert!(told.lines(&now).is_empty());
    }
}
