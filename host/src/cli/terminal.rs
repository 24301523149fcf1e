//! Terminal: what commands write for people: lines, aligned columns, readable numbers.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

/// Writes a line of the command's result on standard output. A reader that has gone away is no error.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes a line about what is going on, on standard error, so that the result can be piped.
pub fn progress(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Writes the text of an error.
pub fn error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Rows under a head, in columns as wide as their widest cell.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(head.map(str::to_owned)).chain(rows.iter().cloned()) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            write!(line, "{cell:width$}  ").expect("writing to a string cannot fail");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.pop();
    text
}

/// `712 B`, `120 KiB`, `3.4 MiB`.
pub fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{} KiB", count.div_ceil(1024)),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

/// `85 µs`, `1.2 ms`, `340 ms`, `2.5 s`, `3 min 20 s`, `5 h 2 min`, `4 d 3 h`.
pub fn duration(time: Duration) -> String {
    let us = time.as_micros();
    let s = time.as_secs();
    match us {
        0..1000 => format!("{us} µs"),
        1000..100_000 => format!("{:.1} ms", us as f64 / 1e3),
        100_000..1_000_000 => format!("{} ms", us / 1000),
        1_000_000..60_000_000 => format!("{:.1} s", us as f64 / 1e6),
        _ if s < 3600 => format!("{} min {} s", s / 60, s % 60),
        _ if s < 86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// The first 12 hex digits: enough to tell versions apart in a list.
pub fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// A point in time as `2026-01-31 12:00:00 UTC`, from milliseconds since 1970.
pub fn time(ms: u64) -> String {
    let (days, s) = (ms / 86_400_000, ms / 1000 % 86_400);
    // Civil date from days since 1970, counted in years that begin in March so that leap days come last.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + next;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", s / 3600, s % 3600 / 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let bytes_cases =
            [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (122_000, "120 KiB"), (3 << 20, "3.0 MiB")];
        for (count, text) in bytes_cases {
            assert_eq!(bytes(count), text);
        }
        let durations = [
            (85, "85 µs"),
            (1200, "1.2 ms"),
            (340_000, "340 ms"),
            (2_500_000, "2.5 s"),
            (200_000_000, "3 min 20 s"),
            (18_120_000_000, "5 h 2 min"),
            (356_400_000_000, "4 d 3 h"),
        ];
        for (us, text) in durations {
            assert_eq!(duration(Duration::from_micros(us)), text);
        }
        let times = [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_735_689_599_999, "2024-12-31 23:59:59 UTC"),
            (1_772_323_200_000, "2026-03-01 00:00:00 UTC"),
        ];
        for (ms, text) in times {
            assert_eq!(time(ms), text);
        }
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["a".to_owned(), "1".to_owned()], ["longer".to_owned(), "22".to_owned()]];
        assert_eq!(table(["NAME", "N"], &rows), "NAME    N\na       1\nlonger  22");
    }
}
