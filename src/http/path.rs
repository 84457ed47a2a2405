//! Request paths: normalisation (RFC 3986 section 6.2.2 and 5.2.4, with Envoy's choices), slashes, query parameters.
//!
//! There is one canonical form, made once, which router, access control and logs all read. Making it twice changes
//! nothing: no escape and no dot segment appears in a result that was not resolved.

/// What to do with `%2F` and `%5C` in a path. Envoy's `path_with_escaped_slashes_action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EscapedSlashes {
    /// Leave them.
    #[default]
    KeepUnchanged,
    /// Answer 400.
    RejectRequest,
    /// Redirect (307) to the path with slashes in their place.
    UnescapeAndRedirect,
    /// Go on with slashes in their place.
    UnescapeAndForward,
}

/// What a connection manager does with paths. The default changes nothing, as Envoy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathOptions {
    /// Resolve dot segments and bring escapes into one form: `normalize_path`.
    pub normalize: bool,
    /// Make `//` one slash: `merge_slashes`.
    pub merge_slashes: bool,
    /// See [`EscapedSlashes`].
    pub escaped_slashes: EscapedSlashes,
}

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathOutcome {
    /// It is canonical already; nothing was written.
    Unchanged,
    /// The canonical path and the query were written.
    Changed,
    /// They were written, and the client is to be redirected there with 307.
    Redirect,
    /// Answer 400 with details `path_normalization_failed`.
    Reject,
}

/// Splits a path at the first `?`.
#[inline]
pub fn split_query(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', path) {
        Some(mark) => (&path[..mark], Some(&path[mark + 1..])),
        None => (path, None),
    }
}

/// Brings `path` (which may have a query; that stays as it is) into canonical form. `out` is replaced
/// when the outcome says that something was written; otherwise its content is undefined.
///
/// A path that does not begin with a slash (`*`) stays as it is.
pub fn canonicalize(path: &[u8], options: PathOptions, out: &mut Vec<u8>) -> PathOutcome {
    let (plain, query) = split_query(path);
    if !plain.starts_with(b"/") || is_canonical(plain, options) {
        return PathOutcome::Unchanged;
    }
    out.clear();
    let mut has_escaped_slash = false;
    if options.escaped_slashes == EscapedSlashes::KeepUnchanged {
        out.extend_from_slice(plain);
    } else {
        has_escaped_slash = unescape_slashes(plain, out);
        if has_escaped_slash && options.escaped_slashes == EscapedSlashes::RejectRequest {
            return PathOutcome::Reject;
        }
    }
    if options.normalize {
        let Some(escaped) = normalize_escapes(out) else { return PathOutcome::Reject };
        out.clear();
        remove_dot_segments(&escaped, out);
    }
    if options.merge_slashes {
        let mut last = 0;
        out.retain(|&byte| {
            let keeps = byte != b'/' || last != b'/';
            last = byte;
            keeps
        });
    }
    let is_same = out == plain;
    if let Some(query) = query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    match options.escaped_slashes {
        EscapedSlashes::UnescapeAndRedirect if has_escaped_slash => PathOutcome::Redirect,
        _ if is_same => PathOutcome::Unchanged,
        _ => PathOutcome::Changed,
    }
}

/// The parameters of a query, in order, as they stand there: `a=1&b` gives (`a`, `1`) and (`b`, ``).
pub fn query_parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|&byte| byte == b'&').filter(|part| !part.is_empty()).map(|part| {
        match memchr::memchr(b'=', part) {
            Some(mark) => (&part[..mark], &part[mark + 1..]),
            None => (part, &[][..]),
        }
    })
}

/// Replaces every valid escape in `text` by its byte, appending to `out`; others stay.
pub fn percent_decode(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        match escape_at(rest) {
            Some(byte) => {
                out.push(byte);
                rest = &rest[3..];
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
}

/// Whether nothing in `path` could change: a quick look that may say no too often.
fn is_canonical(path: &[u8], options: PathOptions) -> bool {
    let looks_at_escapes = options.escaped_slashes != EscapedSlashes::KeepUnchanged;
    if !options.normalize && !options.merge_slashes && !looks_at_escapes {
        return true;
    }
    let mut last = 0;
    path.iter().all(|&byte| {
        let is_suspicious = match byte {
            b'%' => options.normalize || looks_at_escapes,
            b'.' => last == b'/' && options.normalize,
            b'/' => last == b'/' && options.merge_slashes,
            _ => options.normalize && (byte == b'\\' || must_escape(byte)),
        };
        last = byte;
        !is_suspicious
    })
}

/// The byte that the escape at the front of `text` stands for.
fn escape_at(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = *text else { return None };
    let digit = |byte: u8| (byte as char).to_digit(16);
    Some((digit(high)? << 4 | digit(low)?) as u8)
}

/// Copies `path` with slashes and backslashes in place of their escapes. Whether there were any.
fn unescape_slashes(path: &[u8], out: &mut Vec<u8>) -> bool {
    let mut found = false;
    let mut rest = path;
    while let Some((&first, tail)) = rest.split_first() {
        if let Some(byte @ (b'/' | b'\\')) = escape_at(rest) {
            out.push(byte);
            found = true;
            rest = &rest[3..];
        } else {
            out.push(first);
            rest = tail;
        }
    }
    found
}

/// Makes unreserved characters literal, and escapes what may not stand in a path; backslashes become slashes.
/// Nothing if the path has an escaped NUL.
fn normalize_escapes(path: &[u8]) -> Option<Vec<u8>> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(path.len() + 8);
    let mut rest = path;
    while let Some((&first, tail)) = rest.split_first() {
        match escape_at(rest) {
            Some(0) => return None,
            Some(byte) if is_unreserved(byte) => {
                disarm_percent(&mut out, byte);
                out.push(byte);
                rest = &rest[3..];
            }
            Some(_) => {
                out.extend_from_slice(&rest[..3]);
                rest = &rest[3..];
            }
            None => {
                match first {
                    b'\\' => out.push(b'/'),
                    byte if must_escape(byte) => {
                        out.extend_from_slice(&[
                            b'%',
                            HEX[usize::from(byte >> 4)],
                            HEX[usize::from(byte & 15)],
                        ]);
                    }
                    byte => out.push(byte),
                }
                rest = tail;
            }
        }
    }
    Some(out)
}

/// If `out` ends in a percent sign that was no escape but would be one with `byte` behind it (`%%34%31`), escapes the sign.
fn disarm_percent(out: &mut Vec<u8>, byte: u8) {
    let sign = match out[..] {
        [.., b'%'] => out.len() - 1,
        [.., b'%', digit] if digit.is_ascii_hexdigit() => out.len() - 2,
        _ => return,
    };
    if byte.is_ascii_hexdigit() {
        out.splice(sign + 1..sign + 1, *b"25");
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What no path may hold literally, for Envoy: controls, space, everything above ASCII, and ``"<>^`{|}``.
fn must_escape(byte: u8) -> bool {
    byte <= b' ' || byte >= 0x7f || matches!(byte, b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}')
}

/// RFC 3986 section 5.2.4; a dot segment may have parameters (`..;x`), which go with it, since some origins read it so.
fn remove_dot_segments(path: &[u8], out: &mut Vec<u8>) {
    let mut segments = path.split(|&byte| byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        let name = memchr::memchr(b';', segment).map_or(segment, |mark| &segment[..mark]);
        match name {
            b"." => {}
            b".." => out.truncate(memchr::memrchr(b'/', out).unwrap_or(0)),
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
                continue;
            }
        }
        if is_last {
            out.push(b'/');
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NORMALIZE: PathOptions =
        PathOptions { normalize: true, merge_slashes: false, escaped_slashes: EscapedSlashes::KeepUnchanged };

    fn canonical(path: &str, options: PathOptions) -> (PathOutcome, String) {
        let mut out = Vec::new();
        let outcome = canonicalize(path.as_bytes(), options, &mut out);
        let result = match outcome {
            PathOutcome::Unchanged => path.to_owned(),
            PathOutcome::Reject => String::new(),
            _ => String::from_utf8_lossy(&out).into_owned(),
        };
        (outcome, result)
    }

    /// Path; with `normalize_path`; and `merge_slashes`; with `normalize_path` and UNESCAPE_AND_FORWARD. All as
    /// Envoy 1.40 answered.
    const MEASURED: [(&str, &str, &str, &str); 47] = [
        ("/a/./b", "/a/b", "/a/b", "/a/b"),
        ("/a/../b", "/b", "/b", "/b"),
        ("/a/%2e%2e/b", "/b", "/b", "/b"),
        ("/a/%2E/b", "/a/b", "/a/b", "/a/b"),
        ("/../a", "/a", "/a", "/a"),
        ("/a//b", "/a//b", "/a/b", "/a//b"),
        ("/a///", "/a///", "/a/", "/a///"),
        ("//a", "//a", "/a", "//a"),
        ("/a/..", "/", "/", "/"),
        ("/a/.", "/a/", "/a/", "/a/"),
        ("/a/%2f/b", "/a/%2f/b", "/a/%2f/b", "/a///b"),
        ("/a%2Fb%5Cc%5c", "/a%2Fb%5Cc%5c", "/a%2Fb%5Cc%5c", "/a/b/c/"),
        ("/a\\b", "/a/b", "/a/b", "/a/b"),
        ("/%41%7e%2D", "/A~-", "/A~-", "/A~-"),
        ("/%zz", "/%zz", "/%zz", "/%zz"),
        ("/%4", "/%4", "/%4", "/%4"),
        ("/%", "/%", "/%", "/%"),
        ("/a%20b", "/a%20b", "/a%20b", "/a%20b"),
        ("/a;b/..;/c", "/c", "/c", "/c"),
        ("/%c3%a9", "/%c3%a9", "/%c3%a9", "/%c3%a9"),
        ("/a\"b", "/a%22b", "/a%22b", "/a%22b"),
        ("/a<b>", "/a%3Cb%3E", "/a%3Cb%3E", "/a%3Cb%3E"),
        ("/a{b}|^`", "/a%7Bb%7D%7C%5E%60", "/a%7Bb%7D%7C%5E%60", "/a%7Bb%7D%7C%5E%60"),
        ("/a%3f%23", "/a%3f%23", "/a%3f%23", "/a%3f%23"),
        ("/a?x=/../b//c", "/a?x=/../b//c", "/a?x=/../b//c", "/a?x=/../b//c"),
        ("/a/..//../b", "/b", "/b", "/b"),
        ("/..;/b", "/b", "/b", "/b"),
        ("/.;/b", "/b", "/b", "/b"),
        ("/a/%2e%2E%2f%2e/b", "/a/..%2f./b", "/a/..%2f./b", "/b"),
        ("/%2e", "/", "/", "/"),
        ("/a/...", "/a/...", "/a/...", "/a/..."),
        ("/a'b(c)*!$&,=:@+[]%27", "/a'b(c)*!$&,=:@+[]%27", "/a'b(c)*!$&,=:@+[]%27", "/a'b(c)*!$&,=:@+[]%27"),
        ("/a/b/../../../c", "/c", "/c", "/c"),
        ("/%25%32%65", "/%252e", "/%252e", "/%252e"),
        ("/a/b/%2e%2e", "/a/", "/a/", "/a/"),
        ("/%%32%65", "/%252e", "/%252e", "/%252e"),
        ("/a%5cb/../c", "/c", "/c", "/a/c"),
        ("/a/.%2e/b", "/b", "/b", "/b"),
        ("/a/..;x=1;y=2/c", "/c", "/c", "/c"),
        ("/a/..%3b/b", "/a/..%3b/b", "/a/..%3b/b", "/a/..%3b/b"),
        ("/a/..x/b", "/a/..x/b", "/a/..x/b", "/a/..x/b"),
        ("/a/..?x", "/?x", "/?x", "/?x"),
        ("/a\\..\\b", "/b", "/b", "/b"),
        ("/x/..%2f", "/x/..%2f", "/x/..%2f", "/"),
        ("/a//..//b", "/a//b", "/a/b", "/a//b"),
        ("/a/%5c../b", "/a/%5c../b", "/a/%5c../b", "/a/b"),
        ("/a/%252e%252e/b", "/a/%252e%252e/b", "/a/%252e%252e/b", "/a/%252e%252e/b"),
    ];

    #[test]
    fn as_envoy() {
        let merge = PathOptions { merge_slashes: true, ..NORMALIZE };
        let forward = PathOptions { escaped_slashes: EscapedSlashes::UnescapeAndForward, ..NORMALIZE };
        for (path, normalized, merged, unescaped) in MEASURED {
            assert_eq!(canonical(path, NORMALIZE).1, normalized, "normalize {path}");
            assert_eq!(canonical(path, merge).1, merged, "merge {path}");
            assert_eq!(canonical(path, forward).1, unescaped, "unescape {path}");
            assert_eq!(canonical(path, PathOptions::default()), (PathOutcome::Unchanged, path.to_owned()));
        }
    }

    #[test]
    fn an_escaped_nul_is_refused() {
        assert_eq!(canonical("/a%00", NORMALIZE).0, PathOutcome::Reject);
    }

    /// Envoy 1.40 makes `/a/..;x/b` of it, which a second pass, or the origin, resolves.
    #[test]
    fn where_the_result_would_not_be_stable_ringway_differs_from_envoy() {
        assert_eq!(canonical("/a/%2e%2e;x/b", NORMALIZE).1, "/b");
    }

    #[test]
    fn actions_for_escaped_slashes() {
        let with = |escaped_slashes, path| {
            canonical(path, PathOptions { escaped_slashes, ..PathOptions::default() })
        };
        assert_eq!(with(EscapedSlashes::RejectRequest, "/a%2fb").0, PathOutcome::Reject);
        assert_eq!(with(EscapedSlashes::RejectRequest, "/a?%2fb").0, PathOutcome::Unchanged);
        assert_eq!(
            with(EscapedSlashes::UnescapeAndRedirect, "/a%2Fb?c%2F"),
            (PathOutcome::Redirect, "/a/b?c%2F".into())
        );
        assert_eq!(
            with(EscapedSlashes::UnescapeAndForward, "/a%5cb"),
            (PathOutcome::Changed, "/a\\b".into())
        );
        assert_eq!(with(EscapedSlashes::UnescapeAndForward, "/a%41").0, PathOutcome::Unchanged);
    }

    #[test]
    fn parameters_in_order() {
        let all: Vec<_> = query_parameters(b"a=1&b&&=c&a=2=3").collect();
        let expected: [(&[u8], &[u8]); 4] = [(b"a", b"1"), (b"b", b""), (b"", b"c"), (b"a", b"2=3")];
        assert_eq!(all, expected);
        let mut decoded = Vec::new();
        percent_decode(b"a%20b%2", &mut decoded);
        assert_eq!(decoded, b"a b%2");
    }

    proptest! {
        /// Twice is as once, and nothing that an origin would resolve is left.
        #[test]
        fn canonical_paths_are_stable(path in "/([a-c./\\\\;%2e5fF]|%2e|%2F|%5c|\\.\\.){0,24}", merge_slashes: bool) {
            let options = PathOptions { merge_slashes, ..NORMALIZE };
            let (_, once) = canonical(&path, options);
            let (outcome, twice) = canonical(&once, options);
            prop_assert_eq!(&once, &twice);
            prop_assert_eq!(outcome, PathOutcome::Unchanged);
            for segment in once.split('/') {
                let name = segment.split(';').next();
                prop_assert!(name != Some(".") && name != Some(".."), "{}", once);
            }
        }
    }
}
