//! What the functions of this suite talk to: a proxy before an origin that they script.

use ringway_test_support::message::Message;
use ringway_test_support::{Answer, Connection, Origin, ReadError, Request, eventually};
use std::net::SocketAddr;

/// A proxy whose every request goes to `origin`.
pub struct Target<'a> {
    /// Where the proxy listens.
    pub address: SocketAddr,
    /// The origin behind it.
    pub origin: &'a Origin,
}

impl Target<'_> {
    /// A connection to the proxy.
    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// Sends bytes on a new connection and reads one response.
    pub fn exchange(&self, bytes: impl AsRef<[u8]>) -> (Result<Message, ReadError>, Connection) {
        let mut connection = self.connect();
        connection.send(bytes);
        let response = connection.read();
        (response, connection)
    }

    /// Sends a good request on a new connection.
    pub fn get(&self, target: &str) -> Message {
        Request::get(target).send(self.address)
    }

    /// Sends a request and gives the response and what the origin got.
    pub fn forward(&self, request: &Request) -> (Message, Message) {
        self.origin.take_requests();
        let response = request.send(self.address);
        (response, self.received())
    }

    /// The one request that the origin got since the last look.
    pub fn received(&self) -> Message {
        let mut requests = self.origin.take_requests();
        assert_eq!(requests.len(), 1, "requests at the origin: {requests:?}");
        requests.remove(0)
    }

    /// Lets the origin answer the next request with these bytes and sends it.
    pub fn answer(&self, bytes: &str) -> Result<Message, ReadError> {
        self.origin.expect([Answer::raw(bytes)]);
        Request::get("/").try_send(self.address)
    }

    /// Asserts that the bytes are answered with one of these codes, that the connection ends, and that
    /// nothing of them reaches the origin.
    #[track_caller]
    pub fn refuses(&self, bytes: impl AsRef<[u8]>, statuses: &[u16]) {
        self.origin.take_requests();
        let (response, mut connection) = self.exchange(bytes);
        let response = response.unwrap_or_else(|e| panic!("no response: {e:?}"));
        assert!(statuses.contains(&response.status()), "{}", response.start_line);
        assert!(connection.is_closed_by_peer(), "the connection stays open");
        assert_eq!(self.origin.request_count(), 0, "the origin was asked");
    }

    /// Waits for a request to arrive at the origin.
    pub fn await_request(&self) {
        eventually("a request at the origin", || (self.origin.request_count() > 0).then_some(()));
    }
}
