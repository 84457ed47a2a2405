//! Futures in recycled memory: for what is needed now and then but is too large to keep beside every
//! connection, and too frequent to allocate each time.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Free places that are kept for each kind of future.
const KEPT_PLACES: usize = 512;

/// A future whose memory is taken from this thread's free places and goes back there.
#[must_use = "futures do nothing unless polled"]
pub struct Pooled<F: Future + 'static> {
    /// None only while being dropped.
    place: Option<Place<F>>,
}

type Place<F> = Pin<Box<Option<F>>>;

thread_local! {
    static FREE: RefCell<Vec<(TypeId, Box<dyn Any>)>> = const { RefCell::new(Vec::new()) };
}

/// Puts what `make` makes in a free place.
///
/// Inlined, and the future made only when nothing can fail any more: the compiler then writes what the future is given
/// to its place, instead of making all of it elsewhere and copying some kilobytes.
#[inline(always)]
pub fn pooled<F: Future + 'static>(make: impl FnOnce() -> F) -> Pooled<F> {
    let mut place = free_place::<F>();
    if place.is_none() {
        place.set(Some(make()));
    }
    Pooled { place: Some(place) }
}

impl<F: Future + 'static> Future for Pooled<F> {
    type Output = F::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.place.as_mut().and_then(|place| place.as_mut().as_pin_mut()) {
            Some(future) => future.poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<F: Future + 'static> Drop for Pooled<F> {
    fn drop(&mut self) {
        let Some(mut place) = self.place.take() else { return };
        place.set(None);
        with_free(|free| {
            if free.len() < KEPT_PLACES {
                free.push(place);
            }
        });
    }
}

/// A place with nothing in it.
#[inline(never)]
fn free_place<F: Future + 'static>() -> Place<F> {
    with_free(Vec::pop).flatten().unwrap_or_else(|| Box::pin(None))
}

/// Lends the free places for futures of type `F`; none while the thread ends.
fn with_free<F: Future + 'static, R>(use_it: impl FnOnce(&mut Vec<Place<F>>) -> R) -> Option<R> {
    FREE.try_with(|free| {
        let mut kinds = free.borrow_mut();
        let id = TypeId::of::<F>();
        let known = kinds.iter().position(|(known, _)| *known == id).unwrap_or_else(|| {
            kinds.push((id, Box::new(Vec::<Place<F>>::new())));
            kinds.len() - 1
        });
        kinds[known].1.downcast_mut().map(use_it)
    })
    .ok()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use std::task::Waker;

    #[test]
    fn memory_is_reused_and_contents_are_not() {
        let held = Rc::new(());
        let work = |held: Rc<()>| async move {
            let _held = held;
            std::future::pending::<()>().await;
        };
        let address = |future: &Pooled<_>| {
            let place: &Place<_> = future.place.as_ref().expect("a place");
            std::ptr::from_ref(&**place).addr()
        };
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = pooled(|| work(held.clone()));
        assert!(Pin::new(&mut first).poll(&mut cx).is_pending());
        let before = address(&first);
        drop(first);
        assert_eq!(Rc::strong_count(&held), 1, "dropped with the future");
        let mut second = pooled(|| work(held.clone()));
        assert!(Pin::new(&mut second).poll(&mut cx).is_pending());
        assert_eq!(address(&second), before);
        let mut other = pooled(|| async { 7 });
        assert_eq!(Pin::new(&mut other).poll(&mut cx), Poll::Ready(7));
    }
}
