//! The executor: tasks of the simulated kernel, and which of them runs next.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use pin_project_lite::pin_project;

use crate::{Rng, Runtime};

/// Names a task within one machine, in order of spawning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskId(pub u64);

/// Picks the task that runs next.
pub trait Scheduler: Send {
    /// An index into `ready`, which is never empty and lists runnable tasks in the order they became so.
    /// An index beyond its end counts as the last.
    fn pick(&mut self, ready: &[(TaskId, &'static str)]) -> usize;

    /// Whether [`Scheduler::pick`] would always say 0: then the list is not even built.
    fn is_fifo(&self) -> bool {
        false
    }
}

/// First runnable, first run.
pub struct Fifo;

impl Scheduler for Fifo {
    fn pick(&mut self, _ready: &[(TaskId, &'static str)]) -> usize {
        0
    }

    fn is_fifo(&self) -> bool {
        true
    }
}

/// Any runnable task, drawn from a seeded stream: another seed, another interleaving.
pub struct SeededScheduler(pub Rng);

impl Scheduler for SeededScheduler {
    fn pick(&mut self, ready: &[(TaskId, &'static str)]) -> usize {
        self.0.below(ready.len() as u64) as usize
    }
}

/// A spawned task. Await it for its result; dropping it cancels it.
pub struct Task<T>(async_task::Task<T>);

impl<T> Task<T> {
    /// Lets the task run to its end without a waiter.
    pub fn detach(self) {
        self.0.detach();
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(context)
    }
}

struct Ready {
    id: TaskId,
    name: &'static str,
    runnable: async_task::Runnable,
}

/// The tasks that have not ended, each at a place of its own.
#[derive(Default)]
struct Unended {
    wakers: Vec<Option<Waker>>,
    /// Places that are free again.
    free: Vec<usize>,
}

impl Unended {
    fn reserve(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.wakers.push(None);
            self.wakers.len() - 1
        })
    }
}

pin_project! {
    /// A task's future, which takes itself off the list when it has ended or is cancelled.
    struct Listed<F> {
        #[pin]
        future: F,
        place: Place,
    }
}

impl<F: Future> Future for Listed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(context)
    }
}

struct Place {
    unended: Arc<Mutex<Unended>>,
    index: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut unended = self.unended.lock();
        let waker = unended.wakers[self.index].take();
        unended.free.push(self.index);
        drop(unended);
        // Without the lock: it may be the last that holds the task.
        drop(waker);
    }
}

pub(crate) struct Executor {
    ready: Mutex<VecDeque<Ready>>,
    scheduler: Mutex<Box<dyn Scheduler>>,
    next_id: AtomicU64,
    unended: Arc<Mutex<Unended>>,
    /// The machine is gone: nothing becomes runnable any more.
    is_closed: AtomicBool,
}

impl Executor {
    pub(crate) fn new(scheduler: Box<dyn Scheduler>) -> Executor {
        Executor {
            ready: Mutex::default(),
            scheduler: Mutex::new(scheduler),
            next_id: AtomicU64::new(0),
            unended: Arc::default(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Cancels every task, now and from here on. A task holds parts of the machine, and what it waits for holds the task:
    /// nothing of that would ever be freed, and the bios in its hands would never end.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        // Dropped without the lock: a task that ends may wake others, which ends them, too.
        let ready = std::mem::take(&mut *self.ready.lock());
        drop(ready);
        let waiting: Vec<Waker> = self.unended.lock().wakers.iter().flatten().cloned().collect();
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    pub(crate) fn set_scheduler(&self, scheduler: Box<dyn Scheduler>) {
        *self.scheduler.lock() = scheduler;
    }

    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        runtime: &Arc<Runtime>,
        name: &'static str,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        let id = TaskId(self.next_id.fetch_add(1, Ordering::Relaxed));
        // A task that is still waiting when the machine goes away must not keep it alive.
        let runtime = Arc::downgrade(runtime);
        let schedule = move |runnable| {
            if let Some(runtime) = runtime.upgrade()
                && !runtime.executor.is_closed()
            {
                runtime.executor.ready.lock().push_back(Ready { id, name, runnable });
                runtime.kick();
            }
        };
        let index = self.unended.lock().reserve();
        let place = Place { unended: self.unended.clone(), index };
        let (runnable, task) = async_task::spawn(Listed { future, place }, schedule);
        self.unended.lock().wakers[index] = Some(runnable.waker());
        runnable.schedule();
        Task(task)
    }

    pub(crate) fn run_one(&self) -> bool {
        let next = {
            let mut ready = self.ready.lock();
            if ready.is_empty() {
                return false;
            }
            let mut scheduler = self.scheduler.lock();
            if scheduler.is_fifo() {
                ready.pop_front()
            } else {
                let names: Vec<_> = ready.iter().map(|r| (r.id, r.name)).collect();
                let picked = scheduler.pick(&names).min(names.len() - 1);
                ready.remove(picked)
            }
        };
        if let Some(next) = next {
            next.runnable.run();
        }
        true
    }
}

/// Jobs done one after the other, in the order they were queued (the kernel's ordered work queue).
pub struct WorkQueue {
    name: &'static str,
    jobs: Arc<Mutex<Jobs>>,
}

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Default)]
struct Jobs {
    queue: VecDeque<Job>,
    is_running: bool,
}

impl WorkQueue {
    /// An empty queue.
    pub fn new(name: &'static str) -> WorkQueue {
        WorkQueue { name, jobs: Arc::default() }
    }

    /// Queues `job`; it runs as a task of `runtime` after all that were queued before.
    pub fn queue(&self, runtime: &Arc<Runtime>, job: impl Future<Output = ()> + Send + 'static) {
        let mut jobs = self.jobs.lock();
        jobs.queue.push_back(Box::pin(job));
        if jobs.is_running {
            return;
        }
        jobs.is_running = true;
        let shared = self.jobs.clone();
        runtime
            .spawn(self.name, async move {
                loop {
                    let job = {
                        let mut jobs = shared.lock();
                        match jobs.queue.pop_front() {
                            Some(job) => job,
                            None => {
                                jobs.is_running = false;
                                return;
                            }
                        }
                    };
                    job.await;
                }
            })
            .detach();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Stream, VirtualDriver, WaitQueue};
    use std::time::Duration;

    fn runtime() -> Arc<Runtime> {
        Runtime::new(7, VirtualDriver::new())
    }

    #[test]
    fn tasks_run_in_order_and_return() {
        let runtime = runtime();
        let log = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..3)
            .map(|i| {
                let log = log.clone();
                runtime.spawn("t", async move {
                    log.lock().push(i);
                    i * 2
                })
            })
            .collect();
        let mut sum = 0;
        for task in tasks {
            sum += runtime.block_on(task).unwrap();
        }
        assert_eq!((sum, log.lock().clone()), (6, vec![0, 1, 2]));
    }

    #[test]
    fn a_runtime_that_is_shut_down_keeps_no_task() {
        let runtime = runtime();
        let held = Arc::new(());
        for _ in 0..2 {
            let (held, own) = (held.clone(), runtime.clone());
            runtime.spawn("holds its own runtime", async move { drop((held, own)) }).detach();
            runtime.shut_down();
        }
        assert_eq!((Arc::strong_count(&held), Arc::strong_count(&runtime)), (1, 1));
    }

    #[test]
    fn a_runtime_that_is_shut_down_cancels_what_waits() {
        let runtime = runtime();
        let held = Arc::new(WaitQueue::default());
        for _ in 0..2 {
            // What it waits for holds the task, and the task what it waits for.
            let (queue, own) = (held.clone(), runtime.clone());
            runtime.spawn("waits", async move { drop((queue.until(|| false).await, own)) }).detach();
        }
        let (queue, own) = (held.clone(), runtime.clone());
        let sleeps = async move { drop((own.sleep(Duration::from_secs(1)).await, queue)) };
        runtime.spawn("sleeps", sleeps).detach();
        runtime.run_until_idle();
        assert_eq!((Arc::strong_count(&held), runtime.executor.unended.lock().wakers.len()), (4, 3));
        runtime.shut_down();
        assert_eq!((Arc::strong_count(&held), Arc::strong_count(&runtime)), (1, 1));
    }

    #[test]
    fn ended_tasks_are_forgotten() {
        let runtime = runtime();
        for _ in 0..10 {
            runtime.spawn("t", async {}).detach();
            drop(runtime.spawn("cancelled", async {}));
            runtime.run_until_idle();
        }
        assert!(runtime.executor.unended.lock().wakers.len() <= 2);
        assert!(runtime.executor.unended.lock().wakers.iter().all(Option::is_none));
    }

    #[test]
    fn a_seeded_schedule_repeats() {
        let order = |seed| {
            let runtime = runtime();
            runtime.set_scheduler(Box::new(SeededScheduler(Rng::new(seed, Stream::Scheduling))));
            let log = Arc::new(Mutex::new(Vec::new()));
            for i in 0..20 {
                let log = log.clone();
                runtime.spawn("t", async move { log.lock().push(i) }).detach();
            }
            runtime.run_until_idle();
            log.lock().clone()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }

    #[test]
    fn a_work_queue_is_ordered_even_when_jobs_sleep() {
        let runtime = runtime();
        let queue = WorkQueue::new("q");
        let log = Arc::new(Mutex::new(Vec::new()));
        for i in 0..3u64 {
            let (log, rt) = (log.clone(), runtime.clone());
            queue.queue(&runtime, async move {
                rt.sleep(Duration::from_secs(3 - i)).await;
                log.lock().push(i);
            });
        }
        runtime.block_on(runtime.sleep(Duration::from_secs(10))).unwrap();
        assert_eq!(*log.lock(), [0, 1, 2]);
    }
}
