//! Schedules against going through the minutes one by one.

use proptest::prelude::*;
use rank::schedule::{Schedule, ScheduleError};

const MINUTE_MS: u64 = 60_000;

/// 2024-02-28 00:00:00 UTC, a Wednesday before a leap day.
const FEBRUARY_MS: u64 = 1_709_078_400_000;

/// A date, counted up minute by minute.
#[derive(Debug, Clone, Copy)]
struct Clock {
    minute: u32,
    hour: u32,
    day: u32,
    month: u32,
    year: u32,
    weekday: u32,
}

impl Clock {
    fn tick(&mut self) {
        self.minute += 1;
        if self.minute < 60 {
            return;
        }
        (self.minute, self.hour) = (0, self.hour + 1);
        if self.hour < 24 {
            return;
        }
        (self.hour, self.day, self.weekday) = (0, self.day + 1, (self.weekday + 1) % 7);
        let leap =
            self.year.is_multiple_of(4) && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        if self.day <= days[self.month as usize - 1] {
            return;
        }
        (self.day, self.month) = (1, self.month + 1);
        if self.month > 12 {
            (self.month, self.year) = (1, self.year + 1);
        }
    }
}

/// Whether a field says this number; by another way than the parser's.
fn says(field: &str, number: u32) -> bool {
    field.split(',').any(|part| {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let step: u32 = step.parse().expect("the strategy makes numbers");
        let (low, high) = match range.split_once('-') {
            _ if range == "*" => (None, None),
            Some((low, high)) => (low.parse().ok(), high.parse().ok()),
            None => (range.parse().ok(), range.parse().ok()),
        };
        let first =
            low.unwrap_or(if number == 0 || step == 1 { 0 } else { STAR_FIRST.with(std::cell::Cell::get) });
        number >= first
            && high.is_none_or(|high: u32| number <= high)
            && (number - first).is_multiple_of(step)
    })
}

thread_local! {
    /// Where `*/N` begins to count: 0, or 1 for days of the month and months.
    static STAR_FIRST: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

fn field(name: usize, text: &str, number: u32) -> bool {
    STAR_FIRST.with(|first| first.set(u32::from(name == 2 || name == 3)));
    says(text, number)
}

fn matches(fields: &[String], clock: &Clock) -> bool {
    let of_month = field(2, &fields[2], clock.day);
    let of_week = field(4, &fields[4], clock.weekday) || clock.weekday == 0 && field(4, &fields[4], 7);
    let days = if fields[2].starts_with('*') || fields[4].starts_with('*') {
        of_month && of_week
    } else {
        of_month || of_week
    };
    field(0, &fields[0], clock.minute)
        && field(1, &fields[1], clock.hour)
        && days
        && field(3, &fields[3], clock.month)
}

fn part(low: u32, high: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("*".to_owned()),
        3 => (low..=high).prop_map(|number| number.to_string()),
        1 => (2..9_u32).prop_map(|step| format!("*/{step}")),
        1 => (low..=high, low..=high).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (low..=high, low..=high, 1..5_u32).prop_map(|(a, b, step)| format!("{}-{}/{step}", a.min(b), a.max(b))),
        1 => prop::collection::vec(low..=high, 2..4)
            .prop_map(|list| list.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_next_moment_is_the_first_minute_that_matches(
        minute in part(0, 59), hour in part(0, 23), day in part(1, 31), month in part(1, 12), weekday in part(0, 7),
        offset_ms in 0..3 * 86_400_000_u64,
    ) {
        let fields = [minute, hour, day, month, weekday];
        let Ok(schedule) = Schedule::parse(&fields.join(" ")) else { return Ok(()) };
        let mut clock = Clock { minute: 0, hour: 0, day: 28, month: 2, year: 2024, weekday: 3 };
        let now_ms = FEBRUARY_MS + offset_ms;
        let next = schedule.after(now_ms).expect("it parsed");
        // 400 days, or where it is.
        for at in (FEBRUARY_MS..=next.min(FEBRUARY_MS + 400 * 86_400_000)).step_by(MINUTE_MS as usize) {
            prop_assert_eq!(at > now_ms && matches(&fields, &clock), at == next, "at {:?}", clock);
            clock.tick();
        }
    }

    #[test]
    fn no_text_upsets_the_parser(text in ".{0,120}") {
        if let Ok(schedule) = Schedule::parse(&text) {
            prop_assert!(schedule.after(u64::MAX).is_none_or(|next| next < u64::MAX));
        }
    }

    #[test]
    fn nearly_schedules_do_not_upset_the_parser(text in "[0-9*/, -]{5,40}") {
        let _ = Schedule::parse(&text);
    }
}

#[test]
fn rare_days_are_found() {
    let leap_monday = Schedule::parse("0 0 29 2 *").expect("parses");
    let first = leap_monday.after(FEBRUARY_MS).expect("comes");
    assert_eq!(first, FEBRUARY_MS + 86_400_000);
    assert_eq!(leap_monday.after(first), Some(first + (4 * 365 + 1) * 86_400_000));
    // 29 February 2096, then 2104: 2100 is no leap year.
    let in_2096 = 3_981_312_000_000;
    assert_eq!(leap_monday.after(in_2096), Some(in_2096 + (8 * 365 + 1) * 86_400_000));
}

#[test]
fn texts_that_are_no_schedules_are_refused_with_the_field() {
    for (text, name) in [
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 0 * *", "day-of-month"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "day-of-week"),
        ("a * * * *", "minute"),
        ("5/10 * * * *", "minute"),
        ("*/0 * * * *", "minute"),
        ("9-5 * * * *", "minute"),
        ("1,,2 * * * *", "minute"),
        ("+1 * * * *", "minute"),
        ("* * * JAN *", "month"),
        ("999 * * * *", "minute"),
    ] {
        match Schedule::parse(text) {
            Err(ScheduleError::Field { name: found, .. }) => assert_eq!(found, name, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    assert!(matches!(Schedule::parse("* * * * * *"), Err(ScheduleError::Fields { found: 6, .. })));
    assert!(matches!(Schedule::parse("@daily"), Err(ScheduleError::Fields { found: 1, .. })));
    assert!(matches!(Schedule::parse(&"1,".repeat(60)), Err(ScheduleError::Length(120))));
    assert!(matches!(Schedule::parse("0 0 31 2,4,6,9,11 *"), Err(ScheduleError::Never(_))));
}
