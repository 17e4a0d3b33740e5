//! Clients that take turns: several programs on one lab, in an order that the lab's scheduler decides.
//!
//! Each client is a thread, but only one thread of a lab runs at any time. To the kernel's scheduler a client is a task like any
//! other. When it is picked, its thread gets the turn and keeps it until it waits for something or comes to a system call
//! (an ioctl, an open). So a run with clients is a function of its seed, and [`Schedules`](crate::Schedules) can look for the
//! order in which they go wrong.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use dmlab_driver::Coroutine;
use dmlab_machine::{Driver, Instant, Runtime, Stalled, VirtualDriver, WakeFlag};
use parking_lot::Mutex;

use crate::Lab;

/// Virtual time, and turns for the threads of clients.
pub(crate) struct TurnsDriver {
    time: Arc<VirtualDriver>,
}

impl TurnsDriver {
    pub(crate) fn starting_at(now: Instant) -> Arc<TurnsDriver> {
        Arc::new(TurnsDriver { time: VirtualDriver::starting_at(now) })
    }

    pub(crate) fn virtual_time(&self) -> &VirtualDriver {
        &self.time
    }
}

impl Driver for TurnsDriver {
    fn now(&self) -> Instant {
        self.time.now()
    }

    fn kick(&self) {}

    fn wake_flag(&self) -> Arc<WakeFlag> {
        match this_client() {
            Some(turn) => WakeFlag::new(move || turn.wake()),
            None => self.time.wake_flag(),
        }
    }

    fn wait(&self, runtime: &Runtime, flag: &WakeFlag) -> Result<(), Stalled> {
        let Some(turn) = this_client() else { return self.time.wait(runtime, flag) };
        while !flag.take() {
            turn.coroutine.suspend(Stop::Waits);
            if turn.wakes.lock().is_hopeless {
                return Err(Stalled);
            }
        }
        Ok(())
    }
}

thread_local! {
    static CLIENT: RefCell<Option<Arc<Turn>>> = const { RefCell::new(None) };
}

fn this_client() -> Option<Arc<Turn>> {
    CLIENT.with(|client| client.borrow().clone())
}

/// Where another may go first: a client that is about to make a system call lets the scheduler decide. Nothing for any
/// other thread.
pub(crate) fn pass() {
    if let Some(turn) = this_client() {
        turn.wake();
        turn.coroutine.suspend(Stop::Passes);
    }
}

/// Why a client does not run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// It lets others go first.
    Passes,
    /// It waits.
    Waits,
    /// It is done, or has panicked.
    Over,
}

/// The turn of one client: a coroutine that a task of the kernel's scheduler resumes.
struct Turn {
    coroutine: Coroutine<Stop>,
    wakes: Mutex<Wakes>,
}

/// What makes the client's task runnable.
#[derive(Default)]
struct Wakes {
    waker: Option<Waker>,
    was_woken: bool,
    is_hopeless: bool,
}

impl Turn {
    fn new() -> Arc<Turn> {
        Arc::new(Turn { coroutine: Coroutine::new(Stop::Passes), wakes: Mutex::default() })
    }

    /// Makes the client's task runnable, now or as soon as it has been told how.
    fn wake(&self) {
        let waker = {
            let mut wakes = self.wakes.lock();
            wakes.was_woken = true;
            wakes.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// In the client's task: lets the client run until it stops.
    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut wakes = self.wakes.lock();
            wakes.waker = Some(context.waker().clone());
            wakes.was_woken = false;
        }
        if self.coroutine.last() == Stop::Over || self.coroutine.resume() == Stop::Over {
            return Poll::Ready(());
        }
        // It may have been woken while it ran, before it waited.
        if self.wakes.lock().was_woken {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// A program of a test: a name, and what it does with the lab.
pub struct Client<'a> {
    name: String,
    work: Box<dyn FnOnce(&Lab) + Send + 'a>,
}

impl<'a> Client<'a> {
    /// A client called `name`.
    pub fn new(name: &str, work: impl FnOnce(&Lab) + Send + 'a) -> Client<'a> {
        Client { name: name.to_owned(), work: Box::new(work) }
    }
}

/// Clients that wait for what never happens. The calls they were in returned EDEADLK.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody can go on: {} waits for ever", waiting.join(", "))]
pub struct Deadlock {
    /// Their names.
    pub waiting: Vec<String>,
}

impl Lab {
    /// Runs clients side by side until all are done. Which goes first whenever one could wait is the scheduler's to decide:
    /// first come, first served, unless the lab is [shuffled](crate::LabBuilder::shuffled).
    ///
    /// ```
    /// use dmlab::{Client, Lab};
    ///
    /// let lab = Lab::new(1);
    /// lab.run_clients([
    ///     Client::new("maker", |lab| { lab.create("a", "0 8 zero").unwrap(); }),
    ///     Client::new("looker", |lab| { lab.tree(); }),
    /// ])?;
    /// # Ok::<(), dmlab::Deadlock>(())
    /// ```
    ///
    /// # Errors
    /// [`Deadlock`].
    ///
    /// # Panics
    /// When a client does.
    pub fn run_clients<'a>(&self, clients: impl IntoIterator<Item = Client<'a>>) -> Result<(), Deadlock> {
        let clients: Vec<Client<'a>> = clients.into_iter().collect();
        std::thread::scope(|scope| {
            let mut turns: Vec<(String, Arc<Turn>)> = Vec::new();
            let mut tasks = Vec::new();
            let mut threads = Vec::new();
            for client in clients {
                let turn = Turn::new();
                turns.push((client.name.clone(), turn.clone()));
                let at_task = turn.clone();
                let task = async move { poll_fn(|context| at_task.poll(context)).await };
                tasks.push(self.machine().runtime().spawn("client", task));
                let thread = std::thread::Builder::new().name(client.name).spawn_scoped(scope, move || {
                    CLIENT.with(|here| *here.borrow_mut() = Some(turn.clone()));
                    // However it ends, the others must hear of it.
                    struct AtEnd(Arc<Turn>);
                    impl Drop for AtEnd {
                        fn drop(&mut self) {
                            self.0.coroutine.end(Stop::Over);
                        }
                    }
                    let _at_end = AtEnd(turn.clone());
                    turn.coroutine.begin();
                    (client.work)(self);
                });
                threads.push(thread.expect("the host has room for one more thread"));
            }
            let mut deadlock = None;
            for task in tasks {
                let mut task = task;
                // Each time no client can go on, those that wait are told, and may still do something about it.
                while self.machine().runtime().block_on(&mut task).is_err() {
                    let waiting: Vec<String> = turns
                        .iter()
                        .filter(|(_, turn)| turn.coroutine.last() == Stop::Waits)
                        .map(|(name, _)| name.clone())
                        .collect();
                    deadlock.get_or_insert(Deadlock { waiting });
                    for (_, turn) in &turns {
                        turn.wakes.lock().is_hopeless = true;
                        turn.wake();
                    }
                }
            }
            for thread in threads {
                if let Err(panic) = thread.join() {
                    std::panic::resume_unwind(panic);
                }
            }
            deadlock.map_or(Ok(()), Err)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OrErrno;
    use dmlab_units::{Errno, Sector, Sectors};

    #[test]
    fn clients_go_on_when_others_help_them() {
        let lab = Lab::new(1);
        lab.create("a", "0 8 linear /dev/ram0 0").unwrap();
        lab.suspend("a").unwrap();
        let result = lab.run_clients([
            Client::new("writer", |lab: &Lab| {
                lab.write("/dev/mapper/a", Sector(0), &[7; 512]).unwrap();
            }),
            Client::new("helper", |lab: &Lab| lab.resume("a").unwrap()),
        ]);
        assert_eq!(result, Ok(()));
        assert_eq!(lab.read("/dev/ram0", Sector(0), Sectors(1)).or_errno(), Ok(vec![7; 512]));
    }

    #[test]
    fn who_waits_for_ever_is_named() {
        let lab = Lab::new(1);
        lab.create("a", "0 8 linear /dev/ram0 0").unwrap();
        lab.suspend("a").unwrap();
        let result = lab.run_clients([
            Client::new("reader", |lab: &Lab| {
                assert_eq!(lab.read("/dev/mapper/a", Sector(0), Sectors(1)).or_errno(), Err(Errno::EDEADLK));
            }),
            Client::new("other", |lab: &Lab| assert!(lab.info("a").is_ok())),
        ]);
        assert_eq!(result, Err(Deadlock { waiting: vec!["reader".into()] }));
    }

    #[test]
    fn each_seed_has_its_order_and_keeps_it() {
        let order = |seed: u64| {
            let lab = Lab::builder(seed).shuffled().boot().unwrap();
            let seen = Mutex::new(String::new());
            let note = |letter: char| {
                let seen = &seen;
                Client::new("noter", move |lab: &Lab| {
                    for _ in 0..3 {
                        lab.tree();
                        seen.lock().push(letter);
                    }
                })
            };
            lab.run_clients([note('a'), note('b'), note('c')]).unwrap();
            seen.into_inner()
        };
        let orders: std::collections::BTreeSet<String> = (0..20).map(order).collect();
        assert!(orders.len() > 10, "{orders:?}");
        assert!((0..20).all(|seed| order(seed) == order(seed)));
    }
}
