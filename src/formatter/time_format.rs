//! Prints points in time by a `strftime`-like pattern, in UTC, as Envoy's `%START_TIME(...)%` does.
//!
//! The specifiers are those Envoy 1.40 was seen to print; an unknown one is printed as it stands.
//! Never reads a clock or a time zone.

use super::number::{write_padded, write_u64};
use crate::base::clock::UnixTime;

/// A compiled time pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeFormat {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    /// The first digits of the fraction of the second.
    Fraction(u8),
    /// The fraction without trailing zeros; with seconds and point before it, or alone.
    ShortestFraction {
        with_seconds: bool,
    },
    Field(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    EpochSeconds,
    Year,
    YearOfCentury,
    Century,
    Month,
    Day,
    DaySpaced,
    Hour,
    HourSpaced,
    Hour12,
    Hour12Spaced,
    Minute,
    Second,
    DayOfYear,
    Weekday,
    WeekdayShort,
    WeekdayFrom1,
    WeekdayFrom0,
    MonthName,
    MonthShort,
    MeridiemUpper,
    MeridiemLower,
    WeekFromSunday,
    WeekFromMonday,
    IsoWeek,
    IsoYear,
    IsoYearOfCentury,
}

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Envoy's pattern where none is given: `2026-11-21T08:25:42.382Z`.
pub const DEFAULT_TIME_PATTERN: &str = "%Y-%m-%dT%H:%M:%E3SZ";

impl TimeFormat {
    /// Compiles `pattern`; an empty one stands for [`DEFAULT_TIME_PATTERN`]. Never fails.
    pub fn compile(pattern: &str) -> TimeFormat {
        let mut format = TimeFormat { parts: Vec::new() };
        format.add(if pattern.is_empty() { DEFAULT_TIME_PATTERN } else { pattern });
        format
    }

    /// Appends `time` in this format.
    pub fn write(&self, time: UnixTime, out: &mut Vec<u8>) {
        let civil = Civil::from_unix(time);
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Fraction(digits) => write_fraction(time.subsec_nanos(), *digits, out),
                Part::ShortestFraction { with_seconds } => {
                    write_shortest_fraction(&civil, time.subsec_nanos(), *with_seconds, out);
                }
                Part::Field(field) => write_field(*field, time, &civil, out),
            }
        }
    }

    fn add(&mut self, pattern: &str) {
        let mut rest = pattern;
        while let Some(at) = rest.find('%') {
            self.literal(&rest[..at]);
            let body = &rest[at + 1..];
            let used = self.add_specifier(body);
            if used == 0 {
                self.literal("%");
            }
            rest = &body[used..];
        }
        self.literal(rest);
    }

    /// Compiles the specifier after a `%` and returns its length; 0 if there is none.
    fn add_specifier(&mut self, body: &str) -> usize {
        let bytes = body.as_bytes();
        match bytes {
            [b'E', b'*', b'S', ..] => {
                self.parts.push(Part::ShortestFraction { with_seconds: true });
                3
            }
            [b'E', b'*', b'f', ..] => {
                self.parts.push(Part::ShortestFraction { with_seconds: false });
                3
            }
            [b'E', b'*', b'z', ..] | [b':', b':', b'z', ..] => {
                self.literal("+00:00:00");
                3
            }
            [b'E', b'z', ..] | [b':', b'z', ..] => {
                self.literal("+00:00");
                2
            }
            [b'E', b'T', ..] => {
                self.literal("T");
                2
            }
            [b'E', b'4', b'Y', ..] => {
                self.parts.push(Part::Field(Field::Year));
                3
            }
            [b'E', digit @ b'0'..=b'9', b'S', ..] => {
                self.parts.push(Part::Field(Field::Second));
                if *digit != b'0' {
                    self.literal(".");
                    self.parts.push(Part::Fraction(digit - b'0'));
                }
                3
            }
            [b'E', digit @ b'1'..=b'9', b'f', ..] => {
                self.parts.push(Part::Fraction(digit - b'0'));
                3
            }
            [digit @ b'1'..=b'9', b'f', ..] => {
                self.parts.push(Part::Fraction(digit - b'0'));
                2
            }
            [b'f', ..] => {
                self.parts.push(Part::Fraction(9));
                1
            }
            // Alternative forms print as the plain ones do.
            [b'E' | b'O', letter, ..] if self.add_letter(*letter) => 2,
            [letter, ..] if self.add_letter(*letter) => 1,
            _ => 0,
        }
    }

    fn add_letter(&mut self, letter: u8) -> bool {
        let field = match letter {
            b's' => Field::EpochSeconds,
            b'Y' => Field::Year,
            b'y' => Field::YearOfCentury,
            b'C' => Field::Century,
            b'm' => Field::Month,
            b'd' => Field::Day,
            b'e' => Field::DaySpaced,
            b'H' => Field::Hour,
            b'k' => Field::HourSpaced,
            b'I' => Field::Hour12,
            b'l' => Field::Hour12Spaced,
            b'M' => Field::Minute,
            b'S' => Field::Second,
            b'j' => Field::DayOfYear,
            b'A' => Field::Weekday,
            b'a' => Field::WeekdayShort,
            b'u' => Field::WeekdayFrom1,
            b'w' => Field::WeekdayFrom0,
            b'B' => Field::MonthName,
            b'b' | b'h' => Field::MonthShort,
            b'p' => Field::MeridiemUpper,
            b'P' => Field::MeridiemLower,
            b'U' => Field::WeekFromSunday,
            b'W' => Field::WeekFromMonday,
            b'V' => Field::IsoWeek,
            b'G' => Field::IsoYear,
            b'g' => Field::IsoYearOfCentury,
            _ => return self.add_composite(letter),
        };
        self.parts.push(Part::Field(field));
        true
    }

    fn add_composite(&mut self, letter: u8) -> bool {
        match letter {
            b'D' | b'x' => self.add("%m/%d/%y"),
            b'T' | b'X' => self.add("%H:%M:%S"),
            b'R' => self.add("%H:%M"),
            b'F' => self.add("%Y-%m-%d"),
            b'c' => self.add("%a %b %e %H:%M:%S %Y"),
            b'r' => self.add("%I:%M:%S %p"),
            b'z' => self.literal("+0000"),
            b'Z' => self.literal("UTC"),
            b't' => self.literal("\t"),
            b'n' => self.literal("\n"),
            b'%' => self.literal("%"),
            _ => return false,
        }
        true
    }

    fn literal(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(Part::Literal(last)) = self.parts.last_mut() {
            *last = format!("{last}{text}").into();
        } else {
            self.parts.push(Part::Literal(text.into()));
        }
    }
}

/// A date and time of day in the proleptic Gregorian calendar, UTC.
struct Civil {
    year: u64,
    /// 1..=12
    month: u64,
    /// 1..=31
    day: u64,
    /// 0 is the first of January.
    day_of_year: u64,
    /// 0 is Sunday.
    weekday: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Civil {
    fn from_unix(time: UnixTime) -> Civil {
        let (days, second_of_day) = (time.as_secs() / 86_400, time.as_secs() % 86_400);
        // Years are counted from the first of March of year 0, so that the leap day ends them.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_march_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_march_year + 2) / 153;
        let day = day_of_march_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let leap = (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
        let day_of_year =
            if month <= 2 { day_of_march_year - 306 } else { day_of_march_year + 59 + u64::from(leap) };
        Civil {
            year,
            month,
            day,
            day_of_year,
            weekday: (days + 4) % 7,
            hour: second_of_day / 3_600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
        }
    }

    fn hour12(&self) -> u64 {
        (self.hour + 11) % 12 + 1
    }

    /// The week-numbering year and week of ISO 8601.
    fn iso_week(&self) -> (u64, u64) {
        let weekday_from_monday = (self.weekday + 6) % 7;
        let week = (self.day_of_year + 10 - weekday_from_monday) / 7;
        if week == 0 {
            return (self.year - 1, weeks_in_iso_year(self.year - 1));
        }
        if week == 53 && weeks_in_iso_year(self.year) == 52 {
            return (self.year + 1, 1);
        }
        (self.year, week)
    }
}

fn weeks_in_iso_year(year: u64) -> u64 {
    let last_weekday = |year: u64| (year + year / 4 - year / 100 + year / 400) % 7;
    if last_weekday(year) == 4 || last_weekday(year - 1) == 3 { 53 } else { 52 }
}

fn write_field(field: Field, time: UnixTime, civil: &Civil, out: &mut Vec<u8>) {
    match field {
        Field::EpochSeconds => write_u64(time.as_secs(), out),
        Field::Year => write_u64(civil.year, out),
        Field::YearOfCentury => write_padded(civil.year % 100, 2, b'0', out),
        Field::Century => write_padded(civil.year / 100, 2, b'0', out),
        Field::Month => write_padded(civil.month, 2, b'0', out),
        Field::Day => write_padded(civil.day, 2, b'0', out),
        Field::DaySpaced => write_padded(civil.day, 2, b' ', out),
        Field::Hour => write_padded(civil.hour, 2, b'0', out),
        Field::HourSpaced => write_padded(civil.hour, 2, b' ', out),
        Field::Hour12 => write_padded(civil.hour12(), 2, b'0', out),
        Field::Hour12Spaced => write_padded(civil.hour12(), 2, b' ', out),
        Field::Minute => write_padded(civil.minute, 2, b'0', out),
        Field::Second => write_padded(civil.second, 2, b'0', out),
        Field::DayOfYear => write_padded(civil.day_of_year + 1, 3, b'0', out),
        Field::Weekday => out.extend_from_slice(WEEKDAYS[civil.weekday as usize].as_bytes()),
        Field::WeekdayShort => out.extend_from_slice(&WEEKDAYS[civil.weekday as usize].as_bytes()[..3]),
        Field::WeekdayFrom1 => write_u64(if civil.weekday == 0 { 7 } else { civil.weekday }, out),
        Field::WeekdayFrom0 => write_u64(civil.weekday, out),
        Field::MonthName => out.extend_from_slice(MONTHS[civil.month as usize - 1].as_bytes()),
        Field::MonthShort => out.extend_from_slice(&MONTHS[civil.month as usize - 1].as_bytes()[..3]),
        Field::MeridiemUpper => out.extend_from_slice(if civil.hour < 12 { b"AM" } else { b"PM" }),
        Field::MeridiemLower => out.extend_from_slice(if civil.hour < 12 { b"am" } else { b"pm" }),
        Field::WeekFromSunday => write_padded((civil.day_of_year + 7 - civil.weekday) / 7, 2, b'0', out),
        Field::WeekFromMonday => {
            write_padded((civil.day_of_year + 7 - (civil.weekday + 6) % 7) / 7, 2, b'0', out);
        }
        Field::IsoWeek => write_padded(civil.iso_week().1, 2, b'0', out),
        Field::IsoYear => write_u64(civil.iso_week().0, out),
        Field::IsoYearOfCentury => write_padded(civil.iso_week().0 % 100, 2, b'0', out),
    }
}

fn write_fraction(subsec_nanos: u32, digits: u8, out: &mut Vec<u8>) {
    let digits = u32::from(digits.min(9));
    write_padded(u64::from(subsec_nanos / 10_u32.pow(9 - digits)), digits as usize, b'0', out);
}

fn write_shortest_fraction(civil: &Civil, subsec_nanos: u32, with_seconds: bool, out: &mut Vec<u8>) {
    if with_seconds {
        write_padded(civil.second, 2, b'0', out);
        if subsec_nanos == 0 {
            return;
        }
        out.push(b'.');
    }
    if subsec_nanos == 0 {
        out.push(b'0');
        return;
    }
    write_fraction(subsec_nanos, 9, out);
    while out.last() == Some(&b'0') {
        out.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn print(pattern: &str, nanos: u64) -> String {
        let mut out = Vec::new();
        TimeFormat::compile(pattern).write(UnixTime::from_nanos(nanos), &mut out);
        String::from_utf8(out).expect("the patterns here are text")
    }

    /// Pattern and what Envoy 1.40 printed for 1795249608.586757000.
    #[test]
    fn specifiers_print_as_envoy_1_40_does() {
        let cases = [
            ("", "2026-11-21T08:26:48.586Z"),
            ("%s", "1795249608"),
            ("%3f %6f %9f %f %1f %8f", "586 586757 586757000 586757000 5 58675700"),
            ("%0f %Q %q %L %O %N %+ %v", "%0f %Q %q %L %O %N %+ %v"),
            ("%Y %y %C %m %d %e", "2026 26 20 11 21 21"),
            ("%H %I %M %S %k|%l|%p %P", "08 08 26 48  8| 8|AM am"),
            ("%j %a %A %b %B %h", "325 Sat Saturday Nov November Nov"),
            ("%D %T %R %F %x %X %r", "11/21/26 08:26:48 08:26 2026-11-21 11/21/26 08:26:48 08:26:48 AM"),
            ("%c", "Sat Nov 21 08:26:48 2026"),
            ("%u %w %U %W %V %G %g", "6 6 46 46 47 2026 26"),
            ("%z %Z %Ez %E*z %:z %::z", "+0000 UTC +00:00 +00:00:00 +00:00 +00:00:00"),
            ("%E4S %E3S %E*S %E0S", "48.5867 48.586 48.586757 48"),
            ("%E*f %E3f %E8f", "586757 586 58675700"),
            ("%E4Y %ET %Es %OS %Ey", "2026 T 1795249608 48 26"),
            ("%t|%%|%", "\t|%|%"),
        ];
        for (pattern, expected) in cases {
            assert_eq!(print(pattern, 1_795_249_608_586_757_000), expected, "pattern {pattern:?}");
        }
    }

    /// Days at the edges of years, checked against another calendar.
    #[test]
    fn week_numbers_agree_with_the_time_crate_over_forty_years() {
        for day in 0..40 * 366_u64 {
            let moment = time::OffsetDateTime::from_unix_timestamp(day as i64 * 86_400).expect("in range");
            let (iso_year, iso_week, _) = moment.to_iso_week_date();
            let expected = format!(
                "{} {:03} {iso_year} {iso_week:02} {:02} {:02}",
                moment.date(),
                moment.ordinal(),
                moment.sunday_based_week(),
                moment.monday_based_week()
            );
            assert_eq!(print("%F %j %G %V %U %W", day * 86_400_000_000_000), expected);
        }
    }

    proptest! {
        #[test]
        fn any_pattern_compiles_and_prints(pattern in "(%|E|[0-9]|\\*|[a-zA-Z]| |é){0,12}", seconds in 0..9_000_000_000_u64) {
            let mut out = Vec::new();
            TimeFormat::compile(&pattern).write(UnixTime::from_nanos(seconds * 1_000_000_000), &mut out);
        }
    }
}
