//! Simulated clients: send requests in every manner, and check what comes back.

use std::rc::Rc;
use std::time::Duration;

use ringway::base::rng::Rng;
use ringway::io::{self, Socket, SocketOptions, sim};

use super::plan::{Kind, Plan, random_len, request_body, response_body};
use super::wire::{Framing, Peer, ReadError, within, write_body};
use super::world::World;

/// What the filter `buffer` of the configuration takes.
const BUFFER_BYTES: usize = 50_000;

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
}

/// What came for it.
pub struct Answer {
    pub status: u16,
    pub id: Option<u64>,
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
    sim::set_link(&world.proxy, world.random_link(rng));
    let mut socket = Socket::connect(&world.proxy, &SocketOptions::default());
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
            if !receive(world, &mut peer, request, manner).await {
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
            if !receive(world, &mut peer, request, manner).await {
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
        Sent { id: world.next_id(), method, route, body_len, plan: Plan::random(rng) }
    }

    /// Sends it at once or in two parts with a pause between them.
    async fn write(&self, socket: &mut Socket, close: bool, rng: &mut Rng) {
        let Sent { id, method, route, body_len, plan } = self;
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
    fn is_safe(&self) -> bool {
        self.body_len == 0 && matches!(self.method, "GET" | "HEAD" | "DELETE")
    }
}

/// Reads the response to `request` and judges it. False if the connection is over.
async fn receive(world: &World, peer: &mut Peer, request: &Sent, manner: Manner) -> bool {
    let id = request.id;
    let answer = match read_answer(peer, request).await {
        Ok(answer) => answer,
        Err(error) => {
            let is_excused = world.is_draining() || manner == Manner::Slow;
            if error == ReadError::Hangs || !is_excused {
                world.violation(format_args!("request {id}: no response: {error:?}"));
            }
            return false;
        }
    };
    sim::note(format_args!("client: {id} got {} {:?}", answer.status, answer.end));
    judge(world, request, &answer, manner);
    answer.end.is_ok() && !answer.says_close
}

/// What has come for a request must be an answer to it.
pub fn judge(world: &World, request: &Sent, answer: &Answer, manner: Manner) {
    let id = request.id;
    world.count(answer.status);
    match answer.id {
        Some(other) if other != id => {
            world.violation(format_args!("request {id} got the response to {other}"));
        }
        Some(_) => judge_planned(world, request, answer, manner),
        None => judge_local(world, request, answer),
    }
}

/// A response of the origin's.
fn judge_planned(world: &World, request: &Sent, answer: &Answer, manner: Manner) {
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
            let is_excused = plan.kind.breaks_off() || manner == Manner::Slow || request.route == "/limited";
            if !is_excused || matches!(error, ReadError::Hangs | ReadError::Malformed(_)) {
                world.violation(format_args!("request {id}: a response that breaks off: {error:?}"));
            }
        }
    }
}

/// A response of the proxy's own.
fn judge_local(world: &World, request: &Sent, answer: &Answer) {
    let Sent { id, plan, .. } = request;
    let status = answer.status;
    if let Err(error) = answer.end {
        world.violation(format_args!("request {id}: a local reply that breaks off: {error:?}"));
    }
    if request.is_too_large() && status == 413 {
        return;
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
        let mut body = Vec::new();
        let framing = head.framing().unwrap_or(Framing::UntilClose);
        let end = if is_bodyless { Ok(()) } else { peer.body(framing, &mut body).await };
        return Ok(Answer { status, id: head.number("x-id"), body, end, says_close: head.says_close() });
    }
}
