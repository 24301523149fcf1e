//! `hotseat plugin deploy` and `rollback`.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::failure::Failure;
use crate::cli::node::Node;
use crate::cli::terminal::{self, duration, line, progress};
use crate::proto::admin::{DeployReply, DeployRequest, RollbackRequest};

use super::list::told;
use super::{inspect, json, nodes, steps};

/// Checks the file here, as the node will, then sends it.
pub(super) async fn deploy(
    node: Node,
    name: &str,
    file: &Path,
    cluster: bool,
    as_json: bool,
) -> anyhow::Result<()> {
    let say = |text: String| {
        if !as_json {
            progress(&text)
        }
    };
    say(format!("checking {}…", file.display()));
    let artefact = inspect::read(file)?;
    let (artefact, verdict) = tokio::task::spawn_blocking(move || {
        let verdict = hotseat_build::verify(&artefact);
        (artefact, verdict)
    })
    .await
    .context("the check died")?;
    let manifest = verdict.map_err(|error| {
        Failure::new(format!("deploy refused: {error}"))
            .next("nothing has been sent; `hotseat plugin inspect FILE` shows what is in it")
    })?;
    if manifest.name != name {
        let named = &manifest.name;
        let what =
            format!("deploy refused: the artefact's manifest names the plugin {named:?}, not {name:?}");
        let failure = Failure::new(what);
        return Err(failure.next(format!("try `hotseat plugin deploy {named} {}`", file.display())).into());
    }
    let client = node.connect().await?;
    say(format!(
        "sending {} {}, {}…",
        manifest.name,
        manifest.version,
        terminal::bytes(artefact.len() as u64)
    ));
    let mut asked = client.clone();
    let request = DeployRequest { name: name.to_owned(), artefact, cluster };
    let answer = asked.deploy(request);
    let reply = match cluster {
        true => nodes::watched(client, name, !as_json, answer).await,
        false => steps::watched(client, name, !as_json, answer).await,
    };
    finish(&node, "deploy", name, reply, as_json)?;
    Ok(())
}

/// Asks for the version before the present one.
pub(super) async fn rollback(node: Node, name: &str, cluster: bool, as_json: bool) -> Result<(), Failure> {
    let client = node.connect().await?;
    let mut asked = client.clone();
    let request = RollbackRequest { name: name.to_owned(), cluster };
    let answer = asked.rollback(request);
    let reply = match cluster {
        true => nodes::watched(client, name, !as_json, answer).await,
        false => steps::watched(client, name, !as_json, answer).await,
    };
    finish(&node, "rollback", name, reply, as_json)
}

fn finish(
    node: &Node,
    what: &str,
    name: &str,
    reply: Result<tonic::Response<DeployReply>, tonic::Status>,
    as_json: bool,
) -> Result<(), Failure> {
    let reply = reply.map_err(|status| node.refused(what, &status))?.into_inner();
    if as_json {
        return json(&reply);
    }
    line(&result(name, &reply));
    Ok(())
}

fn result(name: &str, reply: &DeployReply) -> String {
    if reply.unchanged {
        return format!("{name} runs {} already; nothing to do", told(reply.to.as_ref()));
    }
    let us = |us: u64| duration(Duration::from_micros(us));
    let mut facts = vec![
        ("version", format!("{} → {}", told(reply.from.as_ref()), told(reply.to.as_ref()))),
        ("rooms", format!("{} swapped, {} rehearsed before", reply.rooms, reply.rehearsed)),
    ];
    if reply.nodes > 0 {
        // What follows is of the node that was asked; the others have told of theirs.
        facts.insert(1, ("nodes", reply.nodes.to_string()));
    }
    if reply.rooms > 0 {
        let [p50, p99, max] = [reply.pause_p50_us, reply.pause_p99_us, reply.pause_max_us].map(us);
        facts.push(("pause", format!("p50 {p50}, p99 {p99}, max {max}")));
    }
    if reply.compile_ms > 0 {
        facts.push(("compiled in", duration(Duration::from_millis(reply.compile_ms))));
    }
    let lines: Vec<_> = facts.iter().map(|(what, value)| format!("  {what:12} {value}")).collect();
    format!("{name} is live\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::admin::Version;

    #[test]
    fn a_result_reads_well() {
        let version = |label: &str| Version { digest: "ab".repeat(32), label: label.into(), size_bytes: 1 };
        let mut reply = DeployReply {
            from: Some(version("1.0.0")),
            to: Some(version("2.0.0")),
            rooms: 3,
            rehearsed: 2,
            pause_p50_us: 85,
            pause_p99_us: 400,
            pause_max_us: 1200,
            compile_ms: 340,
            unchanged: false,
            nodes: 0,
        };
        assert_eq!(
            result("game-logic", &reply),
            "game-logic is live\n  version      1.0.0 (abababababab) → 2.0.0 (abababababab)\n  \
             rooms        3 swapped, 2 rehearsed before\n  pause        p50 85 µs, p99 400 µs, max 1.2 ms\n  \
             compiled in  340 ms"
        );
        reply.nodes = 2;
        assert!(result("game-logic", &reply).contains("(abababababab)\n  nodes        2\n  rooms "));
        reply.unchanged = true;
        assert_eq!(
            result("game-logic", &reply),
            "game-logic runs 2.0.0 (abababababab) already; nothing to do"
        );
    }
}
