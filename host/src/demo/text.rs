//! Text: a demo's report for people.

use std::time::Duration;

use super::{Report, Takeover, timeline};
use crate::bots::{Fact, count, latency_table, span};

impl Takeover {
    fn line(&self) -> String {
        let us = |us| span(Duration::from_micros(us));
        let (from, to) = (timeline::short(&self.from), timeline::short(&self.to));
        let (half, longest) = (us(self.pause_p50_us), us(self.pause_max_us));
        let what = format!("pause {from} → {to}");
        format!("  {what:18}  {longest:>9}  the longest of {} rooms; half of them {half} or less", self.rooms)
    }
}

impl Report {
    /// The whole report, for a terminal 100 columns wide.
    pub fn text(&self) -> String {
        let players = &self.players;
        let mut parts = vec![timeline::draw(&self.lives, &self.refused, players.seconds)];
        let wrong = self.chapters.iter().filter(|chapter| !chapter.fine);
        parts.extend(wrong.map(timeline::chapter));
        let mut facts: Vec<String> = players.facts().iter().map(Fact::line).collect();
        facts.extend(players.failures.iter().map(|text| format!("✗   {text}")));
        facts.extend(self.takeovers.iter().map(Takeover::line));
        parts.push(facts.join("\n"));
        let mut rows: Vec<_> = players.stretches.iter().map(|it| (it.label.as_str(), it.latency)).collect();
        rows.push(("all", players.latency));
        parts.push(latency_table(&rows));
        parts.push(self.verdict());
        parts.join("\n\n")
    }

    fn verdict(&self) -> String {
        let players = &self.players;
        if self.passed() {
            let pauses = self.takeovers.iter().map(|it| it.pause_max_us).max().unwrap_or(0);
            return format!(
                "PASSED  {} of {} connections kept, {} pings answered once each and in order, and no room paused for\n        \
                 longer than {} in a swap.",
                count(players.kept as u64),
                count(players.clients as u64),
                count(players.total.answered),
                span(Duration::from_micros(pauses)),
            );
        }
        let log = self.node_log.as_ref();
        let log = log.map_or_else(String::new, |log| format!("\n        The node's log: {}", log.display()));
        format!("FAILED  What was not as it should be is marked with ✗.{log}")
    }
}
