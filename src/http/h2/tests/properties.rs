//! Arbitrary input does no harm, its pieces do not matter, and whatever our client and our server do to each other, bytes arrive as
//! they were sent, every stream ends, and nothing is left behind.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::http::h2::frame::setting;

/// Frames that mostly make sense in a row, some of them damaged.
fn nearly_http_2() -> impl Strategy<Value = Vec<u8>> {
    let stream = prop_oneof![4 => Just(1u32), 3 => Just(3), 1 => Just(5), 1 => 0u32..12];
    let flags = prop_oneof![4 => Just(0u8), 3 => Just(flag::END_STREAM), 1 => any::<u8>()];
    let fields = prop::sample::select(vec![
        &GET[..],
        &POST[..],
        &[(":status", "200")],
        &[(":status", "103")],
        &[("x-trailer", "1")],
        &[("content-length", "5")],
        &[("x-a", "1"), ("x-b", "some value that is longer"), ("cookie", "a=b"), ("cookie", "c=d")],
    ]);
    let extra =
        prop::sample::select(vec![&[][..], &[("x-a", "1")], &[("content-length", "5")], &[("x-c", "2")]]);
    let headers = (stream.clone(), flags.clone(), fields, extra, any::<bool>()).prop_map(
        |(stream, flags, fields, extra, is_split)| {
            let mut encoder = hpack::Encoder::new(4096);
            let mut block = Vec::new();
            for (name, value) in fields.iter().chain(extra) {
                encoder.field(lookup(name.as_bytes()), name.as_bytes(), value.as_bytes(), false, &mut block);
            }
            let flags = flags & !(flag::PADDED | flag::PRIORITY);
            if !is_split || block.len() < 2 {
                return frame_bytes(Kind::HEADERS, flags | flag::END_HEADERS, stream, &block);
            }
            let (first, second) = block.split_at(block.len() / 2);
            let mut bytes = frame_bytes(Kind::HEADERS, flags & !flag::END_HEADERS, stream, first);
            bytes.extend(frame_bytes(Kind::CONTINUATION, flag::END_HEADERS, stream, second));
            bytes
        },
    );
    let data = (stream.clone(), flags.clone(), prop::collection::vec(any::<u8>(), 0..30))
        .prop_map(|(stream, flags, data)| frame_bytes(Kind::DATA, flags, stream, &data));
    let number = prop_oneof![Just(0u32), 1u32..100, Just(8)];
    let control = (0u8..14, stream, number).prop_map(|(kind, stream, number)| match kind {
        0 => {
            frame_bytes(Kind::SETTINGS, 0, 0, &[0, setting::INITIAL_WINDOW_SIZE as u8, 0, 0, 0, number as u8])
        }
        1 => frame_bytes(Kind::PING, 0, 0, b"12345678"),
        2 => frame_bytes(Kind::GOAWAY, 0, 0, &[0, 0, 0, number as u8, 0, 0, 0, 0]),
        3 | 4 => frame_bytes(Kind::WINDOW_UPDATE, 0, stream, &number.to_be_bytes()),
        5 => frame_bytes(Kind::PRIORITY, 0, stream, &[0; 5]),
        6 => frame_bytes(Kind::SETTINGS, 0, 0, &[0, setting::HEADER_TABLE_SIZE as u8, 0, 0, 0, number as u8]),
        7 => frame_bytes(Kind::METADATA, 0, stream, b"whatever"),
        _ => frame_bytes(Kind::RST_STREAM, 0, stream, &number.to_be_bytes()),
    });
    let frames = prop::collection::vec(prop_oneof![4 => headers, 4 => data, 2 => control], 0..14);
    let changes = prop::collection::vec((any::<Index>(), any::<u8>()), 0..3);
    (frames, changes).prop_map(|(frames, changes)| {
        let mut bytes = frames.concat();
        for (index, byte) in changes {
            if !bytes.is_empty() {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
        }
        bytes
    })
}

/// `bytes` cut at the given places.
fn split<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// What a server made of the pieces.
fn served(settings: H2Settings, pieces: &[&[u8]]) -> Vec<String> {
    let mut peer = Peer::of_server(settings);
    let mut lines = Vec::new();
    for piece in pieces {
        if let Err(error) = peer.try_send(piece) {
            lines.push(format!("{error}"));
            break;
        }
    }
    while let Some(request) = peer.connection.next_request() {
        lines.push(format!("{} {:?} {}", request.stream, request.head.headers, request.end_stream));
        lines.extend(body(&mut peer.connection, request.stream));
        lines.push(format!("{:?}", peer.connection.wire_bytes(request.stream)));
        peer.connection.send_response(request.stream, &response(200, &[]), false);
        peer.connection.send_data(request.stream, Chunk::from_static(b"response"), true);
        peer.connection.release(request.stream);
    }
    lines.extend(peer.frames());
    lines.push(format!("{:?}", peer.connection.take_counts()));
    assert_eq!(peer.connection.held_bytes(), 0);
    lines
}

/// What a client that has asked for three things made of the pieces.
fn answered(settings: H2Settings, pieces: &[&[u8]]) -> Vec<String> {
    let mut peer = Peer::of_client(settings);
    let streams =
        [peer.open(Method::Get, true), peer.open(Method::Post, false), peer.open(Method::Head, true)];
    peer.connection.send_data(streams[1], Chunk::from_static(b"request body"), false);
    let mut lines = Vec::new();
    for piece in pieces {
        if let Err(error) = peer.try_send(piece) {
            lines.push(format!("{error}"));
            break;
        }
    }
    for stream in streams {
        // How data is cut into events is nobody's business.
        lines.push(events(&mut peer.connection, stream).join(" ").replace("data ", "").replace(' ', ""));
        lines.push(format!("{:?}", peer.connection.wire_bytes(stream)));
        peer.connection.release(stream);
    }
    lines.extend(peer.frames());
    lines.push(format!("{:?}", peer.connection.take_counts()));
    assert!(peer.connection.held_bytes() == 0 && peer.connection.is_idle());
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn pieces_do_not_matter(
        bytes in nearly_http_2(),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
        stream_errors: bool,
    ) {
        let server = H2Settings { stream_error_on_invalid_message: stream_errors, ..H2Settings::SERVER };
        let client = H2Settings { stream_error_on_invalid_message: stream_errors, ..H2Settings::CLIENT };
        let single: Vec<_> = bytes.chunks(1).collect();
        let whole = served(server, &[&bytes]);
        prop_assert_eq!(&served(server, &split(&bytes, &cuts)), &whole);
        prop_assert_eq!(&served(server, &single), &whole);
        let whole = answered(client, &[&bytes]);
        prop_assert_eq!(&answered(client, &split(&bytes, &cuts)), &whole);
        prop_assert_eq!(&answered(client, &single), &whole);
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), prefaced: bool) {
        let mut peer = Peer::unprepared(Connection::server(H2Settings::SERVER));
        if prefaced {
            peer.send(frame::PREFACE);
        }
        let _ = peer.try_send(&bytes);
        let mut peer = Peer::unprepared(Connection::client(H2Settings::CLIENT));
        let _ = peer.try_send(&bytes);
    }
}

/// What the two sides do, in terms of streams that exist at the time.
#[derive(Debug, Clone)]
enum Op {
    Open { body: bool },
    Send { by_server: bool, stream: Index, bytes: usize, end: bool },
    Trailers { by_server: bool, stream: Index },
    Informational { stream: Index },
    Respond { stream: Index },
    Read { by_server: bool, stream: Index },
    Reset { by_server: bool, stream: Index },
    LetGo { by_server: bool, stream: Index },
    Ping { by_server: bool },
    Carry { to_server: bool, room: usize, piece: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let stream = any::<Index>();
    prop_oneof![
        3 => any::<bool>().prop_map(|body| Op::Open { body }),
        6 => (any::<bool>(), stream.clone(), prop_oneof![0usize..20, 0usize..5_000], prop::bool::weighted(0.2))
            .prop_map(|(by_server, stream, bytes, end)| Op::Send { by_server, stream, bytes, end }),
        1 => (any::<bool>(), stream.clone()).prop_map(|(by_server, stream)| Op::Trailers { by_server, stream }),
        1 => stream.clone().prop_map(|stream| Op::Informational { stream }),
        3 => stream.clone().prop_map(|stream| Op::Respond { stream }),
        4 => (any::<bool>(), stream.clone()).prop_map(|(by_server, stream)| Op::Read { by_server, stream }),
        1 => (any::<bool>(), stream.clone()).prop_map(|(by_server, stream)| Op::Reset { by_server, stream }),
        1 => (any::<bool>(), stream).prop_map(|(by_server, stream)| Op::LetGo { by_server, stream }),
        1 => any::<bool>().prop_map(|by_server| Op::Ping { by_server }),
        6 => (any::<bool>(), 0usize..3_000, 1usize..2_000)
            .prop_map(|(to_server, room, piece)| Op::Carry { to_server, room, piece }),
    ]
}

/// One side's view of a stream.
#[derive(Debug, Default)]
struct View {
    id: Option<StreamId>,
    sent: Vec<u8>,
    sent_trailers: bool,
    /// It has ended its message.
    is_ended: bool,
    responded: bool,
    received: Vec<u8>,
    received_trailers: bool,
    /// It has received the end.
    is_complete: bool,
    /// It saw an error, reset the stream or has let it go.
    is_broken: bool,
    let_go: bool,
}

/// Two connections and the wires between them.
struct World {
    client: Connection,
    server: Connection,
    /// By the stream's number: the client's view, the server's.
    streams: BTreeMap<u32, [View; 2]>,
    next_byte: u8,
}

impl World {
    fn new(stream_window_bytes: u32) -> World {
        let limits = FloodLimits { max_window_updates_per_data_frame: 1_000, ..FloodLimits::CLIENT };
        let settings =
            H2Settings { stream_window_bytes, connection_window_bytes: 65_535, limits, ..H2Settings::CLIENT };
        let (client, server) = (Connection::client(settings), Connection::server(settings));
        let mut world = World { client, server, streams: BTreeMap::new(), next_byte: 0 };
        for _ in 0..2 {
            world.carry(true, usize::MAX, usize::MAX);
            world.carry(false, usize::MAX, usize::MAX);
        }
        world
    }

    fn carry(&mut self, to_server: bool, room: usize, piece: usize) {
        let (from, to) = if to_server {
            (&mut self.client, &mut self.server)
        } else {
            (&mut self.server, &mut self.client)
        };
        let mut wire = Written { limit_bytes: room, ..Written::new() };
        from.write_output(&mut wire);
        for piece in wire.bytes.chunks(piece) {
            to.receive(Chunk::copy_from(piece), Instant::from_nanos(0)).expect("no error on the connection");
        }
        if to_server {
            while let Some(request) = self.server.next_request() {
                assert_eq!(request.head.headers.get("x-number"), Some(request.stream.to_string().as_bytes()));
                self.streams.get_mut(&request.stream.get()).expect("opened")[1].id = Some(request.stream);
            }
        }
        for (connection, window) in [(&self.client, 65_535), (&self.server, 65_535)] {
            assert!(connection.held_bytes() <= 2 * window, "{}", connection.held_bytes());
        }
    }

    /// A stream that this side knows and has not let go.
    fn pick(&self, by_server: bool, stream: Index) -> Option<u32> {
        let side = usize::from(by_server);
        let known: Vec<u32> = self
            .streams
            .iter()
            .filter(|(_, views)| views[side].id.is_some() && !views[side].let_go)
            .map(|(number, _)| *number)
            .collect();
        (!known.is_empty()).then(|| known[stream.index(known.len())])
    }

    fn side(&mut self, by_server: bool, number: u32) -> (&mut Connection, &mut View, StreamId) {
        let view = &mut self.streams.get_mut(&number).expect("picked")[usize::from(by_server)];
        let id = view.id.expect("picked");
        (if by_server { &mut self.server } else { &mut self.client }, view, id)
    }

    fn open(&mut self, has_body: bool) {
        let number = self.streams.len() as u32 * 2 + 1;
        let mut head = RequestHead::new(Method::Post, "http", b"a", b"/");
        head.headers.append("x-number", number.to_string().as_bytes());
        if self.client.available_streams() == 0 {
            return;
        }
        let id = self.client.open(&head, !has_body).expect("a stream");
        assert_eq!(id.get(), number);
        let view = View { id: Some(id), is_ended: !has_body, responded: true, ..View::default() };
        self.streams.insert(number, [view, View::default()]);
    }

    fn send(&mut self, by_server: bool, number: u32, bytes: usize, end: bool) {
        self.next_byte = self.next_byte.wrapping_add(1);
        let data = vec![self.next_byte; bytes];
        let (connection, view, id) = self.side(by_server, number);
        if view.is_ended || !view.responded || view.is_broken {
            return;
        }
        connection.send_data(id, Chunk::copy_from(&data), end);
        if connection.stream_ended(id).is_none() {
            view.sent.extend(data);
            view.is_ended = end;
        }
    }

    fn finish(&mut self, by_server: bool, number: u32, trailers: bool) {
        let (connection, view, id) = self.side(by_server, number);
        if view.is_ended || !view.responded || view.is_broken {
            return;
        }
        if trailers {
            connection.send_trailers(id, &map(&[("x-end", "1")]));
        } else {
            connection.send_end(id);
        }
        view.is_ended = true;
        view.sent_trailers = trailers;
    }

    fn respond(&mut self, number: u32) {
        let (connection, view, id) = self.side(true, number);
        if !view.responded && !view.is_broken {
            connection.send_response(id, &response(200, &[]), false);
            view.responded = true;
        }
    }

    /// Reads one event. Whether there was any.
    fn read(&mut self, by_server: bool, number: u32) -> bool {
        let (connection, view, id) = self.side(by_server, number);
        if view.is_complete || view.is_broken {
            return false;
        }
        let event = if by_server {
            match connection.poll_body(id, &mut context()) {
                Poll::Pending => return false,
                Poll::Ready(event) => event,
            }
        } else {
            match connection.poll_response(id, &mut context()) {
                Poll::Pending => return false,
                Poll::Ready(Err(error)) => Err(error),
                Poll::Ready(Ok(ResponseEvent::Informational(_))) => return true,
                Poll::Ready(Ok(ResponseEvent::Head { end_stream: false, .. })) => return true,
                Poll::Ready(Ok(ResponseEvent::Head { end_stream: true, .. })) => Ok(BodyEvent::End),
                Poll::Ready(Ok(ResponseEvent::Data { chunk, end_stream })) => {
                    view.received.extend_from_slice(&chunk);
                    view.is_complete = end_stream;
                    return true;
                }
                Poll::Ready(Ok(ResponseEvent::Trailers(trailers))) => Ok(BodyEvent::Trailers(trailers)),
            }
        };
        match event {
            Ok(BodyEvent::Data(chunk)) => view.received.extend_from_slice(&chunk),
            Ok(BodyEvent::Trailers(_)) => (view.received_trailers, view.is_complete) = (true, true),
            Ok(BodyEvent::End) => view.is_complete = true,
            Err(_) => view.is_broken = true,
        }
        true
    }

    fn let_go(&mut self, by_server: bool, number: u32) {
        let (connection, view, id) = self.side(by_server, number);
        connection.release(id);
        view.let_go = true;
        view.is_broken |= !(view.is_complete && view.is_ended);
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Open { body } => self.open(body),
            Op::Send { by_server, stream, bytes, end } => {
                if let Some(number) = self.pick(by_server, stream) {
                    self.send(by_server, number, bytes, end);
                }
            }
            Op::Trailers { by_server, stream } => {
                if let Some(number) = self.pick(by_server, stream) {
                    self.finish(by_server, number, true);
                }
            }
            Op::Informational { stream } => {
                if let Some(number) = self.pick(true, stream) {
                    let (connection, _, id) = self.side(true, number);
                    connection.send_informational(id, &response(103, &[]));
                }
            }
            Op::Respond { stream } => {
                if let Some(number) = self.pick(true, stream) {
                    self.respond(number);
                }
            }
            Op::Read { by_server, stream } => {
                if let Some(number) = self.pick(by_server, stream) {
                    self.read(by_server, number);
                }
            }
            Op::Reset { by_server, stream } => {
                if let Some(number) = self.pick(by_server, stream) {
                    let (connection, view, id) = self.side(by_server, number);
                    connection.reset(id, ErrorCode::CANCEL);
                    view.is_broken |= connection.stream_ended(id).is_some();
                }
            }
            Op::LetGo { by_server, stream } => {
                if let Some(number) = self.pick(by_server, stream) {
                    self.let_go(by_server, number);
                }
            }
            Op::Ping { by_server } => if by_server { &mut self.server } else { &mut self.client }.ping(),
            Op::Carry { to_server, room, piece } => self.carry(to_server, room, piece),
        }
    }

    /// Lets everything that was begun come to its end.
    fn settle(&mut self) {
        let numbers: Vec<u32> = self.streams.keys().copied().collect();
        for _ in 0..10_000 {
            self.carry(true, usize::MAX, 1_000);
            self.carry(false, usize::MAX, 1_000);
            let mut is_busy = false;
            for number in &numbers {
                for by_server in [false, true] {
                    let view = &self.streams[number][usize::from(by_server)];
                    if view.id.is_none() || view.let_go {
                        continue;
                    }
                    if by_server {
                        self.respond(*number);
                    }
                    self.finish(by_server, *number, false);
                    is_busy |= self.read(by_server, *number);
                }
            }
            if !is_busy && !self.client.wants_output() && !self.server.wants_output() {
                return;
            }
        }
        panic!("does not come to an end");
    }

    fn check(&mut self) {
        for (number, views) in &self.streams {
            // What one side got is what the other sent, from the beginning, and all of it if nothing was broken.
            for (to, from) in [(0, 1), (1, 0)] {
                let (to, from) = (&views[to], &views[from]);
                assert!(from.sent.starts_with(&to.received), "stream {number}");
                if to.is_complete {
                    assert_eq!(to.received.len(), from.sent.len(), "stream {number}");
                    assert_eq!(to.received_trailers, from.sent_trailers, "stream {number}");
                }
            }
            if !views[0].is_broken && !views[1].is_broken {
                assert!(views[0].is_complete && views[1].is_complete, "stream {number} {views:?}");
            }
        }
        let numbers: Vec<u32> = self.streams.keys().copied().collect();
        for number in numbers {
            for by_server in [false, true] {
                let view = &self.streams[&number][usize::from(by_server)];
                if view.id.is_some() && !view.let_go {
                    self.let_go(by_server, number);
                }
            }
        }
        self.carry(true, usize::MAX, 1_000);
        self.carry(false, usize::MAX, 1_000);
        for connection in [&mut self.client, &mut self.server] {
            assert!(connection.is_idle() && connection.held_bytes() == 0, "{connection:?}");
            assert_eq!((connection.open_streams(), connection.pending_send_bytes()), (0, 0));
            assert!(!connection.wants_output());
            assert!(connection.heap_bytes().others <= 4096, "{:?}", connection.heap_bytes());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn whatever_they_do_to_each_other(
        ops in prop::collection::vec(op(), 0..120),
        stream_window_bytes in prop::sample::select(vec![1u32, 100, 5_000, 65_535, 1 << 20]),
    ) {
        let mut world = World::new(stream_window_bytes);
        ops.iter().for_each(|op| world.run(op));
        world.settle();
        world.check();
    }
}
