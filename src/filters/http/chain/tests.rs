//! What each answer of a filter does to the messages, with fake filters, in both directions.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::*;
use crate::filters::http::testing::{Stream, fields};

/// What a fake answers to its next hooks; `Continue` when there is no more.
#[derive(Clone, Default)]
struct Script(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    heads: VecDeque<HeadAction>,
    parts: VecDeque<DataAction>,
    seen: Vec<String>,
}

struct Fake {
    name: &'static str,
    script: Script,
}

impl Script {
    fn head(self, action: HeadAction) -> Script {
        self.0.borrow_mut().heads.push_back(action);
        self
    }

    fn part(self, action: DataAction) -> Script {
        self.0.borrow_mut().parts.push_back(action);
        self
    }

    fn filter(&self, name: &'static str) -> Box<dyn HttpFilter> {
        Box::new(Fake { name, script: self.clone() })
    }

    /// What the filters with this script have seen since last asked.
    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut().seen)
    }

    fn on_head(&self, name: &str, end: bool) -> HeadAction {
        let mut state = self.0.borrow_mut();
        state.seen.push(format!("{name} head{}", if end { " end" } else { "" }));
        state.heads.pop_front().unwrap_or(HeadAction::Continue)
    }

    fn on_part(&self, name: &str, what: &str, cx: &FilterContext<'_>) -> DataAction {
        let mut state = self.0.borrow_mut();
        let held = if matches!(cx.held, HeldHead::None) { "" } else { " holding" };
        state.seen.push(format!("{name} {what}{held}"));
        state.parts.pop_front().unwrap_or(DataAction::Continue)
    }
}

fn part(data: &Chunk, end: bool) -> String {
    format!("{}{}", String::from_utf8_lossy(data), if end { " end" } else { "" })
}

impl HttpFilter for Fake {
    fn decode_head(&mut self, _: &mut FilterContext<'_>, _: &mut RequestHead, end: bool) -> HeadAction {
        self.script.on_head(self.name, end)
    }
    fn decode_data(&mut self, cx: &mut FilterContext<'_>, data: &mut Chunk, end: bool) -> DataAction {
        self.script.on_part(self.name, &part(data, end), cx)
    }
    fn decode_trailers(&mut self, cx: &mut FilterContext<'_>, _: &mut HeaderMap) -> DataAction {
        self.script.on_part(self.name, "trailers", cx)
    }
    fn encode_head(&mut self, _: &mut FilterContext<'_>, _: &mut ResponseHead, end: bool) -> HeadAction {
        self.script.on_head(self.name, end)
    }
    fn encode_data(&mut self, cx: &mut FilterContext<'_>, data: &mut Chunk, end: bool) -> DataAction {
        self.script.on_part(self.name, &part(data, end), cx)
    }
    fn encode_trailers(&mut self, cx: &mut FilterContext<'_>, _: &mut HeaderMap) -> DataAction {
        self.script.on_part(self.name, "trailers", cx)
    }
}

/// A verdict that the test gives when it likes.
#[derive(Clone, Default)]
struct Later(Rc<RefCell<Option<Verdict>>>);

impl Later {
    fn pending(&self) -> Pending {
        let slot = self.clone();
        Box::pin(std::future::poll_fn(move |_| match slot.0.borrow_mut().take() {
            Some(verdict) => Poll::Ready(verdict),
            None => Poll::Pending,
        }))
    }

    fn give(&self, verdict: Verdict) {
        *self.0.borrow_mut() = Some(verdict);
    }
}

fn two(script: &Script) -> Stream {
    Stream::of(vec![script.filter("a"), script.filter("b")])
}

#[test]
fn requests_pass_in_order_and_responses_in_reverse() {
    let script = Script::default();
    let mut stream = two(&script);
    stream.request_head("POST", "/", &[], false);
    stream.request_data(b"1", true);
    assert_eq!(script.seen(), ["a head", "b head", "a 1 end", "b 1 end"]);
    assert_eq!(stream.take_request_body(), b"1");
    assert!(matches!(stream.take_request_ending(), Ending::Plain));
    stream.response_head(200, &[], false);
    stream.response_data(b"2", false);
    stream.response_trailers(&[("x", "1")]);
    assert_eq!(script.seen(), ["b head", "a head", "b 2", "a 2", "b trailers", "a trailers"]);
    assert_eq!(stream.take_response_body(), b"2");
    assert!(matches!(stream.encode.take_ending(), Ending::Trailers(_)));
}

#[test]
fn a_message_of_a_head_alone_ends_with_it() {
    let mut stream = two(&Script::default());
    stream.request_head("GET", "/", &[], true);
    assert!(stream.decode.ends_with_head());
    stream.response_head(204, &[], true);
    assert!(stream.encode.ends_with_head());
}

#[test]
fn a_stopped_head_goes_on_with_the_first_part_that_does() {
    let script = Script::default().head(HeadAction::Stop).part(DataAction::Hold);
    let mut stream = two(&script);
    stream.request_head("POST", "/", &[], false);
    stream.request_data(b"1", false);
    assert_eq!(script.seen(), ["a head", "a 1 holding"]);
    assert!(!stream.request_passed() && !stream.decode.has_data());
    stream.request_data(b"2", true);
    assert_eq!(script.seen(), ["a 2 end holding", "b head", "b 1", "b 2 end"]);
    assert_eq!(stream.take_request_body(), b"12");
    assert!(matches!(stream.take_request_ending(), Ending::Plain));
}

#[test]
fn the_same_on_the_way_down() {
    let script = Script::default().head(HeadAction::Stop).part(DataAction::Hold);
    let mut stream = two(&script);
    stream.response_head(200, &[], false);
    stream.response_data(b"1", false);
    stream.response_trailers(&[("x", "1")]);
    assert_eq!(script.seen(), ["b head", "b 1 holding", "b trailers holding", "a head", "a 1", "a trailers"]);
    assert_eq!(stream.take_response_body(), b"1");
}

#[test]
fn held_parts_wait_for_the_next_and_keep_their_order() {
    let script = Script::default().part(DataAction::Hold).part(DataAction::Hold);
    let mut stream = two(&script);
    stream.request_head("POST", "/", &[], false);
    stream.request_data(b"1", false);
    stream.request_data(b"2", false);
    assert!(stream.request_passed() && !stream.decode.has_data());
    stream.request_data(b"3", false);
    assert_eq!(stream.take_request_body(), b"123");
    assert_eq!(script.seen(), ["a head", "b head", "a 1", "a 2", "a 3", "b 1", "b 2", "b 3"]);
}

#[test]
fn held_trailers_are_an_end_that_waits() {
    let script = Script::default().part(DataAction::Continue).part(DataAction::Continue);
    let script = script.part(DataAction::Hold);
    let mut stream = two(&script);
    stream.request_head("POST", "/", &[], false);
    stream.request_data(b"1", false);
    stream.request_trailers(&[("x", "1")]);
    assert_eq!(stream.take_request_body(), b"1");
    assert!(matches!(stream.take_request_ending(), Ending::Open));
}

#[test]
fn more_than_the_limit_is_too_large() {
    let script = Script::default().part(DataAction::Hold).part(DataAction::Hold);
    let mut stream = two(&script);
    stream.request_head("POST", "/", &[], false);
    stream.request_data(&[b'x'; Stream::LIMIT_BYTES], false);
    assert!(!stream.is_too_large());
    stream.request_data(b"x", false);
    assert!(stream.is_too_large());
}

#[test]
fn what_is_held_no_longer_counts_once_it_went_on() {
    let script = Script::default().part(DataAction::Hold).part(DataAction::Continue);
    let mut stream = Stream::of(vec![script.filter("a")]);
    stream.request_head("POST", "/", &[], false);
    stream.request_data(&[b'x'; Stream::LIMIT_BYTES], false);
    stream.request_data(b"x", false);
    let _ = script.clone().part(DataAction::Hold);
    stream.request_data(&[b'x'; Stream::LIMIT_BYTES], false);
    assert!(!stream.is_too_large());
}

#[test]
fn a_reply_ends_the_iteration_wherever_it_comes_from() {
    let reply = || LocalReply::new(418, "no", "test");
    let script = Script::default().head(HeadAction::Reply(reply()));
    let mut stream = two(&script);
    stream.request_head("GET", "/", &[], true);
    assert_eq!(stream.reply().map(|reply| reply.status), Some(418));
    assert_eq!(script.seen(), ["a head end"]);
    let script = Script::default().part(DataAction::Reply(reply()));
    let mut stream = two(&script);
    stream.response_head(200, &[], false);
    stream.response_data(b"1", false);
    assert_eq!(stream.reply().map(|reply| reply.status), Some(418));
    assert!(!stream.encode.has_data());
}

#[test]
fn a_wait_holds_everything_until_its_verdict() {
    let later = Later::default();
    let script = Script::default().head(HeadAction::Await(later.pending()));
    let mut stream = two(&script);
    stream.request_head("POST", "/", &[], false);
    assert!(stream.decode.is_waiting() && stream.decode.has_room());
    // What comes meanwhile is kept, even above the limit: whoever reads stops there.
    stream.request_data(&[b'x'; Stream::LIMIT_BYTES + 1], false);
    assert!(!stream.is_too_large() && !stream.decode.has_room());
    stream.request_trailers(&[("x", "1")]);
    assert!(!stream.poll_request());
    later.give(Verdict::Change(Box::new(|head| head.headers.set("x-changed", b"1"))));
    assert!(stream.poll_request() && stream.request_passed());
    assert_eq!(fields(&stream.request.headers, "x-changed"), ["1"]);
    assert_eq!(script.seen()[..2], ["a head", "b head"]);
    assert_eq!(stream.take_request_body().len(), Stream::LIMIT_BYTES + 1);
    assert!(matches!(stream.take_request_ending(), Ending::Trailers(_)));
    assert!(!stream.rematch && !stream.decode.is_waiting());
}

#[test]
fn a_wait_may_end_in_a_reply_or_in_another_route() {
    let later = Later::default();
    let mut stream = two(&Script::default().head(HeadAction::Await(later.pending())));
    stream.request_head("GET", "/", &[], true);
    later.give(Verdict::Reply(LocalReply::new(403, "", "test")));
    assert!(stream.poll_request());
    assert_eq!(stream.reply().map(|reply| reply.status), Some(403));
    assert!(!stream.request_passed());
    let mut stream = two(&Script::default().head(HeadAction::Await(later.pending())));
    stream.request_head("GET", "/", &[], true);
    later.give(Verdict::ChangeAndRematch(Box::new(|head| head.set_path(b"/other"))));
    assert!(stream.poll_request());
    assert!(stream.rematch && stream.decode.ends_with_head());
    assert_eq!(stream.request.path(), b"/other");
}

#[test]
fn a_wait_on_a_body_part_keeps_the_head_and_the_end() {
    let later = Later::default();
    let script = Script::default().head(HeadAction::Stop).part(DataAction::Await(later.pending()));
    let mut stream = two(&script);
    stream.request_head("POST", "/", &[], false);
    stream.request_data(b"12", true);
    assert!(stream.decode.is_waiting() && !stream.request_passed());
    later.give(Verdict::Continue);
    assert!(stream.poll_request() && stream.request_passed());
    assert_eq!(script.seen(), ["a head", "a 12 end holding", "b head", "b 12 end"]);
    assert_eq!(stream.take_request_body(), b"12");
    assert!(matches!(stream.take_request_ending(), Ending::Plain));
}

#[test]
fn a_response_can_wait_too() {
    let later = Later::default();
    let script = Script::default().head(HeadAction::Await(later.pending()));
    let mut stream = two(&script);
    stream.response_head(200, &[], false);
    stream.response_data(b"1", true);
    assert_eq!(script.seen(), ["b head"]);
    assert!(!stream.poll_response() && !stream.response_passed());
    later.give(Verdict::Continue);
    assert!(stream.poll_response() && stream.response_passed());
    assert_eq!(script.seen(), ["a head", "a 1 end"]);
    assert_eq!(stream.take_response_body(), b"1");
}

#[test]
fn two_filters_may_wait_one_after_the_other() {
    let later = Later::default();
    let script = Script::default().head(HeadAction::Await(later.pending()));
    let mut stream = two(&script.clone().head(HeadAction::Await(later.pending())));
    stream.request_head("POST", "/", &[], false);
    stream.request_data(b"1", true);
    later.give(Verdict::Continue);
    assert!(stream.poll_request() && stream.decode.is_waiting() && !stream.request_passed());
    later.give(Verdict::Continue);
    assert!(stream.poll_request() && !stream.decode.is_waiting());
    assert_eq!(script.seen(), ["a head", "b head"]);
    assert_eq!(stream.take_request_body(), b"1");
    assert!(matches!(stream.take_request_ending(), Ending::Plain));
}
