//! Steps: what one node does with a version, told while one waits for it.

use std::time::{Duration, Instant};

use tonic::transport::Channel;

use crate::cli::terminal::{duration, progress};
use crate::proto::admin::ListPluginsRequest;
use crate::proto::admin::admin_client::AdminClient;

/// How often the node is asked what it does.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// A step that lasts is told again so often.
const AGAIN: Duration = Duration::from_secs(5);

/// Awaits `answer` and tells meanwhile, if `tell`, which step the plugin is at and since when.
pub(super) async fn watched<T>(
    mut client: AdminClient<Channel>,
    name: &str,
    tell: bool,
    answer: impl Future<Output = T>,
) -> T {
    let begun = Instant::now();
    let mut told = Told::default();
    let mut answer = std::pin::pin!(answer);
    loop {
        tokio::select! {
            answer = &mut answer => return answer,
            () = tokio::time::sleep(ASK_EVERY), if tell => {}
        }
        // Whether the node is there at all, the other answer says.
        let Ok(reply) = client.list_plugins(ListPluginsRequest {}).await else { continue };
        let plugin = reply.into_inner().plugins.into_iter().find(|plugin| plugin.name == name);
        let state = plugin.map(|plugin| plugin.state).unwrap_or_default();
        if let Some(line) = told.line(&state, begun.elapsed()) {
            progress(&line);
        }
    }
}

/// What has been told.
#[derive(Debug, Default)]
struct Told {
    state: String,
    at: Duration,
}

impl Told {
    /// What is news after that time.
    fn line(&mut self, state: &str, after: Duration) -> Option<String> {
        let same = self.state == state;
        if ["", "idle", "probation"].contains(&state) || (same && after < self.at + AGAIN) {
            return None;
        }
        state.clone_into(&mut self.state);
        self.at = after;
        let since = duration(Duration::from_secs(after.as_secs()));
        Some(if after < AGAIN {
            format!("{state}…")
        } else {
            format!("{state}… ({since}; Ctrl-C gives up)")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_when_it_begins_and_now_and_then() {
        let mut told = Told::default();
        let mut at = |state: &str, ms: u64| told.line(state, Duration::from_millis(ms));
        assert_eq!(at("idle", 0), None);
        assert_eq!(at("compiling", 250).as_deref(), Some("compiling…"));
        assert_eq!(at("compiling", 5000), None);
        assert_eq!(at("compiling", 5250).as_deref(), Some("compiling… (5.0 s; Ctrl-C gives up)"));
        assert_eq!(at("compiling", 5500), None);
        assert_eq!(at("rehearsing", 5750).as_deref(), Some("rehearsing… (5.0 s; Ctrl-C gives up)"));
        assert_eq!(at("probation", 6000), None);
    }
}
