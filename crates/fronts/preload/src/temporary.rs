//! Temporary files in the machine's own `/run` and `/etc`: the C library opens them by hidden calls.

use libc::{c_char, c_int, mode_t};

use crate::hook::hook;
use crate::layer::layered;
use crate::paths::{PathBuf, c_bytes};
use crate::{c_result, sys};

/// How many names are tried.
const ATTEMPTS: u32 = 1000;
const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ab";

/// Puts letters in the place of the six `X` before the last `suffix` bytes of a template, until `make` has made a file of that
/// name. `None`: the template lies elsewhere.
fn fill_in(
    template: *mut c_char,
    suffix: c_int,
    make: impl Fn(*const c_char) -> c_int,
) -> Option<Result<c_int, i32>> {
    let mut clean = PathBuf::new();
    if !layered(libc::AT_FDCWD, template, &mut clean) {
        return None;
    }
    let len = c_bytes(template).len();
    let end = usize::try_from(suffix).ok().and_then(|suffix| len.checked_sub(suffix));
    let Some(start) = end.and_then(|end| end.checked_sub(6)) else { return Some(Err(libc::EINVAL)) };
    // SAFETY: the template is a C string of `len` bytes that the program lets this function change.
    let letters = unsafe { core::slice::from_raw_parts_mut(template.cast::<u8>().add(start), 6) };
    if letters != b"XXXXXX" {
        return Some(Err(libc::EINVAL));
    }
    for _ in 0..ATTEMPTS {
        let mut random = [0u8; 6];
        let _ = sys::getrandom(random.as_mut_ptr(), random.len());
        for (letter, random) in letters.iter_mut().zip(random) {
            *letter = LETTERS[usize::from(random) % LETTERS.len()];
        }
        let made = make(template);
        if made >= 0 {
            return Some(Ok(made));
        }
        if crate::errno() != libc::EEXIST {
            return Some(Err(crate::errno()));
        }
    }
    Some(Err(libc::EEXIST))
}

fn file(real: impl Fn() -> c_int, template: *mut c_char, suffix: c_int, flags: c_int) -> c_int {
    let flags = flags | libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
    // SAFETY: a C string, and this library's own function.
    match fill_in(template, suffix, |path| unsafe { libc::open(path, flags, 0o600 as mode_t) }) {
        Some(result) => c_result(result.map(i64::from)),
        None => real(),
    }
}

hook! {
    mkstemp, mkstemp64 => |real| (template: *mut c_char) -> c_int {
        file(|| real(template), template, 0, 0)
    }

    mkostemp, mkostemp64 => |real| (template: *mut c_char, flags: c_int) -> c_int {
        file(|| real(template, flags), template, 0, flags)
    }

    mkstemps, mkstemps64 => |real| (template: *mut c_char, suffix: c_int) -> c_int {
        file(|| real(template, suffix), template, suffix, 0)
    }

    mkostemps, mkostemps64 => |real| (template: *mut c_char, suffix: c_int, flags: c_int) -> c_int {
        file(|| real(template, suffix, flags), template, suffix, flags)
    }

    mkdtemp => |real| (template: *mut c_char) -> *mut c_char {
        // SAFETY: a C string, and this library's own function.
        match fill_in(template, 0, |path| unsafe { libc::mkdir(path, 0o700) }) {
            Some(Ok(_)) => template,
            Some(Err(errno)) => {
                crate::set_errno(errno);
                core::ptr::null_mut()
            }
            None => real(template),
        }
    }
}
