//! Threads that are cancelled while they wait. Nothing on their stacks is dropped then, so what must be let go has a routine that the
//! C library calls.

use core::ffi::c_void;

use libc::c_int;

/// glibc's record of what a thread does when it is cancelled.
#[repr(C)]
struct Cleanup {
    routine: Option<extern "C" fn(*mut c_void)>,
    argument: *mut c_void,
    cancel_type: c_int,
    previous: *mut Cleanup,
}

unsafe extern "C" {
    fn _pthread_cleanup_push(
        record: *mut Cleanup,
        routine: extern "C" fn(*mut c_void),
        argument: *mut c_void,
    );
    fn _pthread_cleanup_pop(record: *mut Cleanup, execute: c_int);
    fn pthread_setcanceltype(new: c_int, old: *mut c_int) -> c_int;
}

/// The thread is gone before it could drop this.
extern "C" fn let_go<T>(held: *mut c_void) {
    // SAFETY: `holding` passes what it holds, for which its frame has no further use.
    drop(unsafe { held.cast::<Option<T>>().as_mut() }.and_then(Option::take));
}

/// Does `work`, in which the thread may be cancelled: `held` is dropped then.
pub(super) fn holding<T, R>(held: &mut Option<T>, work: impl FnOnce(&mut Option<T>) -> R) -> R {
    // SAFETY: all zeroes are a valid record, which lives until the pop, as does what is held; the routine is called only when the
    // thread does not come back from `work`.
    unsafe {
        let mut cleanup: Cleanup = core::mem::zeroed();
        _pthread_cleanup_push(&mut cleanup, let_go::<T>, core::ptr::from_mut(held).cast());
        let done = work(held);
        _pthread_cleanup_pop(&mut cleanup, 0);
        done
    }
}

const PTHREAD_CANCEL_ASYNCHRONOUS: c_int = 1;

/// Makes one system call, in which the thread may be cancelled.
pub(super) fn cancellable<R>(call: impl FnOnce() -> R) -> R {
    let mut before = 0;
    // SAFETY: between these two there is only the call.
    unsafe { pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &mut before) };
    let done = call();
    // SAFETY: a place for the former kind.
    unsafe { pthread_setcanceltype(before, &mut before) };
    done
}
