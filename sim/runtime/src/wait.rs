//! Waiting for a condition, as the kernel's wait queues do it, and being interrupted.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex as Lock;

use crate::{Instant, Runtime};

/// A wait queue: the tasks that wait for something to change.
///
/// Change the state first, then call [`WaitQueue::wake_all`]: each waiter looks at its condition again.
#[derive(Default)]
pub struct WaitQueue {
    waiters: Lock<Waiters>,
}

#[derive(Default)]
struct Waiters {
    wakers: Vec<(u64, Waker)>,
    next_id: u64,
}

impl WaitQueue {
    /// Makes every waiter look again, in the order they came.
    pub fn wake_all(&self) {
        let wakers = std::mem::take(&mut self.waiters.lock().wakers);
        for (_, waker) in wakers {
            waker.wake();
        }
    }

    /// Ends when `condition` gives a value; it is asked now and after each [`WaitQueue::wake_all`].
    pub fn wait<T, C: FnMut() -> Option<T>>(&self, condition: C) -> Wait<'_, C> {
        Wait { queue: self, condition, id: None }
    }

    /// Ends when `condition` holds.
    pub async fn until(&self, mut condition: impl FnMut() -> bool) {
        self.wait(|| condition().then_some(())).await;
    }

    /// Ends when `condition` holds, or at `deadline` if there is one.
    pub async fn until_deadline(
        &self,
        runtime: &Arc<Runtime>,
        deadline: Option<Instant>,
        condition: impl FnMut() -> bool,
    ) {
        let mut holds = pin!(self.until(condition));
        let mut sleep = deadline.map(|deadline| runtime.sleep_until(deadline));
        std::future::poll_fn(|context| {
            if holds.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            match &mut sleep {
                Some(sleep) => Pin::new(sleep).poll(context),
                None => Poll::Pending,
            }
        })
        .await;
    }
}

/// The future of [`WaitQueue::wait`].
pub struct Wait<'a, C> {
    queue: &'a WaitQueue,
    condition: C,
    id: Option<u64>,
}

// The condition is only called, never pinned.
impl<C> Unpin for Wait<'_, C> {}

impl<T, C: FnMut() -> Option<T>> Future for Wait<'_, C> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if let Some(value) = (self.condition)() {
            return Poll::Ready(value);
        }
        {
            let mut waiters = self.queue.waiters.lock();
            let id = match self.id {
                Some(id) => id,
                None => {
                    waiters.next_id += 1;
                    waiters.next_id
                }
            };
            waiters.wakers.retain(|(other, _)| *other != id);
            waiters.wakers.push((id, context.waker().clone()));
            self.id = Some(id);
        }
        // The condition may have come true between the first look and the registration.
        match (self.condition)() {
            Some(value) => Poll::Ready(value),
            None => Poll::Pending,
        }
    }
}

impl<C> Drop for Wait<'_, C> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.queue.waiters.lock().wakers.retain(|(other, _)| *other != id);
        }
    }
}

/// A lock that may be held across an await: for the long operations of the kernel, such as a suspend.
pub struct Mutex<T> {
    /// Boxed, so that taking it moves a pointer and not the value.
    value: Lock<Option<Box<T>>>,
    queue: WaitQueue,
}

impl<T> Mutex<T> {
    /// An unlocked lock around `value`.
    pub fn new(value: T) -> Mutex<T> {
        Mutex { value: Lock::new(Some(Box::new(value))), queue: WaitQueue::default() }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let value = self.value.lock().take()?;
        Some(MutexGuard { mutex: self, value: Some(value) })
    }

    /// Takes the lock, waiting for it if it is held.
    pub async fn lock(&self) -> MutexGuard<'_, T> {
        let value = self.queue.wait(|| self.value.lock().take()).await;
        MutexGuard { mutex: self, value: Some(value) }
    }
}

/// Holds a [`Mutex`] locked.
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    value: Option<Box<T>>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value.as_ref().expect("a guard holds its value until it is dropped")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("a guard holds its value until it is dropped")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        *self.mutex.value.lock() = self.value.take();
        self.mutex.queue.wake_all();
    }
}

/// A signal that may arrive for a caller inside the kernel.
#[derive(Clone, Default)]
pub struct Interrupt {
    state: Arc<InterruptState>,
}

#[derive(Default)]
struct InterruptState {
    is_raised: AtomicBool,
    queue: WaitQueue,
}

impl Interrupt {
    /// Interrupts the caller's interruptible wait, now or when it comes to one.
    pub fn raise(&self) {
        self.state.is_raised.store(true, Ordering::Release);
        self.state.queue.wake_all();
    }

    /// Forgets a signal that was not delivered.
    pub fn clear(&self) {
        self.state.is_raised.store(false, Ordering::Release);
    }

    /// Whether a signal is pending.
    pub fn is_raised(&self) -> bool {
        self.state.is_raised.load(Ordering::Acquire)
    }
}

/// A signal ended the wait; the caller gets EINTR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

/// Waits for `future`, or for a signal if the caller can get one. What is ready at once wins over a pending signal.
///
/// # Errors
/// [`Interrupted`].
pub async fn interruptible<F: Future>(
    interrupt: Option<&Interrupt>,
    future: F,
) -> Result<F::Output, Interrupted> {
    let Some(interrupt) = interrupt else { return Ok(future.await) };
    let mut future = pin!(future);
    let mut signal = interrupt.state.queue.wait(|| interrupt.is_raised().then_some(()));
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut signal).poll(context).map(|()| Err(Interrupted))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VirtualDriver;
    use std::time::Duration;

    #[test]
    fn waiters_see_a_change() {
        let runtime = Runtime::new(0, VirtualDriver::new());
        let queue = Arc::new(WaitQueue::default());
        let flag = Arc::new(AtomicBool::new(false));
        let (q, f, rt) = (queue.clone(), flag.clone(), runtime.clone());
        runtime
            .spawn("setter", async move {
                rt.sleep(Duration::from_secs(1)).await;
                f.store(true, Ordering::Release);
                q.wake_all();
            })
            .detach();
        runtime.block_on(queue.until(|| flag.load(Ordering::Acquire))).unwrap();
        assert_eq!(runtime.now().as_nanos(), 1_000_000_000);
    }

    #[test]
    fn a_signal_ends_a_wait() {
        let runtime = Runtime::new(0, VirtualDriver::new());
        let interrupt = Interrupt::default();
        let (signal, rt) = (interrupt.clone(), runtime.clone());
        runtime
            .spawn("signal", async move {
                rt.sleep(Duration::from_secs(1)).await;
                signal.raise();
            })
            .detach();
        let waited = interruptible(Some(&interrupt), std::future::pending::<()>());
        assert_eq!(runtime.block_on(waited), Ok(Err(Interrupted)));
        assert_eq!(runtime.block_on(interruptible(Some(&interrupt), async { 5 })), Ok(Ok(5)));
    }

    #[test]
    fn a_lock_is_handed_on() {
        let runtime = Runtime::new(0, VirtualDriver::new());
        let lock = Arc::new(Mutex::new(0));
        for _ in 0..10 {
            let (lock, rt) = (lock.clone(), runtime.clone());
            runtime
                .spawn("adder", async move {
                    let mut value = lock.lock().await;
                    let seen = *value;
                    rt.sleep(Duration::from_millis(1)).await;
                    *value = seen + 1;
                })
                .detach();
        }
        runtime.block_on(runtime.sleep(Duration::from_secs(1))).unwrap();
        assert_eq!(*runtime.block_on(lock.lock()).unwrap(), 10);
    }
}
