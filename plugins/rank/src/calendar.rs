//! Days of the Gregorian calendar.

/// A date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Day {
    /// The year.
    pub(crate) year: u64,
    /// 1 to 12.
    pub(crate) month: u8,
    /// Day of the month, from 1.
    pub(crate) day: u8,
    /// 0 is Sunday.
    pub(crate) weekday: u8,
}

/// Days of 400 years: after these the calendar repeats itself.
const ERA_DAYS: u64 = 146_097;

/// Days from 1 March of the year 0 to 1 January 1970.
const TO_1970: u64 = 719_468;

impl Day {
    /// The date that many days after 1970-01-01.
    ///
    /// Years begin in March here, so that a leap day is the last of its year: then every fourth year is a day
    /// longer, every hundredth is not, every four hundredth is, and five months have 153 days.
    #[must_use]
    pub(crate) fn since_1970(days: u64) -> Self {
        let of_era = (days + TO_1970) % ERA_DAYS;
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Self {
            year: (days + TO_1970) / ERA_DAYS * 400 + year_of_era + u64::from(month < 3),
            month: small(month),
            day: small(day),
            // 1970-01-01 was a Thursday.
            weekday: small((days + 4) % 7),
        }
    }
}

fn small(number: u64) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against counting day by day, over more than one era.
    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970_u64, 1_u8, 1_u8);
        for days in 0..ERA_DAYS + 1000 {
            let weekday = small((days + 4) % 7);
            assert_eq!(Day::since_1970(days), Day { year, month, day, weekday });
            let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
            let length = match month {
                2 => 28 + u8::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }
}
