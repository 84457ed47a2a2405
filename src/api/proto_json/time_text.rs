//! `google.protobuf.Duration` and `Timestamp` in their JSON forms (`1.5s`, RFC 3339), both ways.

/// Bound of a duration in seconds, either sign: about 10,000 years.
pub const MAX_DURATION_SECONDS: i64 = 315_576_000_000;
const NANOS_PER_SECOND: i32 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// `1.5s` → seconds and nanoseconds, both of the same sign.
pub fn parse_duration(text: &str) -> Option<(i64, i32)> {
    let number = text.strip_suffix('s')?;
    let (negative, number) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(w, f)| (w, Some(f)));
    let seconds = digits(whole)?;
    let nanos = fraction.map_or(Some(0), parse_nanos)?;
    if seconds > MAX_DURATION_SECONDS || (seconds == MAX_DURATION_SECONDS && nanos > 0) {
        return None;
    }
    Some(if negative { (-seconds, -nanos) } else { (seconds, nanos) })
}

/// Seconds and nanoseconds → `1.500s`, with 0, 3, 6 or 9 decimals as protobuf prints it.
pub fn format_duration(seconds: i64, nanos: i32) -> String {
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    format!("{sign}{}{}s", seconds.unsigned_abs(), format_nanos(nanos.unsigned_abs()))
}

/// RFC 3339 text → seconds since 1970 and nanoseconds.
pub fn parse_timestamp(text: &str) -> Option<(i64, i32)> {
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let time = rest.strip_prefix(['T', 't'])?;
    let (year, month, day) = (digits(date.get(..4)?)?, digits(date.get(5..7)?)?, digits(date.get(8..)?)?);
    let (hour, minute, second) =
        (digits(time.get(..2)?)?, digits(time.get(3..5)?)?, digits(time.get(6..8)?)?);
    let separators = [&date[4..5], &date[7..8], time.get(2..3)?, time.get(5..6)?];
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && year > 0;
    if separators != ["-", "-", ":", ":"] || !in_range {
        return None;
    }
    let zone_at = time[8..].find(['Z', 'z', '+', '-'])? + 8;
    let nanos = match &time[8..zone_at] {
        "" => 0,
        fraction => parse_nanos(fraction.strip_prefix('.')?)?,
    };
    let seconds = days_since_1970(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    Some((seconds - zone_offset_seconds(&time[zone_at..])?, nanos))
}

/// Seconds since 1970 → RFC 3339 in UTC.
pub fn format_timestamp(seconds: i64, nanos: i32) -> String {
    let (days, of_day) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
    let (year, month, day) = date_of(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let fraction = format_nanos(nanos.unsigned_abs());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

fn digits(text: &str) -> Option<i64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn parse_nanos(fraction: &str) -> Option<i32> {
    let scale = 9_u32.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    i32::try_from(digits(fraction)? * 10_i64.pow(scale)).ok()
}

fn format_nanos(nanos: u32) -> String {
    match nanos {
        0 => String::new(),
        n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => format!(".{:06}", n / 1_000),
        n => format!(".{:09}", n % NANOS_PER_SECOND.unsigned_abs()),
    }
}

fn zone_offset_seconds(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    Some(sign * (digits(hours)? * 3600 + digits(minutes)? * 60))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days before the first of January of `year`, counted from year 1.
fn days_before_year(year: i64) -> i64 {
    let past = year - 1;
    past * 365 + past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400)
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let months: i64 = (1..month).map(|m| days_in_month(year, m)).sum();
    days_before_year(year) - days_before_year(1970) + months + day - 1
}

fn date_of(days_since_1970: i64) -> (i64, i64, i64) {
    let days = days_since_1970 + days_before_year(1970);
    // A guess that is at most one year off.
    let mut year = days.div_euclid(366).max(0) + 1;
    year += (days - days_before_year(year)) / 366;
    while days_before_year(year + 1) <= days {
        year += 1;
    }
    let mut rest = days - days_before_year(year);
    let mut month = 1;
    while month < 12 && rest >= days_in_month(year, month) {
        rest -= days_in_month(year, month);
        month += 1;
    }
    (year, month, rest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_envoy_takes_them() {
        for (text, value) in [
            ("1s", (1, 0)),
            ("0.5s", (0, 500_000_000)),
            ("-1.25s", (-1, -250_000_000)),
            ("1.000000001s", (1, 1)),
            ("-0.5s", (0, -500_000_000)),
            ("315576000000s", (MAX_DURATION_SECONDS, 0)),
        ] {
            assert_eq!(parse_duration(text), Some(value), "{text}");
        }
        for text in [
            "",
            "s",
            "1",
            "1ms",
            ".5s",
            "5.s",
            "+5s",
            "1.0123456789s",
            " 1s",
            "315576000001s",
            "1e3s",
            "--1s",
            "99999999999999999999s",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_printed_with_3_6_or_9_decimals() {
        assert_eq!(format_duration(3, 0), "3s");
        assert_eq!(format_duration(1, 500_000_000), "1.500s");
        assert_eq!(format_duration(0, -1_000), "-0.000001s");
        assert_eq!(format_duration(0, 1), "0.000000001s");
    }

    #[test]
    fn timestamps_of_rfc_3339() {
        for (text, value) in [
            ("1970-01-01T00:00:00Z", (0, 0)),
            ("2024-02-29T12:34:56.789Z", (1_709_210_096, 789_000_000)),
            ("2024-02-29T13:34:56+01:00", (1_709_210_096, 0)),
            ("1969-12-31T23:59:59Z", (-1, 0)),
            ("0001-01-01T00:00:00Z", (-62_135_596_800, 0)),
            ("9999-12-31T23:59:59Z", (253_402_300_799, 0)),
        ] {
            assert_eq!(parse_timestamp(text), Some(value), "{text}");
        }
        for text in [
            "",
            "2024-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-01-01 00:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T24:00:00Z",
            "2024-1-01T00:00:00Z",
            "2024-01-01T00:00:00.Zé",
            "éééééééééééé",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn timestamps_come_back(seconds in -62_135_596_800_i64..253_402_300_800, nanos in 0_i32..1_000_000_000) {
            let text = format_timestamp(seconds, nanos);
            proptest::prop_assert_eq!(parse_timestamp(&text), Some((seconds, nanos)), "{}", text);
        }

        #[test]
        fn durations_come_back(seconds in 0_i64..MAX_DURATION_SECONDS, nanos in 0_i32..1_000_000_000, negative: bool) {
            let (seconds, nanos) = if negative { (-seconds, -nanos) } else { (seconds, nanos) };
            proptest::prop_assert_eq!(parse_duration(&format_duration(seconds, nanos)), Some((seconds, nanos)));
        }
    }
}
