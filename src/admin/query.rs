//! The query string of an admin request.

/// Parameters in order, percent-decoded. A parameter without `=` has an empty value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) pairs: Vec<(String, String)>,
}

impl Query {
    pub(super) fn parse(text: &str) -> Query {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Query { pairs: decoded.collect() }
    }

    /// The first value under a name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The first value under a name, unless it is empty.
    pub(super) fn get_set(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Whether there is such a parameter, whatever its value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// `%41` becomes `A`; what is no escape stays, and what is no UTF-8 is replaced. A `+` is a plus:
/// regular expressions are passed here.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?;
            u8::from_str_radix(digits, 16).ok()
        });
        match escaped {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_split_and_decoded() {
        let query = Query::parse("a=1&&flag&re=%5Ex.+y%2&a=2&bad=%+1%zz&=v");
        assert_eq!(query.get("a"), Some("1"));
        assert_eq!((query.has("flag"), query.get_set("flag")), (true, None));
        assert_eq!(query.get("re"), Some("^x.+y%2"));
        assert_eq!(query.get("bad"), Some("%+1%zz"));
        assert_eq!(Query::parse(""), Query::default());
        assert_eq!(Query::parse("x=%ff").get("x"), Some("\u{fffd}"));
    }
}
