//! The preload library: carries a program's calls on simulated devices to the server.
//!
//! It stands in front of libc for one program and decides nothing: it tells simulated paths and descriptors from real ones,
//! hands the calls on the former to the server, and lets all others through. Without `DMLAB_SOCKET` in the environment it
//! does nothing at all. It keeps `errno`, allocates nothing on the IO path and never calls a function that it exports.

mod aio;
mod attributes;
mod channel;
mod clock;
mod dirs;
mod exec;
mod fdcalls;
mod files;
mod filter;
mod hook;
mod ids;
mod io;
mod ioctl;
mod layer;
mod modules;
mod mounts;
mod moving;
mod nodes;
mod open;
mod owners;
mod paths;
mod poll;
mod privileges;
mod semaphores;
mod stat;
mod state;
mod stdio;
mod sys;
mod syscall;
mod temporary;

/// Sets the calling thread's `errno`.
pub(crate) fn set_errno(errno: i32) {
    // SAFETY: libc gives each thread a valid place for it.
    unsafe { *libc::__errno_location() = errno };
}

/// The calling thread's `errno`.
pub(crate) fn errno() -> i32 {
    // SAFETY: libc gives each thread a valid place for it.
    unsafe { *libc::__errno_location() }
}

/// A C result: -1 and `errno` for an error.
pub(crate) fn c_result<T: TryFrom<i64> + hook::Failure>(result: Result<i64, i32>) -> T {
    match result {
        Ok(value) => T::try_from(value).unwrap_or(T::FAILED),
        Err(errno) => {
            set_errno(errno);
            T::FAILED
        }
    }
}

extern "C" fn after_fork_in_child() {
    if state::enabled() && state::just_forked() {
        channel::forget_parents_channels();
    }
}

extern "C" fn constructor(
    _argc: libc::c_int,
    _argv: *const *const libc::c_char,
    environment: *const *const libc::c_char,
) {
    let saved = errno();
    state::init(environment);
    if state::enabled() {
        // SAFETY: the handler is a function of this library, which is never unloaded.
        unsafe { libc::pthread_atfork(None, None, Some(after_fork_in_child)) };
        stdio::adopt_standard_streams();
    }
    set_errno(saved);
}

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn(libc::c_int, *const *const libc::c_char, *const *const libc::c_char) =
    constructor;
