//! Text: a report for people.

use std::time::Duration;

use super::report::{LongestWait, Stretch};
use super::{Latency, Report, Sample};

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What was looked at.
    pub what: &'static str,
    /// What was found.
    pub found: String,
    /// Whether that is as it should be.
    pub fine: bool,
}

impl Fact {
    fn new(what: &'static str, found: impl Into<String>, fine: bool) -> Self {
        Self { what, found: found.into(), fine }
    }

    fn number(what: &'static str, number: u64, note: &str, fine: bool) -> Self {
        Self::new(what, format!("{:>9}  {note}", count(number)), fine)
    }

    /// A number that should be 0.
    fn none(what: &'static str, number: u64, note: &str) -> Self {
        Self::number(what, number, note, number == 0)
    }

    /// The line as it is shown; what is not fine is marked with a cross.
    pub fn line(&self) -> String {
        let Self { what, found, fine } = self;
        let mark = if *fine { ' ' } else { '✗' };
        format!("{mark} {what:18}  {found}").trim_end().to_owned()
    }
}

impl Report {
    /// Everything that was checked or counted, without latencies.
    pub fn facts(&self) -> Vec<Fact> {
        let total = &self.total;
        let arenas = total.notifies > 0 || total.moves > 0;
        let kept = format!("{:>9}  of {}", count(self.kept as u64), count(self.clients as u64));
        let sent = format!("{} pings, {} moves", count(total.pings), count(total.moves));
        let mut facts = vec![
            Fact::new("connections kept", kept, self.kept == self.clients),
            Fact::number("messages sent", total.pings + total.moves, &sent, true),
            Fact::number("pings answered", total.answered, "", total.answered == total.pings),
            Fact::none("  lost", total.lost, ""),
            Fact::none("  duplicated", total.duplicated + total.unasked, ""),
            Fact::none("  out of order", total.out_of_order, ""),
        ];
        if total.held_back > 0 {
            let note = "not sent: a thousand were unanswered";
            facts.push(Fact::number("  held back", total.held_back, note, true));
        }
        if arenas {
            let ticks = total.ticks_missed + total.ticks_repeated;
            facts.extend([
                Fact::number("notifies received", total.notifies, "where everybody is, every tick", true),
                Fact::none("  tick gaps", ticks, "ticks missed or repeated"),
                Fact::none("  score breaks", total.scores_fallen, "a score fell"),
                Fact::none("  position breaks", total.positions_jumped, "further than a player can move"),
                Fact::none(
                    "  moves lost",
                    total.moves_undone + total.moves_lost,
                    "undone, or never seen to count",
                ),
            ]);
        }
        if total.reseated > 0 {
            let note = "a room that changed hosts found its player again";
            facts.push(Fact::number("reseated", total.reseated, note, true));
        }
        if let Some(LongestWait { ms, at_s }) = self.longest_wait {
            let gap = span(Duration::from_secs_f64(ms / 1e3));
            let within = |it: &&Stretch| (it.from_s..it.to_s).contains(&at_s);
            let during = self.stretches.iter().find(within);
            let during = during.map_or_else(String::new, |it| format!(", {}", it.label));
            let found = format!(
                "{gap:>9}  between two notifies of any player, at {at_s:.1} s{during}; a tick is 50 ms"
            );
            facts.push(Fact::new("longest gap", found, true));
        }
        for refusal in &self.refusals {
            let name = refusal.name.map_or_else(String::new, |name| format!(" ({name})"));
            let note = format!("code {}{name}: {}", refusal.code, refusal.text);
            facts.push(Fact::none("errors received", refusal.count, &note));
        }
        if total.odd_frames > 0 {
            facts.push(Fact::none("odd frames", total.odd_frames, "unknown or malformed"));
        }
        facts
    }

    /// The whole report, for a terminal 100 columns wide.
    pub fn text(&self) -> String {
        let mut lines: Vec<String> = self.facts().iter().map(Fact::line).collect();
        lines.extend(self.failures.iter().map(|text| format!("✗   {text}")));
        lines.push(String::new());
        let mut rows: Vec<_> = self.stretches.iter().map(|it| (it.label.as_str(), it.latency)).collect();
        rows.push(("all", self.latency));
        lines.push(latencies(&rows));
        lines.join("\n")
    }
}

impl Sample {
    /// The sample in one line.
    pub fn text(&self) -> String {
        let us = |us| span(Duration::from_micros(us));
        format!(
            "{:6.1} s    {} connected  {:>7} answers/s  p50 {:>7}  p99 {:>7}  {:>7} notifies/s",
            self.at.as_secs_f64(),
            count(self.connected as u64),
            count(self.answers_per_s as u64),
            us(self.latency.p50_us),
            us(self.latency.p99_us),
            count(self.notifies_per_s as u64),
        )
    }
}

/// Rows of `label p50 p90 p99 p99.9 max`, with a head.
pub fn latencies(rows: &[(&str, Latency)]) -> String {
    let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0).max(16);
    let line = |label: &str, cells: [String; 6]| {
        let [p50, p90, p99, p999, max, answers] = cells;
        format!("  {label:width$} {p50:>9} {p90:>9} {p99:>9} {p999:>9} {max:>9} {answers:>11}")
    };
    let head = ["p50", "p90", "p99", "p99.9", "max", "answers"].map(str::to_owned);
    let mut lines = vec![line("ping to answer", head)];
    for (label, latency) in rows {
        let Latency { samples, p50_us, p90_us, p99_us, p999_us, max_us } = *latency;
        let us = |us: u64| if samples == 0 { "-".to_owned() } else { span(Duration::from_micros(us)) };
        lines
            .push(line(label, [us(p50_us), us(p90_us), us(p99_us), us(p999_us), us(max_us), count(samples)]));
    }
    lines.join("\n")
}

/// `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `85 µs`, `1.2 ms`, `340 ms`, `2.5 s`.
pub fn span(time: Duration) -> String {
    let us = time.as_secs_f64() * 1e6;
    match us {
        ..999.5 => format!("{us:.0} µs"),
        ..99_950.0 => format!("{:.1} ms", us / 1e3),
        ..999_500.0 => format!("{:.0} ms", us / 1e3),
        _ => format!("{:.1} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        for (us, text) in
            [(0, "0 µs"), (85, "85 µs"), (1_249, "1.2 ms"), (340_000, "340 ms"), (2_500_000, "2.5 s")]
        {
            assert_eq!(span(Duration::from_micros(us)), text);
        }
    }

    #[test]
    fn what_is_wrong_is_marked() {
        assert_eq!(Fact::none("lost", 0, "").line(), "  lost                        0");
        assert_eq!(Fact::none("lost", 1200, "oh").line(), "✗ lost                    1,200  oh");
    }
}
