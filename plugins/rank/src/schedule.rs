//! When seasons end: cron expressions of five fields, in UTC.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::calendar::Day;

const MINUTE_MS: u64 = 60_000;
const DAY_MINUTES: u64 = 24 * 60;

/// A text longer than this is no schedule, bytes.
const TEXT_MAX: usize = 100;

/// Days to look ahead: 29 February falls on a given day of the week once in 28 years, or 40 around a year such as
/// 2100 that is no leap year.
const HORIZON_DAYS: u64 = 41 * 366;

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// Too long to be looked at.
    #[error("schedule of {0} bytes, at most {TEXT_MAX}")]
    Length(usize),
    /// Not five fields.
    #[error("schedule {text:?} has {found} fields, not 5: minute hour day-of-month month day-of-week")]
    Fields {
        /// The schedule.
        text: String,
        /// What it has.
        found: usize,
    },
    /// A field says nothing that it may.
    #[error(
        "schedule field {name} is {text:?}: {low} to {high}, as *, N, A-B, */N or A-B/N, separated by commas"
    )]
    Field {
        /// Which one.
        name: &'static str,
        /// What it says.
        text: String,
        /// The lowest number it may have.
        low: u8,
        /// The highest.
        high: u8,
    },
    /// A date such as 30 February.
    #[error("schedule {0:?} names no day that ever comes")]
    Never(String),
}

/// A cron expression. As in cron(5), a day matches if day of month and month do, and day of week does; if neither day
/// field begins with `*`, one of the two is enough. Names (`MON`, `JAN`) and `@daily` are not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule {
    text: String,
    /// Bit sets of the numbers that match.
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// 0 is Sunday.
    weekdays: u64,
    either_day: bool,
}

impl Schedule {
    /// Reads an expression such as `0 0 * * 1`, Mondays at midnight.
    ///
    /// # Errors
    /// [`ScheduleError`], with the field that is wrong.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        if text.len() > TEXT_MAX {
            return Err(ScheduleError::Length(text.len()));
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(ScheduleError::Fields { text: text.to_owned(), found: fields.len() });
        };
        let weekdays = field("day-of-week", weekday, 0, 7)?;
        let schedule = Self {
            text: fields.join(" "),
            minutes: field("minute", minute, 0, 59)?,
            hours: field("hour", hour, 0, 23)?,
            days: field("day-of-month", day, 1, 31)?,
            months: field("month", month, 1, 12)?,
            // 7 is Sunday too.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        // From 1 January 1970 the horizon covers every kind of year there is but those around 2100.
        if schedule.after(0).is_none() {
            return Err(ScheduleError::Never(schedule.text));
        }
        Ok(schedule)
    }

    /// The expression, with single spaces.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first moment that matches and is later than `now_ms`; both in milliseconds since 1970-01-01 UTC. None if
    /// there is none within 41 years.
    #[must_use]
    pub fn after(&self, now_ms: u64) -> Option<u64> {
        let minute = now_ms / MINUTE_MS + 1;
        let today = minute / DAY_MINUTES;
        let mut from = minute % DAY_MINUTES;
        for day in today..today + HORIZON_DAYS {
            if self.matches_day(Day::since_1970(day))
                && let Some(minute) = self.first_minute(from)
            {
                return (day * DAY_MINUTES + minute).checked_mul(MINUTE_MS);
            }
            from = 0;
        }
        None
    }

    /// Whether a day matches.
    fn matches_day(&self, day: Day) -> bool {
        let of_month = has(self.days, day.day.into());
        let of_week = has(self.weekdays, day.weekday.into());
        let either = if self.either_day { of_month || of_week } else { of_month && of_week };
        either && has(self.months, day.month.into())
    }

    /// The first minute of a day that matches and is not before `from`.
    fn first_minute(&self, from: u64) -> Option<u64> {
        (from / 60..24).filter(|hour| has(self.hours, *hour)).find_map(|hour| {
            let first = from.saturating_sub(hour * 60);
            (first..60).find(|minute| has(self.minutes, *minute)).map(|minute| hour * 60 + minute)
        })
    }
}

impl TryFrom<String> for Schedule {
    type Error = ScheduleError;

    fn try_from(text: String) -> Result<Self, ScheduleError> {
        Self::parse(&text)
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.text
    }
}

fn has(set: u64, number: u64) -> bool {
    set >> number & 1 == 1
}

/// One field as a bit set.
fn field(name: &'static str, text: &str, low: u8, high: u8) -> Result<u64, ScheduleError> {
    let mut items = text.split(',').map(|part| item(part, low, high));
    items.try_fold(0, |set, item| Some(set | item?)).ok_or_else(|| ScheduleError::Field {
        name,
        text: text.to_owned(),
        low,
        high,
    })
}

/// `*`, `N` or `A-B`, the first and the last perhaps with `/STEP`.
fn item(text: &str, low: u8, high: u8) -> Option<u64> {
    let (range, step) = match text.split_once('/') {
        Some((range, step)) => (range, Some(number(step).filter(|step| *step > 0)?)),
        None => (text, None),
    };
    let (first, last) = match (range, range.split_once('-')) {
        ("*", _) => (low, high),
        (_, Some((first, last))) => (number(first)?, number(last)?),
        // A step from a single number has no end that all agree on.
        (_, None) if step.is_some() => return None,
        (single, None) => (number(single)?, number(single)?),
    };
    if first < low || last > high || first > last {
        return None;
    }
    Some((first..=last).step_by(step.unwrap_or(1).into()).fold(0, |set, number| set | 1 << number))
}

fn number(text: &str) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}
