//! One end of a HTTP/2 connection without I/O: frames to bytes, bytes to frames, and what came on each stream.

use std::collections::{BTreeMap, HashMap};

use super::frame::{Frame, PREFACE, error_code, flag, kind, setting};

/// Fields in order, pseudo-headers first.
pub type Fields = Vec<(String, String)>;

/// The window of a stream or connection before anybody says otherwise.
const DEFAULT_WINDOW: i64 = 65_535;

/// The first field of this name.
pub fn get<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// A header block in which each field is a literal that is never indexed (RFC 7541 section 6.2.2), so that tests
/// can say anything in it.
pub fn literal_block(fields: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        push_string(&mut block, name.as_ref());
        push_string(&mut block, value.as_ref());
    }
    block
}

/// A string without Huffman coding (RFC 7541 section 5.2).
fn push_string(block: &mut Vec<u8>, string: &[u8]) {
    let Some(mut rest) = string.len().checked_sub(127) else {
        block.push(string.len() as u8);
        return block.extend_from_slice(string);
    };
    block.push(127);
    while rest >= 128 {
        block.push(rest as u8 | 128);
        rest >>= 7;
    }
    block.push(rest as u8);
    block.extend_from_slice(string);
}

/// What the peer said in GOAWAY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goaway {
    /// The last stream that it may have looked at.
    pub last_stream: u32,
    /// Why; see [`error_code`].
    pub code: u32,
}

/// What came on one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Incoming {
    /// Interim responses.
    pub interim: Vec<Fields>,
    /// The head: empty until it has come.
    pub head: Fields,
    /// The body so far.
    pub body: Vec<u8>,
    /// Trailers, if there were any.
    pub trailers: Option<Fields>,
    /// END_STREAM has come.
    pub ended: bool,
    /// RST_STREAM has come, with this code.
    pub reset: Option<u32>,
}

impl Incoming {
    /// A field of the head.
    pub fn header(&self, name: &str) -> Option<&str> {
        get(&self.head, name)
    }

    /// A field of the trailers.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        get(self.trailers.as_ref()?, name)
    }

    /// `:status`; 0 if there is none.
    pub fn status(&self) -> u16 {
        self.header(":status").and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether nothing more can come.
    pub fn is_over(&self) -> bool {
        self.ended || self.reset.is_some()
    }
}

/// A header block of which frames are still to come.
struct OpenBlock {
    stream: u32,
    end_stream: bool,
    bytes: Vec<u8>,
}

/// One end of a connection. What it wants to send stands in `output`.
pub struct Endpoint {
    /// Bytes to be written.
    pub output: Vec<u8>,
    /// What came on each stream.
    pub streams: BTreeMap<u32, Incoming>,
    /// SETTINGS and PING are answered; true unless a test turns it off.
    pub answers: bool,
    /// Windows are opened as data comes; true unless a test turns it off.
    pub opens_windows: bool,
    /// The last GOAWAY of the peer.
    pub goaway: Option<Goaway>,
    /// The peer's settings by their identifiers.
    pub peer_settings: HashMap<u16, u32>,
    /// How often the peer has acknowledged settings and answered PING.
    pub acknowledged_settings: u32,
    /// PING frames of ours that were answered.
    pub pongs: u32,
    /// PING frames of the peer's.
    pub pings: u32,
    is_server: bool,
    awaits_preface: bool,
    next_stream: u32,
    input: Vec<u8>,
    decoder: loona_hpack::Decoder<'static>,
    open_block: Option<OpenBlock>,
    connection_window: i64,
    windows: HashMap<u32, i64>,
}

impl Endpoint {
    /// A client that announces these settings; its preface waits in `output`.
    pub fn client(settings: &[(u16, u32)]) -> Endpoint {
        let mut endpoint = Endpoint::new(false);
        endpoint.output.extend_from_slice(PREFACE);
        endpoint.settings(settings);
        endpoint
    }

    /// A server that announces these settings.
    pub fn server(settings: &[(u16, u32)]) -> Endpoint {
        let mut endpoint = Endpoint::new(true);
        endpoint.settings(settings);
        endpoint
    }

    fn new(is_server: bool) -> Endpoint {
        Endpoint {
            output: Vec::new(),
            streams: BTreeMap::new(),
            answers: true,
            opens_windows: true,
            goaway: None,
            peer_settings: HashMap::new(),
            acknowledged_settings: 0,
            pongs: 0,
            pings: 0,
            is_server,
            awaits_preface: is_server,
            next_stream: 1,
            input: Vec::new(),
            decoder: loona_hpack::Decoder::new(),
            open_block: None,
            connection_window: DEFAULT_WINDOW,
            windows: HashMap::new(),
        }
    }

    /// Puts a frame into the output, whatever it is.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) {
        self.output.extend(Frame::new(kind, flags, stream, payload).bytes());
    }

    /// SETTINGS.
    pub fn settings(&mut self, settings: &[(u16, u32)]) {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.frame(kind::SETTINGS, 0, 0, payload);
    }

    /// The identifier of the next stream that this client may open.
    pub fn next_stream(&mut self) -> u32 {
        self.next_stream += 2;
        self.next_stream - 2
    }

    /// HEADERS with these fields in one frame. Blocks beyond 16 KiB go on in CONTINUATION frames.
    pub fn headers(&mut self, stream: u32, fields: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)], end: bool) {
        self.block(stream, &literal_block(fields), end);
    }

    /// HEADERS with this block.
    pub fn block(&mut self, stream: u32, block: &[u8], end: bool) {
        let mut pieces: Vec<&[u8]> = block.chunks(16_384).collect();
        if pieces.is_empty() {
            pieces.push(&[]);
        }
        let last = pieces.len() - 1;
        for (at, piece) in pieces.into_iter().enumerate() {
            let end_headers = if at == last { flag::END_HEADERS } else { 0 };
            let end_stream = if at == 0 && end { flag::END_STREAM } else { 0 };
            let kind = if at == 0 { kind::HEADERS } else { kind::CONTINUATION };
            self.frame(kind, end_headers | end_stream, stream, piece);
        }
    }

    /// Opens a stream with a request; `end`: it has no body.
    pub fn open(&mut self, fields: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)], end: bool) -> u32 {
        let stream = self.next_stream();
        self.headers(stream, fields, end);
        stream
    }

    /// Opens a stream with a GET of `test.local`.
    pub fn get(&mut self, path: &str) -> u32 {
        self.open(&request_fields("GET", path), true)
    }

    /// Opens a stream with a POST of `test.local` whose body follows.
    pub fn post(&mut self, path: &str) -> u32 {
        self.open(&request_fields("POST", path), false)
    }

    /// One DATA frame, whatever the windows are.
    pub fn data(&mut self, stream: u32, bytes: impl Into<Vec<u8>>, end: bool) {
        let payload: Vec<u8> = bytes.into();
        self.connection_window -= payload.len() as i64;
        *self.window(stream) -= payload.len() as i64;
        self.frame(kind::DATA, if end { flag::END_STREAM } else { 0 }, stream, payload);
    }

    /// As much of `bytes` as the windows allow, in frames of 16 KiB; says how much that was. The stream ends with the
    /// last byte if `end`.
    pub fn data_within_windows(&mut self, stream: u32, bytes: &[u8], end: bool) -> usize {
        let allowed = self.connection_window.min(*self.window(stream)).max(0) as usize;
        let taken = bytes.len().min(allowed);
        let mut rest = &bytes[..taken];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(16_384));
            self.data(stream, piece, end && after.is_empty() && taken == bytes.len());
            rest = after;
        }
        if bytes.is_empty() && end {
            self.data(stream, [], true);
        }
        taken
    }

    /// RST_STREAM.
    pub fn reset(&mut self, stream: u32, code: u32) {
        self.frame(kind::RST_STREAM, 0, stream, code.to_be_bytes());
    }

    /// WINDOW_UPDATE.
    pub fn window_update(&mut self, stream: u32, increment: u32) {
        self.frame(kind::WINDOW_UPDATE, 0, stream, increment.to_be_bytes());
    }

    /// PING.
    pub fn ping(&mut self) {
        self.frame(kind::PING, 0, 0, *b"12345678");
    }

    /// GOAWAY.
    pub fn send_goaway(&mut self, last_stream: u32, code: u32) {
        self.frame(kind::GOAWAY, 0, 0, [last_stream.to_be_bytes(), code.to_be_bytes()].concat());
    }

    /// What came on a stream; empty if nothing did.
    pub fn stream(&self, stream: u32) -> Incoming {
        self.streams.get(&stream).cloned().unwrap_or_default()
    }

    /// What the peer may still be sent on a stream.
    pub fn window(&mut self, stream: u32) -> &mut i64 {
        let initial = self.peer_settings.get(&setting::INITIAL_WINDOW_SIZE);
        let initial = initial.map_or(DEFAULT_WINDOW, |value| i64::from(*value));
        self.windows.entry(stream).or_insert(initial)
    }

    /// Takes bytes from the peer.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The next frame among the bytes that have come; what follows from it is done.
    ///
    /// # Errors
    /// Says what about it is wrong.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, String> {
        if self.awaits_preface {
            let Some(preface) = self.input.get(..PREFACE.len()) else { return Ok(None) };
            if preface != PREFACE {
                return Err(format!("no preface but {:?}", String::from_utf8_lossy(preface)));
            }
            self.input.drain(..PREFACE.len());
            self.awaits_preface = false;
        }
        let Some(frame) = Frame::take(&mut self.input) else { return Ok(None) };
        self.on_frame(&frame)?;
        Ok(Some(frame))
    }

    fn on_frame(&mut self, frame: &Frame) -> Result<(), String> {
        match frame.kind {
            kind::DATA => self.on_data(frame)?,
            kind::HEADERS | kind::CONTINUATION => self.on_block(frame)?,
            kind::RST_STREAM => {
                self.streams.entry(frame.stream).or_default().reset = Some(frame.number(0));
            }
            kind::SETTINGS if frame.has(flag::ACK) => self.acknowledged_settings += 1,
            kind::SETTINGS => self.on_settings(frame),
            kind::PING if frame.has(flag::ACK) => self.pongs += 1,
            kind::PING => {
                self.pings += 1;
                if self.answers {
                    self.frame(kind::PING, flag::ACK, 0, frame.payload.clone());
                }
            }
            kind::GOAWAY => {
                let last_stream = frame.number(0) & 0x7fff_ffff;
                self.goaway = Some(Goaway { last_stream, code: frame.number(4) });
            }
            kind::WINDOW_UPDATE => match frame.stream {
                0 => self.connection_window += i64::from(frame.number(0)),
                stream => *self.window(stream) += i64::from(frame.number(0)),
            },
            _ => {}
        }
        Ok(())
    }

    fn on_settings(&mut self, frame: &Frame) {
        for entry in frame.payload.chunks_exact(6) {
            let id = u16::from_be_bytes([entry[0], entry[1]]);
            let value = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]);
            let before = self.peer_settings.insert(id, value);
            if id == setting::INITIAL_WINDOW_SIZE {
                let change = i64::from(value) - before.map_or(DEFAULT_WINDOW, i64::from);
                self.windows.values_mut().for_each(|window| *window += change);
            }
        }
        if self.answers {
            self.frame(kind::SETTINGS, flag::ACK, 0, []);
        }
    }

    fn on_data(&mut self, frame: &Frame) -> Result<(), String> {
        let stream = self.streams.entry(frame.stream).or_default();
        if stream.ended || (stream.head.is_empty() && stream.reset.is_none()) {
            return Err(format!("DATA out of place on stream {}", frame.stream));
        }
        stream.body.extend_from_slice(unpadded(frame)?);
        stream.ended |= frame.has(flag::END_STREAM);
        let (ended, length) = (stream.ended, frame.payload.len() as u32);
        if self.opens_windows && length > 0 {
            self.window_update(0, length);
            if !ended {
                self.window_update(frame.stream, length);
            }
        }
        Ok(())
    }

    fn on_block(&mut self, frame: &Frame) -> Result<(), String> {
        let mut block = match self.open_block.take() {
            Some(block) if frame.kind == kind::CONTINUATION && block.stream == frame.stream => block,
            None if frame.kind == kind::HEADERS => {
                OpenBlock { stream: frame.stream, end_stream: frame.has(flag::END_STREAM), bytes: Vec::new() }
            }
            _ => return Err("HEADERS and CONTINUATION out of sequence".into()),
        };
        let mut fragment = unpadded(frame)?;
        if frame.kind == kind::HEADERS && frame.has(flag::PRIORITY) {
            fragment = fragment.get(5..).ok_or("a short HEADERS frame")?;
        }
        block.bytes.extend_from_slice(fragment);
        if !frame.has(flag::END_HEADERS) {
            self.open_block = Some(block);
            return Ok(());
        }
        let decoded =
            self.decoder.decode(&block.bytes).map_err(|error| format!("header block: {error:?}"))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let fields: Fields = decoded.into_iter().map(|(name, value)| (text(name), text(value))).collect();
        let stream = self.streams.entry(block.stream).or_default();
        let is_interim = get(&fields, ":status").is_some_and(|status| status.starts_with('1'));
        if stream.ended {
            return Err(format!("HEADERS after the end of stream {}", block.stream));
        }
        if is_interim && !self.is_server {
            stream.interim.push(fields);
        } else if stream.head.is_empty() {
            stream.head = fields;
        } else {
            stream.trailers = Some(fields);
        }
        stream.ended |= block.end_stream;
        Ok(())
    }
}

/// The fields of a request to `test.local`.
pub(super) fn request_fields<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "http"), (":authority", "test.local"), (":path", path)]
}

/// The payload of a frame that may be padded.
fn unpadded(frame: &Frame) -> Result<&[u8], String> {
    if frame.kind == kind::CONTINUATION || !frame.has(flag::PADDED) {
        return Ok(&frame.payload);
    }
    let (padding, rest) = frame.payload.split_first().ok_or("no length of padding")?;
    let length = rest.len().checked_sub(usize::from(*padding)).ok_or("more padding than payload")?;
    Ok(&rest[..length])
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let why = self.goaway.map(|goaway| (goaway.last_stream, goaway.code == error_code::NO_ERROR));
        write!(f, "Endpoint({} streams, goaway {why:?})", self.streams.len())
    }
}
