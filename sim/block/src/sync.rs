//! Waiting for bios: for a caller that blocks, and for a task.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use dmlab_runtime::Stalled;
use dmlab_units::{Errno, Sector, Sectors};
use parking_lot::Mutex;

use crate::bio::Frame;
use crate::{Bio, BlkStatus, BlockDevice, Part, submit};

/// Hears the end of one bio.
#[derive(Default)]
pub(crate) struct Waiter {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    done: Option<(BlkStatus, Vec<Part>)>,
    /// Room for frames, empty, for the next bio.
    room: Vec<Frame>,
    waker: Option<Waker>,
}

impl Waiter {
    pub(crate) fn finish(&self, status: BlkStatus, parts: Vec<Part>, room: Vec<Frame>) {
        let waker = {
            let mut state = self.state.lock();
            state.room = room;
            state.done = Some((status, parts));
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn take(&self) -> Option<(BlkStatus, Vec<Part>)> {
        self.state.lock().done.take()
    }
}

struct Ended<'a>(&'a Waiter);

impl Future for Ended<'_> {
    type Output = (BlkStatus, Vec<Part>);

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.state.lock();
        match state.done.take() {
            Some(done) => Poll::Ready(done),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Why blocking IO failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoFailed {
    /// The device ended it so.
    Status(BlkStatus),
    /// On virtual time: nothing can ever end it.
    Stalled,
}

impl IoFailed {
    /// The errno that a program gets; a stalled wait is EDEADLK, which no device returns.
    pub fn errno(self) -> Errno {
        match self {
            IoFailed::Status(status) => status.errno().unwrap_or(Errno::EIO),
            IoFailed::Stalled => Errno::EDEADLK,
        }
    }
}

/// Most sectors of data in one bio of [`SyncIo`]: 256 pages (`BIO_MAX_VECS`).
const MAX_DATA: Sectors = Sectors(2048);

/// Blocking IO of one caller at a time, with memory lent for the length of the call. Keep one and use it again: it
/// allocates when made, not when used.
#[derive(Default)]
pub struct SyncIo {
    waiter: Arc<Waiter>,
}

impl SyncIo {
    /// Fills `buf`, a whole number of sectors, from `sector` of `dev`.
    ///
    /// # Errors
    /// See [`IoFailed`]; `buf` then holds anything.
    pub fn read(
        &mut self,
        dev: &Arc<BlockDevice>,
        sector: Sector,
        buf: &mut [u8],
        with: impl FnOnce(Bio<'_>) -> Bio<'_>,
    ) -> Result<(), IoFailed> {
        let parts = self.run(dev, with(Bio::read(sector, &mut *buf)))?;
        // Pieces that had to wait were read into memory of their own.
        for part in parts {
            buf[part.offset..part.offset + part.data.len()].copy_from_slice(&part.data);
        }
        Ok(())
    }

    /// Submits a bio that reads nothing back (a write, flush or discard) and waits for it.
    ///
    /// # Errors
    /// See [`IoFailed`].
    pub fn submit(&mut self, dev: &Arc<BlockDevice>, bio: Bio<'_>) -> Result<(), IoFailed> {
        self.run(dev, bio).map(|_| ())
    }

    fn run(&mut self, dev: &Arc<BlockDevice>, bio: Bio<'_>) -> Result<Vec<Part>, IoFailed> {
        let mut bio = bio.with_waiter(self.waiter.clone()).to(dev);
        bio.frames = std::mem::take(&mut self.waiter.state.lock().room);
        // Data goes in bios of at most 256 pages, all under way at once, as direct IO on Linux does.
        while bio.len() > MAX_DATA && !bio.op.is_range() {
            submit(bio.split_front(MAX_DATA));
        }
        submit(bio);
        let (status, parts) = match self.waiter.take() {
            Some(done) => done,
            None => match dev.runtime().block_on(Ended(&self.waiter)) {
                Ok(done) => done,
                Err(Stalled) => {
                    // The bio may still end one day; it must not end the next caller's wait.
                    self.waiter = Arc::default();
                    return Err(IoFailed::Stalled);
                }
            },
        };
        if status.is_ok() { Ok(parts) } else { Err(IoFailed::Status(status)) }
    }
}

/// Reads `len` sectors from `sector` of `dev`.
///
/// # Errors
/// The bio's status.
pub async fn read_async(
    dev: &Arc<BlockDevice>,
    sector: Sector,
    len: Sectors,
) -> Result<Arc<[u8]>, BlkStatus> {
    read_bio_async(Bio::read_owned(sector, len).to(dev)).await
}

/// Submits a read into memory of its own and waits for what it reads.
///
/// # Errors
/// The bio's status.
pub async fn read_bio_async(bio: Bio<'static>) -> Result<Arc<[u8]>, BlkStatus> {
    let mut parts = run(bio).await?;
    if parts.len() == 1 {
        return Ok(parts.remove(0).data);
    }
    parts.sort_by_key(|part| part.offset);
    Ok(parts.iter().flat_map(|part| part.data.iter().copied()).collect())
}

/// Writes `data` at `sector` of `dev`.
///
/// # Errors
/// The bio's status.
pub async fn write_async(dev: &Arc<BlockDevice>, sector: Sector, data: Arc<[u8]>) -> Result<(), BlkStatus> {
    run_async(Bio::write_owned(sector, data).to(dev)).await
}

/// Submits a bio that owns its memory and waits for its end.
///
/// # Errors
/// The bio's status.
pub async fn run_async(bio: Bio<'static>) -> Result<(), BlkStatus> {
    run(bio).await.map(|_| ())
}

async fn run(bio: Bio<'static>) -> Result<Vec<Part>, BlkStatus> {
    let waiter = Arc::new(Waiter::default());
    submit(bio.with_waiter(waiter.clone()));
    let (status, parts) = Ended(&waiter).await;
    if status.is_ok() { Ok(parts) } else { Err(status) }
}
