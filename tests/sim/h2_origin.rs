//! Simulated origins of HTTP/2: check the bodies of requests and do on each stream what its plan says; now and then they say
//! GOAWAY, also about streams that they have not looked at.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use ringway::base::clock::Instant;
use ringway::base::rng::Rng;
use ringway::io::{self, Listener};
use ringway_test_support::h2::{Endpoint, Incoming, error_code, setting};

use super::h2_peer::H2Peer;
use super::plan::{Kind, Plan, request_body, response_body};
use super::world::World;

/// Longer than the proxy keeps idle connections.
const PATIENCE: Duration = Duration::from_secs(30);

/// A response on its way.
struct Response {
    id: u64,
    /// The version of the route table that the request had.
    version: Option<String>,
    plan: Plan,
    kind: Kind,
    /// When the next part goes.
    due: Instant,
    has_head: bool,
    body: Vec<u8>,
    written: usize,
    /// Bytes after which it breaks off.
    breaks_at: Option<usize>,
}

/// Serves connections until the listener is dropped with the task.
pub async fn serve(world: Rc<World>, mut listener: Listener, name: String) {
    let name: Rc<str> = name.into();
    while let Ok(socket) = listener.accept().await {
        let (world, name) = (Rc::clone(&world), Rc::clone(&name));
        io::spawn(async move {
            let mut rng = Rng::from_seed(io::random_u64());
            let settings = [
                (setting::INITIAL_WINDOW_SIZE, [1_000, 65_535, 200_000][rng.below(3) as usize]),
                (setting::MAX_CONCURRENT_STREAMS, [2, 100][rng.below(2) as usize]),
            ];
            connection(&world, H2Peer::new(socket, Endpoint::server(&settings)), &name, &mut rng).await;
        });
    }
}

async fn connection(world: &World, mut peer: H2Peer, name: &str, rng: &mut Rng) {
    let mut responses: BTreeMap<u32, Response> = BTreeMap::new();
    let mut newest = 0;
    let mut refuses_from = u32::MAX;
    let mut quiet_since = io::now();
    loop {
        let next = responses.values().map(|response| response.due).min();
        let limit = next.map_or(PATIENCE, |due| due.since(io::now()));
        match peer.turn(limit.max(Duration::from_micros(1)).min(PATIENCE)).await {
            Ok(true) => quiet_since = io::now(),
            Ok(false) if responses.is_empty() && io::now().since(quiet_since) >= PATIENCE => return,
            Ok(false) => {}
            Err(_) => return,
        }
        check_arrivals(world, &peer.endpoint, &mut newest, name);
        begin(world, &mut peer, &mut responses, &mut refuses_from, rng);
        responses.retain(|stream, response| {
            let is_gone = peer.endpoint.streams.get(stream).is_none_or(|request| request.reset.is_some());
            !is_gone && !advance(&mut peer.endpoint, *stream, response, refuses_from == u32::MAX, rng)
        });
        let done = |stream: &u32, request: &Incoming, responses: &BTreeMap<u32, Response>| {
            request.is_over() && !responses.contains_key(stream)
        };
        let over: Vec<u32> = peer
            .endpoint
            .streams
            .iter()
            .filter(|(stream, request)| done(stream, request, &responses))
            .map(|(stream, _)| *stream)
            .collect();
        for stream in over {
            check_body(world, &peer.endpoint.stream(stream));
            // It stays known so that it is not begun again, but holds nothing.
            if let Some(request) = peer.endpoint.streams.get_mut(&stream) {
                request.head.clear();
                request.body.clear();
            }
        }
        peer.flush();
    }
}

/// Checks the requests that are new since the stream `newest`.
fn check_arrivals(world: &World, endpoint: &Endpoint, newest: &mut u32, name: &str) {
    for (stream, request) in endpoint.streams.range(*newest + 1..) {
        let number = |name: &str| request.header(name).and_then(|value| value.parse::<u64>().ok());
        let Some(id) = number("x-id") else { continue };
        *newest = *stream;
        let route = request.header(":path").unwrap_or_default();
        world.check_arrival(id, (route, number("x-version")), name);
    }
}

/// Begins to answer the requests that can be answered.
fn begin(
    world: &World,
    peer: &mut H2Peer,
    responses: &mut BTreeMap<u32, Response>,
    refuses_from: &mut u32,
    rng: &mut Rng,
) {
    let candidates: Vec<(u32, Incoming)> = peer
        .endpoint
        .streams
        .iter()
        .filter(|(stream, request)| {
            !request.head.is_empty() && request.reset.is_none() && !responses.contains_key(stream)
        })
        .map(|(stream, request)| (*stream, request.clone()))
        .collect();
    for (stream, request) in candidates {
        if stream >= *refuses_from {
            continue;
        }
        let number = |name: &str| request.header(name).and_then(|value| value.parse::<u64>().ok());
        let (Some(id), Some(plan)) = (number("x-id"), request.header("x-plan").and_then(Plan::decode)) else {
            world.violation(format_args!("an origin got a request without a plan: {request:?}"));
            continue;
        };
        let is_early = matches!(plan.kind, Kind::Early | Kind::EarlyClose);
        if !request.ended && !is_early {
            continue;
        }
        if rng.below(40) == 0 && peer.endpoint.streams.keys().all(|known| *known <= stream) {
            // This one was not looked at, nor will later ones be.
            io::sim::note(format_args!("h2 origin: GOAWAY before {id}"));
            peer.endpoint.send_goaway(stream.saturating_sub(2), error_code::NO_ERROR);
            *refuses_from = stream;
            continue;
        }
        io::sim::note(format_args!("h2 origin: {id} {:?}", plan.kind));
        responses.insert(stream, Response::new(id, plan, &request, rng));
    }
}

impl Response {
    fn new(id: u64, plan: Plan, request: &Incoming, rng: &mut Rng) -> Response {
        let is_bodyless = request.header(":method") == Some("HEAD") || matches!(plan.status, 204 | 304);
        let mut kind = plan.kind;
        if kind == Kind::Flaky {
            kind = [Kind::Normal, Kind::Normal, Kind::CloseBeforeHead, Kind::ResetBeforeHead]
                [rng.below(4) as usize];
        }
        if kind == Kind::StallInBody && is_bodyless {
            kind = Kind::Normal;
        }
        let body = if is_bodyless { Vec::new() } else { response_body(id, plan.len) };
        let breaks =
            matches!(kind, Kind::ResetInBody | Kind::CloseInBody | Kind::StallInBody) && !is_bodyless;
        let breaks_at = breaks.then(|| rng.below(body.len() as u64) as usize);
        let due = io::now() + Duration::from_micros(rng.below(20_000));
        let version = request.header("x-version").map(str::to_owned);
        Response { id, version, plan, kind, due, has_head: false, body, written: 0, breaks_at }
    }
}

/// Sends the next part; true once nothing more is to be sent.
fn advance(
    endpoint: &mut Endpoint,
    stream: u32,
    response: &mut Response,
    may_goaway: bool,
    rng: &mut Rng,
) -> bool {
    if io::now() < response.due {
        return false;
    }
    match response.kind {
        Kind::Stall => {
            response.due = io::now() + PATIENCE;
            return false;
        }
        Kind::ResetBeforeHead => {
            endpoint.reset(stream, error_code::INTERNAL_ERROR);
            return true;
        }
        Kind::CloseBeforeHead => {
            endpoint.reset(stream, error_code::CANCEL);
            return true;
        }
        _ => {}
    }
    if !response.has_head {
        response.has_head = true;
        if response.kind == Kind::Interim {
            endpoint.headers(stream, &[(":status", "103"), ("link", "</x>")], false);
        }
        let (status, id, len) =
            (response.plan.status.to_string(), response.id.to_string(), response.plan.len.to_string());
        let mut fields = vec![(":status", &*status), ("x-id", &*id)];
        if let Some(version) = &response.version {
            fields.push(("x-seen-version", version));
        }
        if !response.plan.chunked && response.plan.status != 204 {
            fields.push(("content-length", &*len));
        }
        let end = response.body.is_empty() && response.breaks_at.is_none();
        endpoint.headers(stream, &fields, end);
        if end {
            return ended(endpoint, stream, response, may_goaway);
        }
        if response.kind == Kind::Slow {
            response.due = io::now() + Duration::from_millis(rng.below(300));
            return false;
        }
    }
    let limit = response.breaks_at.unwrap_or(response.body.len());
    let piece = if response.kind == Kind::Slow { 1 + response.body.len() / 5 } else { usize::MAX };
    let until = limit.min(response.written.saturating_add(piece));
    let is_last = until == response.body.len() && response.breaks_at.is_none();
    let rest = &response.body[response.written..until];
    response.written += endpoint.data_within_windows(stream, rest, is_last);
    // If a window is shut, its opening makes the next turn; this is for the pauses.
    response.due = io::now() + Duration::from_millis(1 + rng.below(50));
    if response.written < limit {
        return false;
    }
    match response.kind {
        Kind::StallInBody => {
            response.due = io::now() + PATIENCE;
            false
        }
        Kind::ResetInBody | Kind::CloseInBody if response.breaks_at.is_some() => {
            endpoint.reset(stream, error_code::INTERNAL_ERROR);
            true
        }
        _ => ended(endpoint, stream, response, may_goaway),
    }
}

/// What follows a whole response.
fn ended(endpoint: &mut Endpoint, stream: u32, response: &Response, may_goaway: bool) -> bool {
    match response.kind {
        // The rest of the request is not wanted.
        Kind::EarlyClose if !endpoint.stream(stream).ended => endpoint.reset(stream, error_code::NO_ERROR),
        // Those that are under way are served, new ones go elsewhere.
        Kind::CloseAfter if may_goaway => endpoint.send_goaway(0x7fff_ffff, error_code::NO_ERROR),
        _ => {}
    }
    true
}

/// Compares what has come of a request with what was sent.
fn check_body(world: &World, request: &Incoming) {
    let number = |name: &str| request.header(name).and_then(|value| value.parse::<u64>().ok());
    let (Some(id), Some(len)) = (number("x-id"), number("x-body")) else { return };
    let expected = request_body(id, len as usize);
    let is_right = if request.ended { request.body == expected } else { expected.starts_with(&request.body) };
    if !is_right {
        let (is, should) = (request.body.len(), expected.len());
        world.violation(format_args!("request {id}: its body is wrong ({is} bytes, should be {should})"));
    }
}
