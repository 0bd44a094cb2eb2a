//! The Date field (RFC 9110, section 5.6.7), from the seconds of somebody else's clock.

const DAY_S: u64 = 86_400;
/// 31 December 9999, the last day with a year of four digits.
const LAST_S: u64 = 253_402_300_799;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The text of one second, made once a second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Date {
    unix_s: u64,
    text: String,
}

impl Date {
    /// Seconds since 1970, UTC.
    #[must_use]
    pub fn new(unix_s: u64) -> Self {
        let text = text_of(unix_s.min(LAST_S));
        Self { unix_s, text }
    }

    /// Moves on to another second.
    pub fn set(&mut self, unix_s: u64) {
        if self.unix_s != unix_s {
            *self = Self::new(unix_s);
        }
    }

    /// As `Sun, 06 Nov 1994 08:49:37 GMT`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Days to a date by the eras of 400 years that the calendar repeats in; a year begins in March,
/// so that the leap day is its last.
fn text_of(unix_s: u64) -> String {
    let (days, second) = (unix_s / DAY_S, unix_s % DAY_S);
    let from_march = days + 719_468; // since 1 March of the year 0
    let (era, day) = (from_march / 146_097, from_march % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153; // 0 is March
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let month_of_year = (month + 2) % 12; // 0 is January
    let year = 400 * era + year + u64::from(month_of_year < 2);
    format!(
        "{}, {day_of_month:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        name(&WEEKDAYS, days % 7),
        name(&MONTHS, month_of_year),
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

fn name(names: &[&'static str], place: u64) -> &'static str {
    usize::try_from(place)
        .ok()
        .and_then(|place| names.get(place))
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (unix_s, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"), // no leap year
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(Date::new(unix_s).as_str(), text);
        }
    }

    #[test]
    fn a_date_moves_on() {
        let mut date = Date::new(0);
        date.set(0);
        date.set(61);
        assert_eq!(date, Date::new(61));
    }
}
