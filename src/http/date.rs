//! The `date` header: IMF-fixdate (RFC 9110 section 5.6.7), formatted at most once a second. Reads no clock.

use std::cell::Cell;

use crate::base::clock::UnixTime;

/// Bytes of an IMF-fixdate.
pub const DATE_BYTES: usize = 29;

/// The last formatted second. Each worker has one.
#[derive(Debug)]
pub struct DateCache {
    second: Cell<u64>,
    text: Cell<[u8; DATE_BYTES]>,
}

impl Default for DateCache {
    fn default() -> DateCache {
        DateCache::new()
    }
}

impl DateCache {
    /// Nothing formatted yet.
    pub const fn new() -> DateCache {
        DateCache { second: Cell::new(u64::MAX), text: Cell::new([b' '; DATE_BYTES]) }
    }

    /// `now` as `Sun, 06 Nov 1994 08:49:37 GMT`.
    #[inline]
    pub fn format(&self, now: UnixTime) -> [u8; DATE_BYTES] {
        if self.second.get() != now.as_secs() {
            self.second.set(now.as_secs());
            self.text.set(format_imf_fixdate(now));
        }
        self.text.get()
    }
}

/// `time` as `Sun, 06 Nov 1994 08:49:37 GMT`. Years after 9999 are written modulo 10000.
pub fn format_imf_fixdate(time: UnixTime) -> [u8; DATE_BYTES] {
    const WEEKDAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
    const MONTHS: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let days = time.as_secs() / 86_400;
    let second_of_day = time.as_secs() % 86_400;
    let (year, month, day) = civil_from_days(days);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[..3].copy_from_slice(WEEKDAYS[(days % 7) as usize]);
    text[5..7].copy_from_slice(&two_digits(day));
    text[8..11].copy_from_slice(MONTHS[month as usize]);
    text[12..14].copy_from_slice(&two_digits(year / 100 % 100));
    text[14..16].copy_from_slice(&two_digits(year % 100));
    text[17..19].copy_from_slice(&two_digits(second_of_day / 3600));
    text[20..22].copy_from_slice(&two_digits(second_of_day / 60 % 60));
    text[23..25].copy_from_slice(&two_digits(second_of_day % 60));
    text
}

fn two_digits(number: u64) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

/// Year, month (0 is January) and day of the month of a day counted from 1970-01-01.
///
/// Counts in eras of 400 years that begin on the first of March, so that leap days are last in their year.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_EPOCH: u64 = 719_468;
    const DAYS_PER_ERA: u64 = 146_097;
    let days = days + DAYS_TO_EPOCH;
    let era = days / DAYS_PER_ERA;
    let day_of_era = days % DAYS_PER_ERA;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = year_of_era + era * 400 + u64::from(month < 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> String {
        let time = UnixTime::from_nanos(second * 1_000_000_000);
        String::from_utf8_lossy(&format_imf_fixdate(time)).into_owned()
    }

    #[test]
    fn known_dates() {
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(at(1_709_251_199), "Thu, 29 Feb 2024 23:59:59 GMT");
        assert_eq!(at(4_102_444_800), "Fri, 01 Jan 2100 00:00:00 GMT");
    }

    #[test]
    fn every_day_of_two_centuries_agrees_with_the_time_crate() {
        for day in 0..73_000i64 {
            let expected = time::OffsetDateTime::from_unix_timestamp(day * 86_400).expect("in range");
            let text = at(day as u64 * 86_400);
            assert_eq!(text[5..7].parse(), Ok(expected.day()));
            assert_eq!(&text[8..11], &expected.month().to_string()[..3]);
            assert_eq!(text[12..16].parse(), Ok(expected.year()));
            assert_eq!(&text[..3], &expected.weekday().to_string()[..3]);
        }
    }

    #[test]
    fn the_cache_follows_the_clock() {
        let cache = DateCache::new();
        for nanos in [0, 999_999_999, 1_000_000_000, 5_000_000_000] {
            let now = UnixTime::from_nanos(nanos);
            assert_eq!(cache.format(now), format_imf_fixdate(now));
        }
    }
}
