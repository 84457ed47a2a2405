//! Simulated clients: send requests in every manner, and check what comes back.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ringway::base::clock::Instant;
use ringway::base::rng::Rng;
use ringway::io::{self, Socket, SocketOptions, sim};

use super::line::Line;
use super::plan::{Kind, Plan, random_len, request_body, response_body};
use super::wire::{Framing, Peer, ReadError, within, write_body};
use super::world::World;

/// What the filter `buffer` of the configuration takes.
const BUFFER_BYTES: usize = 50_000;

/// What the proxy says if a cluster has no host that may be used.
const NO_HOST: &[u8] = b"no healthy upstream";

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Reads as fast as it can.
    Steady,
    /// Reads little, and seldom.
    Slow,
    /// Is gone before its last response has come.
    Vanishing,
}

/// A request as it was sent.
pub struct Sent {
    pub id: u64,
    pub method: &'static str,
    pub route: &'static str,
    pub body_len: usize,
    pub plan: Plan,
    /// When the client began to send it.
    pub began: Cell<Instant>,
    /// The client wants the connection to end with it.
    pub asks_to_close: Cell<bool>,
}

/// What came for it.
pub struct Answer {
    pub status: u16,
    /// When its head came.
    pub at: Instant,
    pub id: Option<u64>,
    /// The version of the route table that the request had when it came to the origin.
    pub seen_version: Option<u64>,
    /// The one that the response has.
    pub version: Option<u64>,
    /// Names the filter chain.
    pub server: Option<String>,
    pub body: Vec<u8>,
    pub end: Result<(), ReadError>,
    pub says_close: bool,
}

/// A client's life: a few connections, one after the other.
pub async fn live(world: Rc<World>, seed: u64) {
    let mut rng = Rng::from_seed(seed);
    for _ in 0..=rng.below(3) {
        connection(&world, &mut rng).await;
        io::sleep(Duration::from_millis(rng.below(800))).await;
    }
}

async fn connection(world: &World, rng: &mut Rng) {
    let manner = match rng.below(8) {
        0 => Manner::Slow,
        1 => Manner::Vanishing,
        _ => Manner::Steady,
    };
    let address = world.any_address(rng);
    sim::set_link(address, world.random_link(rng));
    let line = Line::new(address, manner);
    let mut socket = Socket::connect(address, &SocketOptions::default());
    match within(super::wire::HANG, socket.connected()).await {
        Some(Ok(())) => {}
        Some(Err(_)) if world.is_stopped() => return,
        other => return world.violation(format_args!("a client cannot connect: {other:?}")),
    }
    if manner == Manner::Slow {
        socket.set_receive_limit(1 + rng.below(2_000) as usize);
    }
    let mut peer = Peer::new(socket);
    let count = 1 + rng.below(5);
    let requests: Vec<Sent> = (0..count).map(|_| Sent::random(world, rng)).collect();
    if rng.below(3) == 0 {
        for (at, request) in requests.iter().enumerate() {
            request.write(&mut peer.socket, at + 1 == requests.len() && rng.below(2) == 0, rng).await;
        }
        if manner == Manner::Vanishing {
            return vanish(peer, rng).await;
        }
        if manner == Manner::Slow {
            peer.pause = Duration::from_millis(rng.below(40));
        }
        for request in &requests {
            if !receive(world, &mut peer, request, &line).await {
                return;
            }
        }
    } else {
        for (at, request) in requests.iter().enumerate() {
            let is_last = at + 1 == requests.len();
            request.write(&mut peer.socket, is_last && rng.below(2) == 0, rng).await;
            if is_last && manner == Manner::Vanishing {
                return vanish(peer, rng).await;
            }
            if !receive(world, &mut peer, request, &line).await {
                return;
            }
            if rng.below(3) == 0 {
                io::sleep(Duration::from_millis(rng.below(3_000))).await;
            }
        }
    }
    if peer.has_excess() {
        world.violation(format_args!("bytes after the last response of {}", requests[0].id));
    }
}

/// Leaves in one of the ways in which clients do.
async fn vanish(peer: Peer, rng: &mut Rng) {
    io::sleep(Duration::from_micros(rng.below(50_000))).await;
    let mut socket = peer.socket;
    match rng.below(4) {
        0 => socket.reset(),
        1 => drop(socket),
        2 => {
            sim::sever(&socket);
            drop(socket);
        }
        _ => {
            socket.shutdown_write();
            io::sleep(Duration::from_secs(2)).await;
        }
    }
}

impl Sent {
    /// Any request.
    pub fn random(world: &World, rng: &mut Rng) -> Sent {
        let method = ["GET", "GET", "POST", "POST", "PUT", "HEAD", "DELETE"][rng.below(7) as usize];
        let body_len = if matches!(method, "POST" | "PUT") { random_len(rng) } else { 0 };
        let routes = [
            "/plain",
            "/retry",
            "/plain",
            "/limited",
            "/retry",
            "/buffered",
            "/delayed",
            "/h2/plain",
            "/h2/retry",
        ];
        let route = routes[rng.below(routes.len() as u64) as usize];
        let (began, asks_to_close) = (Cell::default(), Cell::default());
        Sent { id: world.next_id(), method, route, body_len, plan: Plan::random(rng), began, asks_to_close }
    }

    /// Sends it at once or in two parts with a pause between them.
    async fn write(&self, socket: &mut Socket, close: bool, rng: &mut Rng) {
        let Sent { id, method, route, body_len, plan, .. } = self;
        self.began.set(io::now());
        self.asks_to_close.set(close);
        sim::note(format_args!("client: {id} {method} {route} {body_len} bytes, {plan:?}"));
        let mut head = format!("{method} {route} HTTP/1.1\r\nhost: sim\r\nx-id: {id}\r\n");
        head += &format!("x-body: {body_len}\r\nx-plan: {}\r\n", plan.encode());
        let has_body = matches!(*method, "POST" | "PUT");
        let chunked = has_body && rng.below(2) == 0;
        if chunked {
            head += "transfer-encoding: chunked\r\n";
        } else if has_body {
            head += &format!("content-length: {body_len}\r\n");
        }
        if has_body && rng.below(8) == 0 {
            head += "expect: 100-continue\r\n";
        }
        if close {
            head += "connection: close\r\n";
        }
        head += "\r\n";
        if rng.below(4) == 0 {
            let (first, rest) = head.split_at(rng.below(head.len() as u64) as usize);
            socket.write(first.as_bytes());
            io::sleep(Duration::from_millis(rng.below(30))).await;
            socket.write(rest.as_bytes());
        } else {
            socket.write(head.as_bytes());
        }
        if has_body {
            if rng.below(4) == 0 {
                io::sleep(Duration::from_millis(rng.below(30))).await;
            }
            write_body(socket, &request_body(*id, *body_len), chunked);
        }
    }

    /// The proxy refuses to buffer so much.
    fn is_too_large(&self) -> bool {
        self.route == "/buffered" && self.body_len > BUFFER_BYTES
    }

    /// Sending it again can do no harm and is possible: nothing of the origin's making shall show.
    pub fn is_safe(&self) -> bool {
        self.body_len == 0 && matches!(self.method, "GET" | "HEAD" | "DELETE")
    }
}

/// Reads the response to `request` and judges it. False if the connection is over.
async fn receive(world: &World, peer: &mut Peer, request: &Sent, line: &Line) -> bool {
    let id = request.id;
    let answer = match read_answer(peer, request).await {
        Ok(answer) => answer,
        Err(error) => {
            if error == ReadError::Hangs || !line.may_break(world) {
                world.violation(format_args!("request {id}: no response: {error:?}"));
            }
            return false;
        }
    };
    sim::note(format_args!("client: {id} got {} {:?}", answer.status, answer.end));
    judge(world, request, &answer, line);
    line.judge_close(world, request, &answer);
    answer.end.is_ok() && !answer.says_close
}

/// What has come for a request must be an answer to it.
pub fn judge(world: &World, request: &Sent, answer: &Answer, line: &Line) {
    let id = request.id;
    world.count(answer.status);
    line.judge(world, request, answer);
    match answer.id {
        Some(other) if other != id => {
            world.violation(format_args!("request {id} got the response to {other}"));
        }
        Some(_) => judge_planned(world, request, answer, line),
        None => judge_local(world, request, answer, line),
    }
}

/// A response of the origin's.
fn judge_planned(world: &World, request: &Sent, answer: &Answer, line: &Line) {
    let Sent { id, plan, .. } = request;
    if request.is_too_large() {
        world.violation(format_args!("request {id} passed although it is too large"));
    }
    if answer.status != plan.status {
        world.violation(format_args!("request {id}: status {}, not {}", answer.status, plan.status));
    }
    let is_bodyless = request.method == "HEAD" || matches!(plan.status, 204 | 304);
    let expected = response_body(*id, if is_bodyless { 0 } else { plan.len });
    match answer.end {
        Ok(()) if answer.body != expected => {
            let (is, should) = (answer.body.len(), expected.len());
            world.violation(format_args!("request {id}: a wrong body ({is} bytes, should be {should})"));
        }
        Ok(()) => {}
        Err(error) => {
            if !expected.starts_with(&answer.body) {
                world.violation(format_args!("request {id}: a wrong body, broken off"));
            }
            // A request that waited long for its turn can run into its timeout in the middle of a response.
            let is_excused = plan.kind.breaks_off() || line.may_break(world) || request.route == "/limited";
            if !is_excused || matches!(error, ReadError::Hangs | ReadError::Malformed(_)) {
                world.violation(format_args!("request {id}: a response that breaks off: {error:?}"));
            }
        }
    }
}

/// A response of the proxy's own.
fn judge_local(world: &World, request: &Sent, answer: &Answer, line: &Line) {
    let Sent { id, plan, .. } = request;
    let status = answer.status;
    if let Err(error) = answer.end
        && !line.may_break(world)
    {
        world.violation(format_args!("request {id}: a local reply that breaks off: {error:?}"));
    }
    if request.is_too_large() && status == 413 {
        return;
    }
    if explains(world, request, answer) {
        return;
    }
    if answer.body == NO_HOST {
        return world.violation(format_args!("request {id}: there were hosts all the time"));
    }
    if !matches!(status, 502..=504) {
        return world.violation(format_args!("request {id}: unexpected local reply {status}"));
    }
    let is_excused = !plan.kind.is_benign() || request.route == "/limited" || world.is_lossy();
    if !is_excused && request.is_safe() {
        world.violation(format_args!("request {id}: needless {status} for {plan:?}"));
    }
    if plan.kind == Kind::Stall && request.route == "/plain" && status != 504 && !world.is_lossy() {
        // A connection that the origin closed while idle explains it where sending again is not safe.
        if request.is_safe() {
            world.violation(format_args!("request {id}: {status} instead of a timeout"));
        }
    }
}

/// Whether what was configured at that time explains the reply.
fn explains(world: &World, request: &Sent, answer: &Answer) -> bool {
    let Some(history) = world.history() else { return false };
    match answer.status {
        // Without a route the buffer filter takes what it takes by default.
        404 | 413 => history.had_no_route(request.route, request.began.get(), answer.at),
        503 => history.had_no_host(request.route, request.began.get(), answer.at),
        _ => false,
    }
}

async fn read_answer(peer: &mut Peer, request: &Sent) -> Result<Answer, ReadError> {
    loop {
        let head = peer.head().await?;
        let mut words = head.first_line.split(' ');
        let status = match (words.next(), words.next().and_then(|status| status.parse::<u16>().ok())) {
            (Some("HTTP/1.1"), Some(status)) => status,
            _ => return Err(ReadError::Malformed("a status line")),
        };
        if status < 200 {
            continue;
        }
        let is_bodyless = request.method == "HEAD" || matches!(status, 204 | 304);
        let mut answer = Answer::new(status, io::now(), |name| head.get(name));
        answer.says_close = head.says_close();
        if !is_bodyless {
            let framing = head.framing().unwrap_or(Framing::UntilClose);
            answer.end = peer.body(framing, &mut answer.body).await;
        }
        return Ok(answer);
    }
}

impl Answer {
    /// One whose head came at `at`; there is no body yet.
    pub fn new<'h>(status: u16, at: Instant, header: impl Fn(&str) -> Option<&'h str>) -> Answer {
        let number = |name: &str| header(name).and_then(|value| value.parse().ok());
        Answer {
            status,
            at,
            id: number("x-id"),
            seen_version: number("x-seen-version"),
            version: number("x-version"),
            server: header("server").map(str::to_owned),
            body: Vec::new(),
            end: Ok(()),
            says_close: false,
        }
    }
}
