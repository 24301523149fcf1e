//! `hotseat plugin list` and `history`.

use crate::cli::failure::Failure;
use crate::cli::node::Node;
use crate::cli::terminal::{self, line, short};
use crate::proto::admin::{Event, HistoryRequest, ListPluginsRequest, Plugin, Version};

use super::json;

pub(super) async fn list(node: Node, as_json: bool) -> Result<(), Failure> {
    let reply = node.connect().await?.list_plugins(ListPluginsRequest {}).await;
    let reply = reply.map_err(|status| node.refused("list", &status))?.into_inner();
    if as_json {
        return json(&reply);
    }
    if reply.plugins.is_empty() {
        line("no plugins: start the node with --plugin NAME=FILE, or deploy one");
        return Ok(());
    }
    let rows: Vec<_> = reply.plugins.iter().map(row).collect();
    line(&terminal::table(
        ["NAME", "VERSION", "DIGEST", "SIZE", "ROOMS", "PLAYERS", "STATE", "TRAPS", "PREVIOUS"],
        &rows,
    ));
    for plugin in reply.plugins.iter().filter(|plugin| !plugin.problem.is_empty()) {
        line(&format!("{}: {}", plugin.name, plugin.problem));
    }
    Ok(())
}

fn row(plugin: &Plugin) -> [String; 9] {
    let live = plugin.live.clone().unwrap_or_default();
    [
        plugin.name.clone(),
        live.label,
        short(&live.digest).to_owned(),
        terminal::bytes(live.size_bytes),
        plugin.rooms.to_string(),
        plugin.players.to_string(),
        plugin.state.clone(),
        plugin.traps.to_string(),
        told(plugin.previous.as_ref()),
    ]
}

pub(super) async fn history(node: Node, name: &str, as_json: bool) -> Result<(), Failure> {
    let reply = node.connect().await?.history(HistoryRequest { name: name.to_owned() }).await;
    let reply = reply.map_err(|status| node.refused("history", &status))?.into_inner();
    if as_json {
        return json(&reply);
    }
    let rows: Vec<_> = reply.events.iter().map(event).collect();
    line(&terminal::table(["TIME", "EVENT", "VERSION", "DIGEST", "REASON"], &rows));
    Ok(())
}

fn event(event: &Event) -> [String; 5] {
    let version = event.version.clone().unwrap_or_default();
    [
        terminal::time(event.at_ms),
        event.kind.clone(),
        version.label,
        short(&version.digest).to_owned(),
        // One row stays one line.
        event.reason.split_whitespace().collect::<Vec<_>>().join(" "),
    ]
}

/// A version in one cell; `-` if there is none.
pub(super) fn told(version: Option<&Version>) -> String {
    version.map_or_else(|| "-".into(), |version| format!("{} ({})", version.label, short(&version.digest)))
}
