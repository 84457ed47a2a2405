//! Reads DER (ITU-T X.690): just enough for names, times and extensions of certificates.
//!
//! Never copies, never recurses, never reads past its input; anything but definite lengths and one-byte
//! tags is an error. Whether a certificate is to be trusted is not decided with it: webpki does that.

/// Not DER, or not the element that must stand here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed DER")]
pub struct DerError;

/// Tags that occur in certificates.
pub mod tag {
    /// `BOOLEAN`
    pub const BOOLEAN: u8 = 0x01;
    /// `INTEGER`
    pub const INTEGER: u8 = 0x02;
    /// `BIT STRING`
    pub const BIT_STRING: u8 = 0x03;
    /// `OCTET STRING`
    pub const OCTET_STRING: u8 = 0x04;
    /// `OBJECT IDENTIFIER`
    pub const OID: u8 = 0x06;
    /// `ENUMERATED`
    pub const ENUMERATED: u8 = 0x0a;
    /// `UTF8String`
    pub const UTF8_STRING: u8 = 0x0c;
    /// `NumericString`
    pub const NUMERIC_STRING: u8 = 0x12;
    /// `PrintableString`
    pub const PRINTABLE_STRING: u8 = 0x13;
    /// `TeletexString`
    pub const TELETEX_STRING: u8 = 0x14;
    /// `IA5String`
    pub const IA5_STRING: u8 = 0x16;
    /// `UTCTime`
    pub const UTC_TIME: u8 = 0x17;
    /// `GeneralizedTime`
    pub const GENERALIZED_TIME: u8 = 0x18;
    /// `VisibleString`
    pub const VISIBLE_STRING: u8 = 0x1a;
    /// `UniversalString`
    pub const UNIVERSAL_STRING: u8 = 0x1c;
    /// `BMPString`
    pub const BMP_STRING: u8 = 0x1e;
    /// `SEQUENCE`
    pub const SEQUENCE: u8 = 0x30;
    /// `SET`
    pub const SET: u8 = 0x31;

    /// `[number]`, holding other elements.
    pub const fn constructed(number: u8) -> u8 {
        0xa0 | number
    }

    /// `[number]`, holding plain bytes.
    pub const fn primitive(number: u8) -> u8 {
        0x80 | number
    }
}

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// Its tag, with class and constructed bit.
    pub tag: u8,
    /// What it holds.
    pub content: &'a [u8],
    /// Tag, length and content.
    pub whole: &'a [u8],
}

/// Elements one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element.
    ///
    /// # Errors
    /// If there is none, or it is not DER.
    pub fn element(&mut self) -> Result<Element<'a>, DerError> {
        let (&tag, after_tag) = self.rest.split_first().ok_or(DerError)?;
        // Tag numbers above 30 take more bytes; nothing that is read here has one.
        if tag & 0x1f == 0x1f {
            return Err(DerError);
        }
        let (content_len, after_len) = length(after_tag)?;
        let content = after_len.get(..content_len).ok_or(DerError)?;
        let whole_len = self.rest.len() - after_len.len() + content_len;
        let (whole, rest) = self.rest.split_at(whole_len);
        self.rest = rest;
        Ok(Element { tag, content, whole })
    }

    /// The content of the next element, which must have this tag.
    ///
    /// # Errors
    /// If it has another one, there is none, or it is not DER.
    pub fn expect(&mut self, tag: u8) -> Result<&'a [u8], DerError> {
        let element = self.element()?;
        if element.tag == tag { Ok(element.content) } else { Err(DerError) }
    }

    /// The content of the next element if it has this tag; else nothing is read.
    ///
    /// # Errors
    /// If it has this tag and is not DER.
    pub fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, DerError> {
        if self.rest.first() == Some(&tag) { self.expect(tag).map(Some) } else { Ok(None) }
    }
}

/// A time in seconds since the Unix epoch (0 for times before it).
///
/// # Errors
/// If it is neither a `UTCTime` nor a `GeneralizedTime` in the form that RFC 5280 4.1.2.5 asks for.
pub fn unix_seconds(element: Element<'_>) -> Result<u64, DerError> {
    let (year, rest) = match element.tag {
        tag::UTC_TIME => {
            let year = two_digits(element.content, 0)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, element.content.get(2..))
        }
        tag::GENERALIZED_TIME => {
            let year = two_digits(element.content, 0)? * 100 + two_digits(element.content, 2)?;
            (year, element.content.get(4..))
        }
        _ => return Err(DerError),
    };
    let rest = rest.ok_or(DerError)?;
    if rest.len() != 11 || rest[10] != b'Z' {
        return Err(DerError);
    }
    let field = |at: usize, allowed: std::ops::RangeInclusive<i64>| {
        two_digits(rest, at)
            .and_then(|value| if allowed.contains(&value) { Ok(value) } else { Err(DerError) })
    };
    let days = days_from_civil(year, field(0, 1..=12)?, field(2, 1..=31)?);
    let seconds = field(4, 0..=23)? * 3600 + field(6, 0..=59)? * 60 + field(8, 0..=60)?;
    Ok(u64::try_from(days * 86_400 + seconds).unwrap_or(0))
}

/// An object identifier as text: `2.5.4.3`.
pub fn oid_text(oid: &[u8]) -> String {
    let mut text = String::new();
    let mut arc: u64 = 0;
    for &byte in oid {
        arc = (arc << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if text.is_empty() {
            let first = (arc / 40).min(2);
            text = format!("{first}.{}", arc - first * 40);
        } else {
            text.push_str(&format!(".{arc}"));
        }
        arc = 0;
    }
    text
}

/// Length and what follows it.
fn length(bytes: &[u8]) -> Result<(usize, &[u8]), DerError> {
    let (&first, rest) = bytes.split_first().ok_or(DerError)?;
    if first < 0x80 {
        return Ok((usize::from(first), rest));
    }
    let count = usize::from(first & 0x7f);
    if !(1..=4).contains(&count) || rest.len() < count {
        return Err(DerError);
    }
    let (digits, rest) = rest.split_at(count);
    let len = digits.iter().fold(0_usize, |len, &byte| (len << 8) | usize::from(byte));
    // DER wants the shortest form.
    if len < 0x80 || digits[0] == 0 { Err(DerError) } else { Ok((len, rest)) }
}

fn two_digits(bytes: &[u8], at: usize) -> Result<i64, DerError> {
    match bytes.get(at..at + 2) {
        Some(&[tens @ b'0'..=b'9', ones @ b'0'..=b'9']) => {
            Ok(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
        }
        _ => Err(DerError),
    }
}

/// Days from the Unix epoch to a date of the proleptic Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is the last one.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(tag: u8, text: &str) -> Result<u64, DerError> {
        unix_seconds(Element { tag, content: text.as_bytes(), whole: &[] })
    }

    #[test]
    fn elements_follow_each_other() {
        let mut reader = Reader::new(&[0x02, 1, 5, 0x30, 3, 0x04, 1, 9, 0x05, 0]);
        assert_eq!(reader.expect(tag::INTEGER), Ok(&[5][..]));
        assert_eq!(reader.optional(tag::INTEGER), Ok(None));
        let sequence = reader.element().expect("an element");
        assert_eq!((sequence.tag, sequence.whole.len()), (tag::SEQUENCE, 5));
        assert_eq!(Reader::new(sequence.content).expect(tag::OCTET_STRING), Ok(&[9][..]));
        assert_eq!(reader.expect(tag::OID), Err(DerError));
        assert!(reader.is_empty());
    }

    #[test]
    fn lengths_are_the_shortest_and_within_the_input() {
        let long: Vec<u8> = [0x04, 0x81, 0x80].into_iter().chain([7; 0x80]).collect();
        assert_eq!(Reader::new(&long).expect(tag::OCTET_STRING).map(<[u8]>::len), Ok(0x80));
        for bad in [
            &[0x04][..],
            &[0x04, 2, 1],
            &[0x04, 0x80, 0, 0],
            &[0x04, 0x81, 1, 7],
            &[0x04, 0x82, 0, 0x80],
            &[0x04, 0x85, 1, 1, 1, 1, 1],
            &[0x1f, 0x81, 0x01, 0],
        ] {
            assert_eq!(Reader::new(bad).element(), Err(DerError), "{bad:02x?}");
        }
    }

    #[test]
    fn times_are_seconds_since_the_epoch() {
        assert_eq!(time(tag::UTC_TIME, "700101000000Z"), Ok(0));
        assert_eq!(time(tag::UTC_TIME, "491231235959Z"), Ok(2_524_607_999));
        assert_eq!(time(tag::UTC_TIME, "500101000000Z"), Ok(0), "1950");
        assert_eq!(time(tag::GENERALIZED_TIME, "20240229120000Z"), Ok(1_709_208_000));
        assert_eq!(time(tag::GENERALIZED_TIME, "99991231235959Z"), Ok(253_402_300_799));
        for bad in ["20240229120000", "2024022912000Z", "20241329120000Z", "2024022912000xZ", ""] {
            assert_eq!(time(tag::GENERALIZED_TIME, bad), Err(DerError), "{bad}");
        }
        assert_eq!(time(tag::INTEGER, "700101000000Z"), Err(DerError));
    }

    #[test]
    fn identifiers_read_as_numbers() {
        assert_eq!(oid_text(&[0x55, 4, 3]), "2.5.4.3");
        assert_eq!(oid_text(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1]), "1.2.840.113549.1.9.1");
        assert_eq!(oid_text(&[0x88, 0x37]), "2.999");
        assert_eq!(oid_text(&[]), "");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Reader::new(&bytes);
            let mut total = 0;
            while let Ok(element) = reader.element() {
                total += element.whole.len();
                let _ = (unix_seconds(element), oid_text(element.content));
            }
            prop_assert!(total <= bytes.len());
        }
    }
}
