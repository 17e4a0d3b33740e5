//! Work that a task does, pass by pass, for as long as there is some.

use std::future::Future;
use std::sync::Arc;

use dmlab_runtime::{Instant, Runtime, WaitQueue};
use parking_lot::Mutex;

/// What has a worker, and what is done in a pass of it.
pub trait Work: Send + Sync + 'static {
    /// The worker.
    fn worker(&self) -> &Worker;

    /// Does all that is queued.
    fn pass(self: &Arc<Self>) -> impl Future<Output = ()> + Send;

    /// When a pass is due though none is asked for. The worker looks at this after each pass and when that time has come.
    fn next_pass(&self) -> Option<Instant> {
        None
    }
}

/// A target's work item (`struct work_struct`, or `struct delayed_work`, on a queue of the target's own). It is *kicked* when there is
/// something to do; then a task makes a pass, and another if it was kicked meanwhile. However often it is kicked before a
/// pass, one pass answers all.
pub struct Worker {
    runtime: Arc<Runtime>,
    name: &'static str,
    progress: Mutex<Progress>,
    /// Moves when a pass is asked for, or none is to come any more.
    work: WaitQueue,
    /// Moves when the worker has become idle.
    idle: WaitQueue,
}

#[derive(Default)]
struct Progress {
    /// A pass is asked for.
    is_pending: bool,
    /// A pass is under way.
    is_in_pass: bool,
    /// There is a task.
    has_task: bool,
    is_stopped: bool,
}

impl Worker {
    /// A worker without work, whose task is called `name`.
    pub fn new(runtime: Arc<Runtime>, name: &'static str) -> Worker {
        let (work, idle) = (WaitQueue::default(), WaitQueue::default());
        Worker { runtime, name, progress: Mutex::default(), work, idle }
    }

    /// Asks for a pass over what `owner` has queued before (`queue_work`). The task holds the owner for as long as there is a task.
    pub fn kick<W: Work>(owner: &Arc<W>) {
        let worker = owner.worker();
        let has_task = {
            let mut progress = worker.progress.lock();
            if progress.is_stopped {
                return;
            }
            progress.is_pending = true;
            std::mem::replace(&mut progress.has_task, true)
        };
        if has_task {
            worker.work.wake_all();
        } else {
            worker.runtime.spawn(worker.name, run(owner.clone())).detach();
        }
    }

    /// Ends the task; from here on kicks do nothing. A pass that is under way comes to its end.
    pub fn stop(&self) {
        self.progress.lock().is_stopped = true;
        self.work.wake_all();
    }

    /// Whether the worker was stopped.
    pub fn is_stopped(&self) -> bool {
        self.progress.lock().is_stopped
    }

    /// Ends when no pass is under way or asked for (`flush_work`).
    pub async fn until_idle(&self) {
        self.until_idle_and(|| true).await;
    }

    /// Ends when no pass is under way or asked for, and `is_done` says that none is to come: it is asked whenever the worker becomes
    /// idle.
    pub async fn until_idle_and(&self, is_done: impl Fn() -> bool) {
        let is_idle = || {
            let progress = self.progress.lock();
            !progress.is_pending && !progress.is_in_pass
        };
        self.idle.until(|| is_idle() && is_done()).await;
    }

    /// What the task does next, if it does not end.
    fn next(&self, due: Option<Instant>) -> Option<Next> {
        let mut progress = self.progress.lock();
        if progress.is_stopped || !progress.is_pending && due.is_none() {
            progress.has_task = false;
            return None;
        }
        let is_due = due.is_some_and(|due| due <= self.runtime.now());
        progress.is_in_pass = std::mem::take(&mut progress.is_pending) || is_due;
        Some(if progress.is_in_pass { Next::Pass } else { Next::Sleep })
    }

    fn end_pass(&self) {
        let is_idle = {
            let mut progress = self.progress.lock();
            progress.is_in_pass = false;
            !progress.is_pending
        };
        if is_idle {
            self.idle.wake_all();
        }
    }

    /// Ends when a pass is asked for, at `due`, or when the worker is stopped.
    async fn sleep(&self, due: Option<Instant>) {
        let is_called = || {
            let progress = self.progress.lock();
            progress.is_pending || progress.is_stopped
        };
        self.work.until_deadline(&self.runtime, due, is_called).await;
    }
}

enum Next {
    Pass,
    Sleep,
}

async fn run<W: Work>(owner: Arc<W>) {
    let worker = owner.worker();
    loop {
        let due = owner.next_pass();
        match worker.next(due) {
            None => return,
            Some(Next::Pass) => {
                owner.pass().await;
                worker.end_pass();
            }
            Some(Next::Sleep) => worker.sleep(due).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dmlab_runtime::VirtualDriver;

    use super::*;

    struct Owner {
        worker: Worker,
        queue: Mutex<Vec<u32>>,
        passes: Mutex<Vec<Vec<u32>>>,
        due: Mutex<Option<Instant>>,
    }

    impl Owner {
        fn new() -> (Arc<Runtime>, Arc<Owner>) {
            let runtime = Runtime::new(0, VirtualDriver::new());
            let worker = Worker::new(runtime.clone(), "worker");
            let (queue, passes, due) = (Mutex::default(), Mutex::default(), Mutex::default());
            (runtime, Arc::new(Owner { worker, queue, passes, due }))
        }

        fn push(self: &Arc<Self>, job: u32) {
            self.queue.lock().push(job);
            Worker::kick(self);
        }
    }

    impl Work for Owner {
        fn worker(&self) -> &Worker {
            &self.worker
        }

        async fn pass(self: &Arc<Self>) {
            let jobs = std::mem::take(&mut *self.queue.lock());
            self.passes.lock().push(jobs);
            self.due.lock().take_if(|due| *due <= self.worker.runtime.now());
            self.worker.runtime.sleep(Duration::from_secs(1)).await;
        }

        fn next_pass(&self) -> Option<Instant> {
            *self.due.lock()
        }
    }

    #[test]
    fn what_comes_during_a_pass_has_one_of_its_own() {
        let (runtime, owner) = Owner::new();
        runtime.block_on(owner.worker.until_idle()).unwrap();
        owner.push(1);
        owner.push(2);
        runtime.run_until_idle();
        owner.push(3);
        owner.push(4);
        assert_eq!(*owner.passes.lock(), [[1, 2]]);
        runtime.block_on(owner.worker.until_idle()).unwrap();
        assert_eq!(*owner.passes.lock(), [[1, 2], [3, 4]]);
        owner.push(5);
        runtime.block_on(owner.worker.until_idle_and(|| owner.queue.lock().is_empty())).unwrap();
        assert_eq!(owner.passes.lock().len(), 3);
        runtime.run_until_idle();
        assert_eq!(Arc::strong_count(&owner), 1, "there is no task without work");
    }

    #[test]
    fn a_pass_that_is_due_comes_by_itself_and_a_stop_ends_the_wait_for_it() {
        let (runtime, owner) = Owner::new();
        let begin = runtime.now();
        *owner.due.lock() = Some(begin + Duration::from_secs(10));
        owner.push(1);
        runtime.block_on(runtime.sleep(Duration::from_secs(9))).unwrap();
        assert_eq!(owner.passes.lock().len(), 1);
        runtime.block_on(runtime.sleep(Duration::from_secs(2))).unwrap();
        assert_eq!(*owner.passes.lock(), [vec![1], vec![]]);
        runtime.run_until_idle();
        assert_eq!(Arc::strong_count(&owner), 1);
        *owner.due.lock() = Some(begin + Duration::from_secs(100));
        owner.push(2);
        runtime.block_on(owner.worker.until_idle()).unwrap();
        assert_eq!(Arc::strong_count(&owner), 2, "the task waits for the pass that is due");
        owner.worker.stop();
        runtime.run_until_idle();
        owner.push(3);
        assert_eq!((Arc::strong_count(&owner), owner.passes.lock().len()), (1, 3));
    }
}
