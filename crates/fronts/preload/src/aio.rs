//! Kernel aio (`io_submit` and its kin, which libaio reaches through `syscall`) and POSIX aio. A context of ours has the
//! ring that programs such as qemu read directly; IO on devices is done when it is submitted and its completion put into the
//! ring; IO on real files goes to a kernel context of its own.

use core::sync::atomic::{AtomicU32, Ordering};

use libc::{c_int, c_long, c_void, timespec};

use crate::files;
use crate::hook::hook;
use crate::io::{AT_POSITION, read_file, read_vec, rwf, vector, write_file, write_vec};
use crate::{c_result, channel, set_errno, state, sys};

/// One `struct iocb`.
#[repr(C)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: c_int,
    opcode: u16,
    priority: i16,
    fd: u32,
    buf: u64,
    len: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    resfd: u32,
}

/// One `struct io_event`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Event {
    data: u64,
    obj: u64,
    res: i64,
    res2: i64,
}

/// The head of the kernel's `struct aio_ring`, with what is ours behind the events.
#[repr(C)]
struct Ring {
    id: u32,
    nr: u32,
    head: AtomicU32,
    tail: AtomicU32,
    magic: u32,
    compat_features: u32,
    incompat_features: u32,
    header_length: u32,
}

/// What the library keeps after the ring's events.
#[repr(C)]
struct Private {
    magic: u64,
    kernel_context: usize,
    len: usize,
    lock: AtomicU32,
}

const RING_MAGIC: u32 = 0xa10a_10a1;
const PRIVATE_MAGIC: u64 = 0x6b61_6c62_6d64_2121;
/// Not in the libc crate.
const SYS_IO_PGETEVENTS: c_long = if cfg!(target_arch = "x86_64") { 333 } else { 292 };
const IOCB_FLAG_RESFD: u32 = 1;

/// A context as this library made it.
#[derive(Clone, Copy)]
struct Context {
    ring: *mut Ring,
}

impl Context {
    fn from(id: usize) -> Option<Context> {
        let context = Context { ring: id as *mut Ring };
        if id == 0 || !id.is_multiple_of(4096) {
            return None;
        }
        // The kernel's own contexts are pages too, so both look alike up to the magic behind the events.
        // SAFETY: aio contexts, the kernel's or ours, are mapped rings.
        unsafe {
            let ring = &*context.ring;
            if ring.magic != RING_MAGIC || ring.id != u32::MAX {
                return None;
            }
        }
        (context.private().magic == PRIVATE_MAGIC).then_some(context)
    }

    fn ring(&self) -> &Ring {
        // SAFETY: mapped until io_destroy, which programs must not race with other calls.
        unsafe { &*self.ring }
    }

    fn events(&self) -> *mut Event {
        self.ring.wrapping_add(1).cast()
    }

    fn private(&self) -> &Private {
        // SAFETY: lies behind the events in the same mapping.
        unsafe { &*self.events().wrapping_add(self.ring().nr as usize).cast::<Private>() }
    }

    fn locked<T>(&self, work: impl FnOnce() -> T) -> T {
        let lock = &self.private().lock;
        while lock.compare_exchange_weak(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            let _ = sys::sched_yield();
        }
        let result = work();
        lock.store(0, Ordering::Release);
        result
    }

    /// How many completions fit.
    fn room(&self) -> u32 {
        let ring = self.ring();
        let used =
            (ring.tail.load(Ordering::Acquire) + ring.nr - ring.head.load(Ordering::Acquire)) % ring.nr;
        ring.nr - 1 - used
    }

    fn push(&self, event: Event) {
        let ring = self.ring();
        let tail = ring.tail.load(Ordering::Acquire);
        // SAFETY: `tail` is below `nr`, and the lock is held.
        unsafe { self.events().add((tail % ring.nr) as usize).write(event) };
        ring.tail.store((tail + 1) % ring.nr, Ordering::Release);
    }

    fn pop(&self) -> Option<Event> {
        let ring = self.ring();
        let head = ring.head.load(Ordering::Acquire) % ring.nr;
        if head == ring.tail.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: `head` is below `nr`, and the event was written before the tail moved.
        let event = unsafe { self.events().add(head as usize).read() };
        ring.head.store((head + 1) % ring.nr, Ordering::Release);
        Some(event)
    }
}

fn setup(nr: u32, out: *mut usize) -> Result<i64, i32> {
    if nr == 0 || nr > 1 << 20 {
        return Err(libc::EINVAL);
    }
    // SAFETY: the program's place for the context, or null.
    let place = unsafe { out.as_mut() }.ok_or(libc::EFAULT)?;
    if *place != 0 {
        return Err(libc::EINVAL);
    }
    let mut kernel_context = 0usize;
    sys::io_setup(nr as usize, &mut kernel_context)?;
    let slots = nr as usize + 1;
    let len = (size_of::<Ring>() + slots * size_of::<Event>() + size_of::<Private>()).next_multiple_of(4096);
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let at = sys::mmap(len, prot, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
    let context = Context { ring: at as *mut Ring };
    // SAFETY: fresh memory of the computed length.
    unsafe {
        context.ring.write(Ring {
            id: u32::MAX,
            nr: slots as u32,
            head: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            magic: RING_MAGIC,
            compat_features: 1,
            incompat_features: 0,
            header_length: size_of::<Ring>() as u32,
        });
        context.events().add(slots).cast::<Private>().write(Private {
            magic: PRIVATE_MAGIC,
            kernel_context,
            len,
            lock: AtomicU32::new(0),
        });
    }
    *place = at;
    Ok(0)
}

fn destroy(context: Context) -> Result<i64, i32> {
    let (kernel, len) = (context.private().kernel_context, context.private().len);
    let result = sys::io_destroy(kernel).map(|_| 0);
    let _ = sys::munmap(context.ring.cast(), len);
    result
}

/// Does the IO of one control block on a simulated file.
fn perform(iocb: &Iocb, file: files::File) -> i64 {
    let (buf, len, pos) = (iocb.buf as *mut u8, iocb.len as usize, iocb.offset);
    let result = match iocb.opcode {
        0 => rwf(iocb.rw_flags).and_then(|flags| read_file(file, buf, len, pos, flags)),
        1 => rwf(iocb.rw_flags).and_then(|flags| write_file(file, buf, len, pos, flags)),
        2 | 3 => channel::ask(&dmlab_shim_proto::front::Request::Fsync {
            file: file.id,
            data_only: iocb.opcode == 3,
        })
        .map(|reply| reply.value),
        7 => vector(buf.cast(), len as c_int).and_then(|iovs| read_vec(file, iovs, pos, rwf(iocb.rw_flags)?)),
        8 => {
            vector(buf.cast(), len as c_int).and_then(|iovs| write_vec(file, iovs, pos, rwf(iocb.rw_flags)?))
        }
        _ => Err(libc::EINVAL),
    };
    result.unwrap_or_else(|errno| -i64::from(errno))
}

fn submit(context: Context, nr: c_long, iocbs: *const usize) -> Result<i64, i32> {
    if nr < 0 {
        return Err(libc::EINVAL);
    }
    for i in 0..nr as usize {
        // SAFETY: the program passed `nr` pointers to control blocks.
        let (at, iocb) = unsafe {
            let at = *iocbs.add(i);
            match (at as *const Iocb).as_ref() {
                Some(iocb) => (at, iocb),
                None => return if i == 0 { Err(libc::EFAULT) } else { Ok(i as i64) },
            }
        };
        let done = match files::file(iocb.fd as c_int) {
            Some(_) if context.room() == 0 => Err(libc::EAGAIN),
            Some(_) if iocb.offset < 0 && matches!(iocb.opcode, 0 | 1 | 7 | 8) => Err(libc::EINVAL),
            Some(file) => {
                let res = perform(iocb, file);
                context.locked(|| context.push(Event { data: iocb.data, obj: at as u64, res, res2: 0 }));
                if iocb.flags & IOCB_FLAG_RESFD != 0 {
                    let one = 1u64.to_ne_bytes();
                    let _ = sys::write(iocb.resfd as c_int, one.as_ptr(), one.len());
                }
                Ok(1)
            }
            None => sys::io_submit(context.private().kernel_context, 1, &at),
        };
        if let Err(errno) = done {
            return if i == 0 { Err(errno) } else { Ok(i as i64) };
        }
    }
    Ok(nr)
}

fn getevents(
    context: Context,
    min: c_long,
    nr: c_long,
    out: *mut Event,
    timeout: *const timespec,
) -> Result<i64, i32> {
    if min < 0 || nr < min {
        return Err(libc::EINVAL);
    }
    let nr = nr as usize;
    let mut got = 0;
    // SAFETY: null, or the program's time.
    let mut left = unsafe { timeout.as_ref() }.map(|t| t.tv_sec.saturating_mul(1_000_000_000) + t.tv_nsec);
    loop {
        while got < nr {
            let Some(event) = context.locked(|| context.pop()) else { break };
            // SAFETY: the program's array has `nr` places.
            unsafe { out.add(got).write(event) };
            got += 1;
        }
        // Real files complete in the kernel. When more must come, wait in slices: another thread may submit to a device.
        let wait = got < min as usize && left != Some(0);
        let slice = left.map_or(1_000_000, |left| left.clamp(0, 1_000_000));
        if got < nr {
            let time = timespec { tv_sec: 0, tv_nsec: if wait { slice } else { 0 } };
            let place = out.wrapping_add(got).cast::<u8>();
            let kernel = context.private().kernel_context;
            match sys::io_getevents(kernel, usize::from(wait), nr - got, place, &time) {
                Ok(n) => got += n,
                Err(errno) if got == 0 => return Err(errno),
                Err(_) => return Ok(got as i64),
            }
        }
        if !wait || got >= min as usize {
            return Ok(got as i64);
        }
        left = left.map(|left| (left - slice).max(0));
    }
}

fn cancel(context: Context, iocb: usize, result: usize) -> Result<i64, i32> {
    // What went to a device is done already.
    sys::io_cancel(context.private().kernel_context, iocb, result).map(|_| 0)
}

/// The aio calls by number, for `syscall`. `None`: not ours.
pub(crate) fn by_number(nr: c_long, a: [usize; 6]) -> Option<Result<i64, i32>> {
    if !state::enabled() {
        return None;
    }
    let context = || Context::from(a[0]);
    match nr {
        libc::SYS_io_setup => Some(setup(a[0] as u32, a[1] as *mut usize)),
        libc::SYS_io_destroy => Some(destroy(context()?)),
        libc::SYS_io_submit => Some(submit(context()?, a[1] as c_long, a[2] as *const usize)),
        libc::SYS_io_cancel => Some(cancel(context()?, a[1], a[2])),
        libc::SYS_io_getevents | SYS_IO_PGETEVENTS => Some(getevents(
            context()?,
            a[1] as c_long,
            a[2] as c_long,
            a[3] as *mut Event,
            a[4] as *const timespec,
        )),
        _ => None,
    }
}

/// libaio's functions return the negative error number and leave `errno` alone.
fn libaio(nr: c_long, a: [usize; 6]) -> c_int {
    let result = by_number(nr, a).unwrap_or_else(|| {
        // SAFETY: the program's own arguments.
        let ret = unsafe { sys::raw(nr, a) };
        if ret < 0 { Err(-ret as i32) } else { Ok(ret as i64) }
    });
    result.unwrap_or_else(|errno| -i64::from(errno)) as c_int
}

/// Offsets in glibc's `struct aiocb`.
mod aiocb {
    pub(super) const FD: usize = 0;
    pub(super) const BUF: usize = 16;
    pub(super) const LEN: usize = 24;
    pub(super) const ERROR: usize = 112;
    pub(super) const RETURN: usize = 120;
    pub(super) const OFFSET: usize = 128;
}

/// Does the IO of a POSIX control block on a simulated file at once; `None` when its file is real.
fn posix(
    block: *mut u8,
    work: impl Fn(files::File, *mut u8, usize, i64) -> Result<i64, i32>,
) -> Option<c_int> {
    if !state::has_files() || block.is_null() {
        return None;
    }
    // SAFETY: the program's control block, laid out as glibc has it.
    unsafe {
        let file = files::file(*block.add(aiocb::FD).cast::<c_int>())?;
        let buf = *block.add(aiocb::BUF).cast::<*mut u8>();
        let len = *block.add(aiocb::LEN).cast::<usize>();
        let pos = *block.add(aiocb::OFFSET).cast::<i64>();
        let result = work(file, buf, len, pos.max(AT_POSITION));
        *block.add(aiocb::ERROR).cast::<c_int>() = result.err().unwrap_or(0);
        *block.add(aiocb::RETURN).cast::<isize>() = result.unwrap_or(-1) as isize;
    }
    Some(0)
}

hook! {
    io_setup => |_real| (nr: c_int, out: *mut usize) -> c_int {
        libaio(libc::SYS_io_setup, [nr as usize, out as usize, 0, 0, 0, 0])
    }
    io_destroy => |_real| (context: usize) -> c_int {
        libaio(libc::SYS_io_destroy, [context, 0, 0, 0, 0, 0])
    }
    io_submit => |_real| (context: usize, nr: c_long, iocbs: *const usize) -> c_int {
        libaio(libc::SYS_io_submit, [context, nr as usize, iocbs as usize, 0, 0, 0])
    }
    io_cancel => |_real| (context: usize, iocb: usize, result: usize) -> c_int {
        libaio(libc::SYS_io_cancel, [context, iocb, result, 0, 0, 0])
    }
    io_getevents => |_real| (context: usize, min: c_long, nr: c_long, out: *mut c_void, timeout: *const timespec)
        -> c_int {
        libaio(libc::SYS_io_getevents, [context, min as usize, nr as usize, out as usize, timeout as usize, 0])
    }
    io_pgetevents => |_real| (context: usize, min: c_long, nr: c_long, out: *mut c_void, timeout: *const timespec,
                              _mask: *const c_void) -> c_int {
        libaio(libc::SYS_io_getevents, [context, min as usize, nr as usize, out as usize, timeout as usize, 0])
    }

    aio_read, aio_read64 => |real| (block: *mut u8) -> c_int {
        posix(block, |file, buf, len, pos| read_file(file, buf, len, pos, 0)).unwrap_or_else(|| real(block))
    }
    aio_write, aio_write64 => |real| (block: *mut u8) -> c_int {
        posix(block, |file, buf, len, pos| write_file(file, buf, len, pos, 0)).unwrap_or_else(|| real(block))
    }
    aio_fsync, aio_fsync64 => |real| (how: c_int, block: *mut u8) -> c_int {
        let data_only = how == libc::O_DSYNC;
        posix(block, |file, _, _, _| {
            channel::ask(&dmlab_shim_proto::front::Request::Fsync { file: file.id, data_only }).map(|reply| reply.value)
        })
        .unwrap_or_else(|| real(how, block))
    }
}

/// What `io_uring_setup` says on a kernel without it: programs fall back to another engine.
pub(crate) fn no_io_uring() -> c_long {
    set_errno(libc::ENOSYS);
    -1
}

/// The result of an aio call made through `syscall`.
pub(crate) fn as_syscall(result: Result<i64, i32>) -> c_long {
    c_result(result)
}
