//! How a libc function is hooked: one body, any number of exported names, and the next library's function in reach.

use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// The function of this name in the next library, looked up once.
pub(crate) struct Next {
    name: &'static CStr,
    at: AtomicPtr<libc::c_void>,
}

impl Next {
    pub(crate) const fn new(name: &'static CStr) -> Next {
        Next { name, at: AtomicPtr::new(core::ptr::null_mut()) }
    }

    /// Its address; null when no library has it.
    pub(crate) fn get(&self) -> *mut libc::c_void {
        let at = self.at.load(Ordering::Relaxed);
        if !at.is_null() {
            return at;
        }
        // SAFETY: NUL-terminated names and a pseudo handle that glibc defines.
        let at = unsafe {
            match version(self.name) {
                Some(version) => libc::dlvsym(libc::RTLD_NEXT, self.name.as_ptr(), version.as_ptr()),
                None => libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()),
            }
        };
        self.at.store(at, Ordering::Relaxed);
        at
    }
}

/// The version to ask for where a function of glibc has an older one of the same name that does something else: without a version
/// the next library's oldest is found.
#[cfg(target_arch = "x86_64")]
fn version(name: &CStr) -> Option<&'static CStr> {
    let name = name.to_bytes();
    if name.starts_with(b"pthread_cond_") && name != b"pthread_cond_clockwait" {
        Some(c"GLIBC_2.3.2")
    } else if name.starts_with(b"timer_") {
        Some(c"GLIBC_2.3.3")
    } else {
        None
    }
}

/// On younger architectures all have one version only.
#[cfg(not(target_arch = "x86_64"))]
fn version(_name: &CStr) -> Option<&'static CStr> {
    None
}

/// What a hook returns when the next library lacks the function.
pub(crate) trait Failure {
    const FAILED: Self;
}
impl Failure for i32 {
    const FAILED: i32 = -1;
}
impl Failure for isize {
    const FAILED: isize = -1;
}
impl Failure for i64 {
    const FAILED: i64 = -1;
}
impl Failure for u32 {
    const FAILED: u32 = 0;
}
impl<T> Failure for *mut T {
    const FAILED: *mut T = core::ptr::null_mut();
}

/// `hook! { read, __read_x => |real| (fd: c_int, …) -> ssize_t { … } }` exports each name with the body; in the body,
/// `real(…)` is the function of that name that would have been called without this library.
macro_rules! hook {
    ($($($name:ident),+ => |$real:ident| $params:tt -> $ret:ty $body:block)*) => {$(
        const _: () = {
            $crate::hook::hook!(@body $real $params -> $ret, $body);
            $($crate::hook::hook!(@export $name $params -> $ret);)+
        };
    )*};
    (@body $real:ident ($($arg:ident : $type:ty),* $(,)?) -> $ret:ty, $body:block) => {
        #[inline(always)]
        #[allow(clippy::too_many_arguments, reason = "the C functions have them")]
        fn inner($real: impl Fn($($type),*) -> $ret + Copy, $($arg: $type),*) -> $ret $body
    };
    (@export $name:ident ($($arg:ident : $type:ty),* $(,)?) -> $ret:ty) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $type),*) -> $ret {
            static NEXT: $crate::hook::Next = {
                const NAME: &core::ffi::CStr =
                    match core::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                        Ok(name) => name,
                        Err(_) => panic!("a name without NUL"),
                    };
                $crate::hook::Next::new(NAME)
            };
            #[allow(clippy::too_many_arguments, reason = "the C functions have them")]
            let next = |$($arg: $type),*| -> $ret {
                let at = NEXT.get();
                if at.is_null() {
                    $crate::set_errno(libc::ENOSYS);
                    return <$ret as $crate::hook::Failure>::FAILED;
                }
                // SAFETY: the symbol of this name has this C signature in every libc that has it; variadic ones take the
                // same registers for these arguments on the supported architectures.
                let next: unsafe extern "C" fn($($type),*) -> $ret = unsafe { core::mem::transmute(at) };
                // SAFETY: the program's own arguments.
                unsafe { next($($arg),*) }
            };
            inner(next, $($arg),*)
        }
    };
}
pub(crate) use hook;
