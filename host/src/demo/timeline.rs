//! Timeline: which version was live when, as a bar.

use super::report::{Chapter, Live};

/// Columns of the bar.
const WIDTH: usize = 72;

/// The bar, what was refused below it, and a scale.
pub(super) fn draw(lives: &[Live], refused: &[(f64, String)], seconds: f64) -> String {
    let per_s = WIDTH as f64 / seconds.max(1.0);
    let column = |at_s: f64| (at_s * per_s).round() as usize;
    let mut bar = String::new();
    for (at, live) in lives.iter().enumerate() {
        let next = lives.get(at + 1).map_or(WIDTH + 2, |next| column(next.from_s));
        let label = format!("{} ", short(&live.label));
        let end = if live.failed { "✗" } else { "" };
        let taken = bar.chars().count() + label.chars().count() + end.chars().count();
        // A version that lived for a blink still gets its name.
        let line = next.saturating_sub(taken + 1).max(1);
        bar.push_str(&label);
        bar.push_str(&"━".repeat(line));
        bar.push_str(end);
        bar.push(' ');
    }
    let mut lines = vec![bar.trim_end().to_owned()];
    for (at_s, label) in refused {
        lines.push(format!("{:at$}✗ {} refused", "", short(label), at = column(*at_s)));
    }
    let (mut ticks, mut numbers) = (String::new(), String::new());
    let step = step(seconds);
    for second in (0..=seconds as usize).step_by(step) {
        let at = column(second as f64);
        ticks.push_str(&"─".repeat(at.saturating_sub(ticks.chars().count())));
        ticks.push(if second == 0 { '├' } else { '┼' });
        numbers.push_str(&" ".repeat(at.saturating_sub(numbers.chars().count())));
        numbers.push_str(&format!("{second} s"));
    }
    ticks.push_str(&"─".repeat(WIDTH.saturating_sub(ticks.chars().count())));
    lines.extend([ticks, numbers]);
    lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// Seconds between two numbers of the scale, so that at most a dozen are on it.
fn step(seconds: f64) -> usize {
    [1, 2, 5, 10, 20, 30, 60, 120, 300]
        .into_iter()
        .find(|step| seconds / (*step as f64) <= 12.0)
        .unwrap_or(600)
}

/// `2.0.0` as `v2`.
pub(super) fn short(label: &str) -> String {
    format!("v{}", label.strip_suffix(".0.0").unwrap_or(label))
}

/// A chapter as it is shown.
pub(super) fn chapter(chapter: &Chapter) -> String {
    let mark = if chapter.fine { '▶' } else { '✗' };
    let text = chapter.text.replace('\n', "\n            ");
    format!("{:6.1} s  {mark} {text}", chapter.at_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(label: &str, from_s: f64, failed: bool) -> Live {
        Live { label: label.to_owned(), from_s, to_s: 0.0, failed }
    }

    #[test]
    fn a_bar_shows_who_lived_when() {
        let lives = [
            live("1.0.0", 0.0, false),
            live("2.0.0", 6.0, false),
            live("3.0.0", 18.0, true),
            live("2.0.0", 18.1, false),
        ];
        let text = draw(&lives, &[(12.0, "4.0.0".to_owned())], 24.0);
        let expected = "  \
v1 ━━━━━━━━━━━━━━ v2 ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ v3 ━✗ v2 ━━━━━━━━━━
                                      ✗ v4 refused
  ├─────┼─────┼─────┼─────┼─────┼─────┼─────┼─────┼─────┼─────┼─────┼─────┼
  0 s   2 s   4 s   6 s   8 s   10 s  12 s  14 s  16 s  18 s  20 s  22 s  24 s";
        assert_eq!(text, expected);
    }

    #[test]
    fn labels_are_short_where_they_can_be() {
        assert_eq!((short("2.0.0").as_str(), short("2.1.0").as_str()), ("v2", "v2.1.0"));
    }
}
