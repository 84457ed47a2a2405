//! Distinguished names as text (RFC 2253), as Envoy prints subjects and issuers: last component first,
//! short names for the usual attributes, anything beyond printable ASCII escaped.

use std::fmt::Write;

use super::der::{DerError, Element, Reader, oid_text, tag};

/// The name in `content` (of a `Name` element) as text: `CN=a,O=b,C=c`.
///
/// # Errors
/// If it is not DER.
pub fn to_rfc2253(content: &[u8]) -> Result<String, DerError> {
    let mut components = Vec::new();
    let mut reader = Reader::new(content);
    while !reader.is_empty() {
        components.push(component(reader.expect(tag::SET)?)?);
    }
    components.reverse();
    Ok(components.join(","))
}

/// The value of the last attribute with identifier `oid`, as UTF-8.
///
/// # Errors
/// If the name is not DER.
pub fn last_attribute(content: &[u8], oid: &[u8]) -> Result<Option<String>, DerError> {
    let mut found = None;
    let mut reader = Reader::new(content);
    while !reader.is_empty() {
        let mut set = Reader::new(reader.expect(tag::SET)?);
        while !set.is_empty() {
            let (own, value) = attribute(set.expect(tag::SEQUENCE)?)?;
            if own == oid {
                found = string_value(value).or(found);
            }
        }
    }
    Ok(found)
}

/// The text of a string element; none if it is of another type or not valid in its encoding.
pub fn string_value(value: Element<'_>) -> Option<String> {
    let content = value.content;
    match value.tag {
        tag::UTF8_STRING
        | tag::PRINTABLE_STRING
        | tag::IA5_STRING
        | tag::NUMERIC_STRING
        | tag::VISIBLE_STRING => String::from_utf8(content.to_vec()).ok(),
        // In practice it holds Latin-1, which is also what BoringSSL takes it for.
        tag::TELETEX_STRING => Some(content.iter().map(|&byte| char::from(byte)).collect()),
        tag::BMP_STRING => from_code_points(content.chunks(2)),
        tag::UNIVERSAL_STRING => from_code_points(content.chunks(4)),
        _ => None,
    }
}

fn from_code_points<'a>(units: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    units
        .map(|unit| char::from_u32(unit.iter().fold(0, |point, &byte| (point << 8) | u32::from(byte))))
        .collect()
}

/// One relative distinguished name; several attributes are joined by `+`.
fn component(set: &[u8]) -> Result<String, DerError> {
    let mut attributes = Vec::new();
    let mut reader = Reader::new(set);
    while !reader.is_empty() {
        let (oid, value) = attribute(reader.expect(tag::SEQUENCE)?)?;
        let mut text = String::new();
        match (short_name(oid), string_value(value)) {
            (Some(name), Some(value)) => {
                text.push_str(name);
                text.push('=');
                escape(&value, &mut text);
            }
            (name, _) => {
                text.push_str(&name.map_or_else(|| oid_text(oid), str::to_owned));
                text.push_str("=#");
                value.whole.iter().for_each(|byte| text.push_str(&format!("{byte:02X}")));
            }
        }
        attributes.push(text);
    }
    attributes.reverse();
    Ok(attributes.join("+"))
}

fn attribute(sequence: &[u8]) -> Result<(&[u8], Element<'_>), DerError> {
    let mut reader = Reader::new(sequence);
    Ok((reader.expect(tag::OID)?, reader.element()?))
}

/// The escapes of RFC 2253 2.4, and `\XX` for every byte that is not printable ASCII.
fn escape(value: &str, out: &mut String) {
    for (at, character) in value.char_indices() {
        let is_first = at == 0;
        let is_last = at + character.len_utf8() == value.len();
        match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => {
                out.push('\\');
                out.push(character);
            }
            '#' if is_first => out.push_str("\\#"),
            ' ' if is_first || is_last => out.push_str("\\ "),
            ' '..='~' => out.push(character),
            _ => {
                let mut bytes = [0; 4];
                for byte in character.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(out, "\\{byte:02X}");
                }
            }
        }
    }
}

/// The name that BoringSSL prints for an attribute.
fn short_name(oid: &[u8]) -> Option<&'static str> {
    Some(match oid {
        [0x55, 4, 3] => "CN",
        [0x55, 4, 4] => "SN",
        [0x55, 4, 5] => "serialNumber",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 9] => "street",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x55, 4, 12] => "title",
        [0x55, 4, 13] => "description",
        [0x55, 4, 17] => "postalCode",
        [0x55, 4, 41] => "name",
        [0x55, 4, 42] => "GN",
        [0x55, 4, 43] => "initials",
        [0x55, 4, 44] => "generationQualifier",
        [0x55, 4, 46] => "dnQualifier",
        [0x55, 4, 65] => "pseudonym",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1] => "emailAddress",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag, content.len() as u8];
        out.extend_from_slice(content);
        out
    }

    fn attribute_of(oid: &[u8], value_tag: u8, value: &[u8]) -> Vec<u8> {
        element(tag::SEQUENCE, &[element(tag::OID, oid), element(value_tag, value)].concat())
    }

    fn text(components: &[Vec<Vec<u8>>]) -> String {
        let name: Vec<u8> = components.iter().flat_map(|set| element(tag::SET, &set.concat())).collect();
        to_rfc2253(&name).expect("a name")
    }

    /// The expected texts are what `openssl x509 -noout -subject -nameopt RFC2253` prints.
    #[test]
    fn names_read_from_the_last_component_to_the_first() {
        let c = vec![attribute_of(&[0x55, 4, 6], tag::PRINTABLE_STRING, b"DE")];
        let o = vec![attribute_of(&[0x55, 4, 10], tag::UTF8_STRING, "Müller, Söhne & Co".as_bytes())];
        let both = vec![
            attribute_of(&[0x55, 4, 11], tag::UTF8_STRING, b"Sales"),
            attribute_of(&[0x55, 4, 3], tag::UTF8_STRING, b" #a;b "),
        ];
        assert_eq!(text(&[c, o, both]), "CN=\\ #a\\;b\\ +OU=Sales,O=M\\C3\\BCller\\, S\\C3\\B6hne & Co,C=DE");
        assert_eq!(text(&[]), "");
    }

    #[test]
    fn unknown_attributes_and_values_are_dumped() {
        let unknown = vec![attribute_of(&[0x2a, 3, 4], tag::UTF8_STRING, b"x")];
        assert_eq!(text(&[unknown]), "1.2.3.4=#0C0178");
        let number = vec![attribute_of(&[0x55, 4, 3], tag::INTEGER, &[5])];
        assert_eq!(text(&[number]), "CN=#020105");
    }

    #[test]
    fn every_string_type_becomes_utf8() {
        let of = |tag, content: &[u8]| string_value(Element { tag, content, whole: &[] });
        assert_eq!(of(tag::BMP_STRING, &[0, 0x41, 0x20, 0xac]).as_deref(), Some("A€"));
        assert_eq!(of(tag::UNIVERSAL_STRING, &[0, 1, 0xf6, 0]).as_deref(), Some("😀"));
        assert_eq!(of(tag::TELETEX_STRING, &[0xfc]).as_deref(), Some("ü"));
        assert_eq!(of(tag::UTF8_STRING, &[0xff]), None);
        assert_eq!(of(tag::BMP_STRING, &[0xd8, 0]), None);
        assert_eq!(of(tag::BOOLEAN, &[1]), None);
    }

    #[test]
    fn the_last_attribute_counts() {
        let cn = |value: &[u8]| element(tag::SET, &attribute_of(&[0x55, 4, 3], tag::UTF8_STRING, value));
        let name = [cn(b"one"), cn(b"two")].concat();
        assert_eq!(last_attribute(&name, &[0x55, 4, 3]), Ok(Some("two".to_owned())));
        assert_eq!(last_attribute(&name, &[0x55, 4, 10]), Ok(None));
        assert_eq!(last_attribute(&[1, 2, 3], &[0x55, 4, 10]), Err(DerError));
    }
}
