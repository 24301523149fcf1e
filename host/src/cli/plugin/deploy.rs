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

/// What a deployment is to be.
pub(super) struct What {
    /// On all nodes or on none.
    pub(super) cluster: bool,
    /// Only tried.
    pub(super) plan: bool,
    /// Rooms that may end for it.
    pub(super) set_aside: Vec<String>,
    /// However long rooms stand still.
    pub(super) accept_pause: bool,
}

/// Checks the file here, as the node will, has the node say what the deployment would do, then deploys it.
pub(super) async fn deploy(
    node: Node,
    name: &str,
    file: &Path,
    what: &What,
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
    let What { cluster, plan, set_aside, accept_pause } = what;
    let (cluster, plan, set_aside, accept_pause) = (*cluster, *plan, set_aside.clone(), *accept_pause);
    let request =
        DeployRequest { name: name.to_owned(), artefact, cluster, plan: true, set_aside, accept_pause };
    let answer = asked.deploy(request.clone());
    let planned = steps::watched(client.clone(), name, !as_json, answer).await;
    if plan {
        return Ok(finish(&node, "deploy", name, planned, as_json, &planned_of)?);
    }
    let planned = planned.map_err(|status| node.refused("deploy", &status))?.into_inner();
    if let Some(way) = &planned.way_back {
        say(format!("going back will be possible: {}", way.text));
    }
    if !planned.set_aside.is_empty() {
        say(format!("rooms that cannot go and will be set aside: {}", planned.set_aside.join(", ")));
    }
    let request = DeployRequest { plan: false, ..request };
    let answer = asked.deploy(request);
    let reply = match cluster {
        true => nodes::watched(client, name, !as_json, answer).await,
        false => steps::watched(client, name, !as_json, answer).await,
    };
    finish(&node, "deploy", name, reply, as_json, &result)?;
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
    finish(&node, "rollback", name, reply, as_json, &result)
}

fn finish(
    node: &Node,
    what: &str,
    name: &str,
    reply: Result<tonic::Response<DeployReply>, tonic::Status>,
    as_json: bool,
    told: &dyn Fn(&str, &DeployReply) -> String,
) -> Result<(), Failure> {
    let reply = reply.map_err(|status| node.refused(what, &status))?.into_inner();
    if as_json {
        return json(&reply);
    }
    line(&told(name, &reply));
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
        let (all, peak) = (terminal::bytes(reply.state_bytes), terminal::bytes(reply.peak_bytes));
        facts.push(("players", format!("waited {} at most", us(reply.players_waited_us))));
        facts.push(("state", format!("{all} handed over, {peak} of it at a time at most")));
    }
    if reply.compile_ms > 0 {
        facts.push(("compiled in", duration(Duration::from_millis(reply.compile_ms))));
    }
    if !reply.set_aside.is_empty() {
        facts.push(("set aside", reply.set_aside.join(", ")));
    }
    if let Some(way) = &reply.way_back {
        facts.push(("way back", way.text.clone()));
    }
    let lines: Vec<_> = facts.iter().map(|(what, value)| format!("  {what:12} {value}")).collect();
    format!("{name} is live\n{}", lines.join("\n"))
}

fn planned_of(name: &str, reply: &DeployReply) -> String {
    if reply.unchanged {
        return result(name, reply);
    }
    let (from, to) = (told(reply.from.as_ref()), told(reply.to.as_ref()));
    let way = reply.way_back.as_ref().map_or("", |way| &way.text);
    let rehearsed = reply.rehearsed;
    let pause = duration(Duration::from_micros(reply.expected_pause_us));
    format!(
        "{name} can be deployed; nothing has been changed\n  version      {from} → {to}\n  \
         rooms        {rehearsed} rehearsed\n  pause        {pause} expected at most\n  way back     {way}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::admin::{Version, WayBack};

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
            way_back: None,
            set_aside: Vec::new(),
            players_waited_us: 2000,
            state_bytes: 3 << 20,
            peak_bytes: 1 << 20,
            expected_pause_us: 0,
        };
        assert_eq!(
            result("game-logic", &reply),
            "game-logic is live\n  version      1.0.0 (abababababab) → 2.0.0 (abababababab)\n  \
             rooms        3 swapped, 2 rehearsed before\n  pause        p50 85 µs, p99 400 µs, max 1.2 ms\n  \
             players      waited 2.0 ms at most\n  state        3.0 MiB handed over, 1.0 MiB of it at a time at most\n  \
             compiled in  340 ms"
        );
        let text = "at any time: the version before reads the state as it is".to_owned();
        reply.way_back = Some(WayBack { kind: "state".into(), text, ..WayBack::default() });
        let told = result("game-logic", &reply);
        assert!(
            told.ends_with("\n  way back     at any time: the version before reads the state as it is"),
            "{told}"
        );
        assert!(planned_of("game-logic", &reply).contains("nothing has been changed"));
        reply.way_back = None;
        reply.nodes = 2;
        assert!(result("game-logic", &reply).contains("(abababababab)\n  nodes        2\n  rooms "));
        reply.unchanged = true;
        assert_eq!(
            result("game-logic", &reply),
            "game-logic runs 2.0.0 (abababababab) already; nothing to do"
        );
    }
}
