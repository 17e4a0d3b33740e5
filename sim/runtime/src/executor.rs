//! Tasks of the simulated kernel, and who goes next.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use parking_lot::Mutex;

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
    /// Lets the task run to its end with nobody waiting for it.
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

pub(crate) struct Executor {
    ready: Mutex<VecDeque<Ready>>,
    scheduler: Mutex<Box<dyn Scheduler>>,
    next_id: AtomicU64,
    /// The machine is gone: nothing becomes runnable any more.
    is_closed: AtomicBool,
}

impl Executor {
    pub(crate) fn new(scheduler: Box<dyn Scheduler>) -> Executor {
        Executor {
            ready: Mutex::default(),
            scheduler: Mutex::new(scheduler),
            next_id: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Cancels what is runnable, now and from here on. Such tasks hold parts of the machine that hold this queue: none
    /// of it would ever be freed.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        loop {
            // Dropped without the lock: a task that ends may make others runnable.
            let ready = std::mem::take(&mut *self.ready.lock());
            if ready.is_empty() {
                return;
            }
        }
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
                && !runtime.executor.is_closed.load(Ordering::Acquire)
            {
                runtime.executor.ready.lock().push_back(Ready { id, name, runnable });
                runtime.kick();
            }
        };
        let (runnable, task) = async_task::spawn(future, schedule);
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
    use crate::{Stream, VirtualDriver};
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
