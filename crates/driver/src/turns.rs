//! Taking turns: of several threads one runs.
//!
//! [`Turns`] is the turn itself: to be taken, given back and handed over. Which thread is next is an [`Order`]'s to say. Two stand
//! here. [`AnyOrder`] lets the host decide, for what only must not run side by side, and is written down as it comes. A
//! [`Coroutine`] is a thread that another one directs: it runs when it is resumed, until it suspends itself.

use parking_lot::{Condvar, Mutex, MutexGuard};

/// An order in which threads take turns.
pub trait Order {
    /// What a thread takes part as.
    type Seat;

    /// Whether each thread that waits may be next at any time, so that it is enough to wake one.
    const ANY_IS_NEXT: bool = false;

    /// Whether the thread at `seat` may have the turn, now that it is free.
    fn is_next(&self, seat: &Self::Seat) -> bool;
}

/// The one turn of several threads.
pub struct Turns<O> {
    state: Mutex<State<O>>,
    free: Condvar,
}

struct State<O> {
    order: O,
    is_taken: bool,
    /// Threads that wait for it.
    nr_wanting: usize,
}

impl<O: Order> Turns<O> {
    /// A turn that is free.
    pub fn new(order: O) -> Turns<O> {
        let state = State { order, is_taken: false, nr_wanting: 0 };
        Turns { state: Mutex::new(state), free: Condvar::new() }
    }

    /// Waits until the thread at `seat` is next and the turn is free, and takes it.
    pub fn take(&self, seat: &O::Seat) {
        self.wait(self.state.lock(), seat);
    }

    /// Gives the turn back, after `change` to the order.
    pub fn give_back(&self, change: impl FnOnce(&mut O)) {
        let mut state = self.state.lock();
        state.is_taken = false;
        change(&mut state.order);
        drop(state);
        self.wake();
    }

    /// Gives the turn back, after `change` to the order, and takes it again when the thread at `seat` is next.
    pub fn hand_over(&self, seat: &O::Seat, change: impl FnOnce(&mut O)) {
        let mut state = self.state.lock();
        state.is_taken = false;
        change(&mut state.order);
        self.wake();
        self.wait(state, seat);
    }

    /// Whether a thread waits for the turn: to the host's kernel it sleeps, but it has something to do.
    pub fn is_wanted(&self) -> bool {
        self.state.lock().nr_wanting > 0
    }

    /// Looks at the order.
    pub fn look<T>(&self, look: impl FnOnce(&O) -> T) -> T {
        look(&self.state.lock().order)
    }

    fn wake(&self) {
        if O::ANY_IS_NEXT {
            self.free.notify_one();
        } else {
            self.free.notify_all();
        }
    }

    fn wait(&self, mut state: MutexGuard<'_, State<O>>, seat: &O::Seat) {
        state.nr_wanting += 1;
        while state.is_taken || !state.order.is_next(seat) {
            self.free.wait(&mut state);
        }
        state.nr_wanting -= 1;
        state.is_taken = true;
    }
}

/// The order of the host: any thread may be next.
pub struct AnyOrder;

impl Order for AnyOrder {
    type Seat = ();

    const ANY_IS_NEXT: bool = true;

    fn is_next(&self, (): &()) -> bool {
        true
    }
}

/// A thread that runs only while it is resumed. Each time that it suspends itself it says why, with a value of `Y`.
///
/// The thread that resumes it waits meanwhile, so of the two always one runs. A coroutine that is not over waits for ever when it
/// is resumed no more: its owner ends it.
pub struct Coroutine<Y> {
    turns: Turns<Directed<Y>>,
}

/// The order of a coroutine: whichever of the two has the other's leave.
struct Directed<Y> {
    next: Side,
    /// What the coroutine said last.
    said: Y,
}

/// One of the two threads of a coroutine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Director,
    Coroutine,
}

impl<Y> Order for Directed<Y> {
    type Seat = Side;

    fn is_next(&self, seat: &Side) -> bool {
        self.next == *seat
    }
}

impl<Y: Copy> Coroutine<Y> {
    /// A coroutine that has not begun. [`Coroutine::last`] is `said` until it says something itself.
    pub fn new(said: Y) -> Coroutine<Y> {
        let turns = Turns::new(Directed { next: Side::Director, said });
        turns.take(&Side::Director);
        Coroutine { turns }
    }

    /// On any other thread, one at a time: lets the coroutine run until it suspends itself or is over. Returns what it said.
    pub fn resume(&self) -> Y {
        self.turns.hand_over(&Side::Director, |order| order.next = Side::Coroutine);
        self.last()
    }

    /// On the coroutine's thread, at its beginning: waits until it is resumed.
    pub fn begin(&self) {
        self.turns.take(&Side::Coroutine);
    }

    /// On the coroutine's thread: lets the thread that resumed it go on, and waits until it is resumed again.
    pub fn suspend(&self, said: Y) {
        self.turns.hand_over(&Side::Coroutine, |order| *order = Directed { next: Side::Director, said });
    }

    /// On the coroutine's thread, at its end, after which it must not be resumed: lets the thread that resumed it go on.
    pub fn end(&self, said: Y) {
        self.turns.give_back(|order| *order = Directed { next: Side::Director, said });
    }

    /// What the coroutine said last.
    pub fn last(&self) -> Y {
        self.turns.look(|order| order.said)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    /// Seats that take turns one after the other.
    struct RoundRobin {
        next: usize,
        of: usize,
    }

    impl Order for RoundRobin {
        type Seat = usize;

        fn is_next(&self, seat: &usize) -> bool {
            self.next == *seat
        }
    }

    #[test]
    fn an_order_says_which_thread_is_next() {
        let seen = Mutex::new(Vec::new());
        let turns = Turns::new(RoundRobin { next: 1, of: 3 });
        thread::scope(|scope| {
            for seat in 0..3 {
                let (turns, seen) = (&turns, &seen);
                scope.spawn(move || {
                    for _ in 0..3 {
                        turns.take(&seat);
                        seen.lock().push(seat);
                        turns.give_back(|order| order.next = (order.next + 1) % order.of);
                    }
                });
            }
        });
        assert_eq!(*seen.lock(), [1, 2, 0, 1, 2, 0, 1, 2, 0]);
        assert!(!turns.is_wanted());
    }

    #[test]
    fn a_coroutine_runs_only_while_it_is_resumed() {
        let coroutine = Arc::new(Coroutine::new(0));
        let steps = Arc::new(Mutex::new(Vec::new()));
        let thread = thread::spawn({
            let (coroutine, steps) = (coroutine.clone(), steps.clone());
            move || {
                coroutine.begin();
                steps.lock().push("first");
                coroutine.suspend(1);
                steps.lock().push("second");
                coroutine.end(2);
            }
        });
        assert!(steps.lock().is_empty());
        assert_eq!((coroutine.last(), coroutine.resume()), (0, 1));
        assert_eq!(*steps.lock(), ["first"]);
        assert_eq!((coroutine.last(), coroutine.resume()), (1, 2));
        assert_eq!(*steps.lock(), ["first", "second"]);
        thread.join().unwrap();
    }
}
