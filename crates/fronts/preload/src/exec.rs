//! Starting programs: the library must be there in the new one too, and a program that it cannot stand in front of is not
//! started, for it would see the host's devices under the names of the simulated ones.

use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use dmlab_shim_proto::{Program, Unserved, judge};
use libc::{c_char, c_int, c_void};

use crate::hook::hook;
use crate::layer::{How, at};
use crate::paths::{PathBuf, c_bytes};
use crate::{c_result, state, sys};

/// The most variables an environment may have to be changed without asking for memory.
const MAX_VARS: usize = 1022;
/// What the kernel says of a program that may not be run: shells and others that start programs end with 126 then.
const REFUSED: Result<i64, i32> = Err(libc::EACCES);

/// An environment for a new program.
struct Environment {
    vars: [*const c_char; MAX_VARS + 2],
    socket: [u8; 128],
    preload: [u8; 4096],
}

type Vars = *const *const c_char;

/// This library, first among those that a variable asks the loader for.
fn is_preloaded(var: &[u8]) -> bool {
    let Some(value) = var.strip_prefix(b"LD_PRELOAD=") else { return false };
    let run_dir = state::RUN_DIR.get();
    value.split(|&b| b == b':' || b == b' ').any(|library| library.starts_with(run_dir))
}

fn is_our_socket(var: &[u8]) -> bool {
    var.strip_prefix(b"DMLAB_SOCKET=").is_some_and(|value| value == state::SOCKET.get())
}

/// Calls `run` with the environment the new program should get: `given`, and this library's two variables if they were
/// dropped or changed.
fn with_environment(given: Vars, run: impl FnOnce(Vars) -> c_int) -> c_int {
    if !state::enabled() {
        return run(given);
    }
    let (mut nr, mut has_preload, mut has_socket) = (0, false, false);
    // SAFETY: null, or a null-terminated array of C strings, as exec takes.
    unsafe {
        while !given.is_null() && !(*given.add(nr)).is_null() {
            let var = c_bytes(*given.add(nr));
            has_preload |= is_preloaded(var);
            has_socket |= is_our_socket(var);
            nr += 1;
        }
    }
    if has_preload && has_socket {
        return run(given);
    }
    let mut env =
        Environment { vars: [core::ptr::null(); MAX_VARS + 2], socket: [0; 128], preload: [0; 4096] };
    let bytes = (nr + 3) * size_of::<*const c_char>();
    let mapped = if nr > MAX_VARS {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        match sys::mmap(bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1) {
            Ok(at) => at as *mut *const c_char,
            Err(errno) => return c_result(Err(errno)),
        }
    } else {
        core::ptr::null_mut()
    };
    let vars = if mapped.is_null() { env.vars.as_mut_ptr() } else { mapped };
    let mut len = 0;
    let mut others: &[u8] = b"";
    for i in 0..nr {
        // SAFETY: `nr` variables were counted above, and there is room for two more and the null that ends them.
        unsafe {
            let var = *given.add(i);
            if let Some(value) = c_bytes(var).strip_prefix(b"LD_PRELOAD=") {
                others = value;
            } else if !c_bytes(var).starts_with(b"DMLAB_SOCKET=") {
                *vars.add(len) = var;
                len += 1;
            }
        }
    }
    join(&mut env.preload, &preload_parts(others, has_preload));
    join(&mut env.socket, &[b"DMLAB_SOCKET=", state::SOCKET.get()]);
    // SAFETY: as above; the texts live until `run` returns.
    let ret = unsafe {
        *vars.add(len) = env.preload.as_ptr().cast();
        *vars.add(len + 1) = env.socket.as_ptr().cast();
        *vars.add(len + 2) = core::ptr::null();
        run(vars)
    };
    if !mapped.is_null() {
        let _ = sys::munmap(mapped.cast(), bytes);
    }
    ret
}

/// The parts of `LD_PRELOAD=…`: this library, then what the program wants besides.
fn preload_parts(others: &[u8], has_ours: bool) -> [&[u8]; 5] {
    const NAME: &[u8] = b"LD_PRELOAD=";
    if has_ours {
        return [NAME, others, b"", b"", b""];
    }
    let given = state::PRELOAD.get().strip_prefix(NAME).unwrap_or_default();
    let ours = given.split(|&b| b == b':' || b == b' ').next().unwrap_or_default();
    let separator: &[u8] = if others.is_empty() { b"" } else { b":" };
    [NAME, ours, separator, others, b""]
}

/// Writes the parts one after the other, as far as there is room for them and a NUL.
fn join(to: &mut [u8], parts: &[&[u8]]) {
    let mut len = 0;
    for part in parts {
        let n = part.len().min(to.len() - 1 - len);
        to[len..len + n].copy_from_slice(&part[..n]);
        len += n;
    }
}

/// Puts this library's variables back into the process's own environment, for programs that libc starts by itself.
fn mend_own_environment() {
    if !state::enabled() {
        return;
    }
    // SAFETY: libc's own functions and C strings; programs that change their environment while another thread of theirs
    // starts a program are wrong already.
    unsafe {
        let has = |name: *const c_char, wanted: &[u8]| {
            let value = libc::getenv(name);
            !value.is_null() && c_bytes(value).windows(wanted.len()).any(|window| window == wanted)
        };
        if !has(c"LD_PRELOAD".as_ptr(), state::RUN_DIR.get()) {
            let mut text = [0u8; 4096];
            let value = libc::getenv(c"LD_PRELOAD".as_ptr());
            join(&mut text, &preload_parts(c_bytes(value), false)[1..]);
            libc::setenv(c"LD_PRELOAD".as_ptr(), text.as_ptr().cast(), 1);
        }
        if !has(c"DMLAB_SOCKET".as_ptr(), state::SOCKET.get()) {
            // The text lies in a zeroed static, so a NUL follows it.
            libc::setenv(c"DMLAB_SOCKET".as_ptr(), state::SOCKET.get().as_ptr().cast(), 1);
        }
    }
}

/// Why the library cannot stand in front of a program, which `who` names then; scripts are judged by their interpreters.
fn unserved(dirfd: c_int, path: *const c_char, depth: u32, who: &mut [u8; 512]) -> Option<Unserved> {
    *who = [0; 512];
    join(who, &[c_bytes(path)]);
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let fd = sys::openat(dirfd, path.cast(), flags, 0);
    let fd = match fd {
        Ok(fd) => fd as c_int,
        // A program may be run that may not be read: its mode still says enough.
        Err(_) => return setuid_at(dirfd, path).then_some(Unserved::Setuid),
    };
    let why = unserved_file(fd, depth, who);
    let _ = sys::close(fd);
    let name = c_bytes(path).rsplit(|&b| b == b'/').next().unwrap_or_default();
    // The loader itself loads this library into what it runs.
    if why == Some(Unserved::Static) && (name.starts_with(b"ld-linux") || name == b"ld.so") {
        None
    } else {
        why
    }
}

fn setuid_at(dirfd: c_int, path: *const c_char) -> bool {
    let mut stat = core::mem::MaybeUninit::<libc::stat>::zeroed();
    sys::fstatat(dirfd, path.cast(), stat.as_mut_ptr(), 0).is_ok() && {
        // SAFETY: the kernel filled it.
        changes_user(unsafe { stat.assume_init_ref() })
    }
}

fn changes_user(stat: &libc::stat) -> bool {
    let is_program = stat.st_mode & libc::S_IFMT == libc::S_IFREG && stat.st_mode & 0o111 != 0;
    is_program && stat.st_mode & libc::S_ISUID != 0 && sys::getuid() != Ok(stat.st_uid as usize)
}

fn unserved_file(fd: c_int, depth: u32, who: &mut [u8; 512]) -> Option<Unserved> {
    let stat = sys::fstat(fd).ok()?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG || stat.st_mode & 0o111 == 0 {
        // The kernel will say why not.
        return None;
    }
    if changes_user(&stat) {
        return Some(Unserved::Setuid);
    }
    match judge(|at, into| sys::pread(fd, into.as_mut_ptr(), into.len(), at as usize).unwrap_or(0)) {
        Program::Served => None,
        Program::Unserved(why) => Some(why),
        Program::Script(path, _) if depth < 4 => {
            unserved(libc::AT_FDCWD, path.as_ptr().cast(), depth + 1, who)
        }
        Program::Script(..) => None,
    }
}

/// Says on stderr that a program is not started, and why.
fn complain(who: &[u8; 512], why: Unserved) {
    let mut line = [0u8; 768];
    let reason = why.reason().as_bytes();
    let consequence = Unserved::CONSEQUENCE.as_bytes();
    let name = &who[..400];
    let name = name.split(|&b| b == 0).next().unwrap_or_default();
    join(&mut line, &[b"dmlab: ", name, b" ", reason, b": ", consequence, b"\n"]);
    let len = line.iter().position(|&b| b == 0).unwrap_or(line.len());
    let _ = sys::write(2, line.as_ptr(), len);
}

/// Whether the loader finds the library where the new program will run. One that may not read it, as it is another user by now,
/// hears of that from the loader.
fn is_within_reach() -> bool {
    let given = state::PRELOAD.get().strip_prefix(b"LD_PRELOAD=").unwrap_or_default();
    let mut path = PathBuf::new();
    let ours = given.split(|&b| b == b':' || b == b' ').find(|path| path.starts_with(state::RUN_DIR.get()));
    ours.is_none_or(|ours| {
        let found = path.set(ours).then(|| sys::faccessat(libc::AT_FDCWD, path.c_str().cast(), libc::F_OK));
        !matches!(found, Some(Err(libc::ENOENT | libc::ENOTDIR)))
    })
}

/// What this process has complained of last: its number, and the file's device and inode.
static COMPLAINED: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Whether this process has just complained of the same file. Programs try the folders of PATH one after the other, and some of
/// those are links to others. A child has a number of its own, also while it shares its parent's memory.
fn has_complained(dirfd: c_int, path: *const c_char) -> bool {
    let mut stat = core::mem::MaybeUninit::<libc::stat>::zeroed();
    if sys::fstatat(dirfd, path.cast(), stat.as_mut_ptr(), 0).is_err() {
        return false;
    }
    // SAFETY: the kernel filled it.
    let stat = unsafe { stat.assume_init_ref() };
    let now = [sys::getpid().unwrap_or(0) as u64, stat.st_dev, stat.st_ino];
    let before = [0, 1, 2].map(|i| COMPLAINED[i].swap(now[i], Ordering::Relaxed));
    before == now
}

/// Whether a program must not be started; says so.
fn is_refused(dirfd: c_int, path: *const c_char) -> bool {
    if path.is_null() || !state::enabled() {
        return false;
    }
    let mut who = [0; 512];
    let mut why = unserved(dirfd, path, 0, &mut who);
    if why.is_none() && !is_within_reach() && sys::faccessat(dirfd, path.cast(), libc::X_OK).is_ok() {
        who = [0; 512];
        join(&mut who, &[c_bytes(path)]);
        why = Some(Unserved::OutOfReach);
    }
    match why {
        Some(why) if !state::host_is_allowed() => {
            if !has_complained(dirfd, path) {
                complain(&who, why);
            }
            true
        }
        _ => false,
    }
}

/// Calls `each` with the path of the program that `execvp` would start.
fn with_found(name: *const c_char, each: impl FnOnce(*const c_char) -> bool) -> bool {
    if name.is_null() || !state::enabled() {
        return false;
    }
    let bytes = c_bytes(name);
    if bytes.contains(&b'/') {
        return each(name);
    }
    // SAFETY: a C string; the answer stays valid while the environment does not change.
    let path = c_bytes(unsafe { libc::getenv(c"PATH".as_ptr()) });
    let path = if path.is_empty() { b"/bin:/usr/bin" } else { path };
    let mut buf;
    for dir in path.split(|&b| b == b':').filter(|dir| dir.len() + bytes.len() + 2 < 1024) {
        buf = [0u8; 1024];
        let slash: &[u8] = if dir.is_empty() { b"" } else { b"/" };
        join(&mut buf, &[dir, slash, bytes]);
        let mut stat = core::mem::MaybeUninit::<libc::stat>::zeroed();
        let there = sys::fstatat(libc::AT_FDCWD, buf.as_ptr(), stat.as_mut_ptr(), 0).is_ok();
        // SAFETY: all zeroes are a valid `stat`, or the kernel filled it.
        let mode = unsafe { stat.assume_init_ref() }.st_mode;
        if there && mode & libc::S_IFMT == libc::S_IFREG && mode & 0o111 != 0 {
            return each(buf.as_ptr().cast());
        }
    }
    false
}

unsafe extern "C" {
    static environ: Vars;
}

fn own_environment() -> Vars {
    // SAFETY: libc's own variable, read only.
    unsafe { environ }
}

/// glibc takes a null environment of `posix_spawn` as the process's own.
fn or_own(env: Vars) -> Vars {
    if env.is_null() { own_environment() } else { env }
}

/// What `posix_spawn` starts in place of a program that must not be: a shell that ends like one that cannot run it.
const SUBSTITUTE: &core::ffi::CStr = c"/bin/sh";

struct Words([*const c_char; 4]);
// SAFETY: pointers to constants.
unsafe impl Sync for Words {}
static SUBSTITUTE_WORDS: Words =
    Words([c"sh".as_ptr(), c"-c".as_ptr(), c"exit 126".as_ptr(), core::ptr::null()]);

/// This process becomes another program.
fn becoming(env: Vars, start: impl FnOnce(Vars) -> c_int) -> c_int {
    crate::clock::timers::before_exec();
    with_environment(env, start)
}

hook! {
    execve => |real| (path: *const c_char, argv: Vars, env: Vars) -> c_int {
        let mut place = PathBuf::new();
        let path = match at(libc::AT_FDCWD, path, How::Look { follow: true }, &mut place) {
            Ok((_, path)) => path,
            Err(errno) => return c_result(Err(errno)),
        };
        if is_refused(libc::AT_FDCWD, path) {
            return c_result(REFUSED);
        }
        becoming(env, |env| real(path, argv, env))
    }

    execv => |_real| (path: *const c_char, argv: Vars) -> c_int {
        // SAFETY: the program's own arguments, to this library's own function.
        unsafe { libc::execve(path, argv, own_environment()) }
    }

    execvp => |_real| (name: *const c_char, argv: Vars) -> c_int {
        // SAFETY: as above.
        unsafe { libc::execvpe(name, argv, own_environment()) }
    }

    execvpe => |real| (name: *const c_char, argv: Vars, env: Vars) -> c_int {
        if with_found(name, |path| is_refused(libc::AT_FDCWD, path)) {
            return c_result(REFUSED);
        }
        becoming(env, |env| real(name, argv, env))
    }

    fexecve => |real| (fd: c_int, argv: Vars, env: Vars) -> c_int {
        let mut name = [0u8; 32];
        crate::paths::fd_name(fd, &mut name);
        if is_refused(libc::AT_FDCWD, name.as_ptr().cast()) {
            return c_result(REFUSED);
        }
        becoming(env, |env| real(fd, argv, env))
    }

    execveat => |real| (dirfd: c_int, path: *const c_char, argv: Vars, env: Vars, flags: c_int) -> c_int {
        let mut place = PathBuf::new();
        if c_bytes(path).is_empty() && flags & libc::AT_EMPTY_PATH != 0 {
            let mut name = [0u8; 32];
            crate::paths::fd_name(dirfd, &mut name);
            if is_refused(libc::AT_FDCWD, name.as_ptr().cast()) {
                return c_result(REFUSED);
            }
            return becoming(env, |env| real(dirfd, path, argv, env, flags));
        }
        let (dirfd, path) = match at(dirfd, path, How::Look { follow: true }, &mut place) {
            Ok(there) => there,
            Err(errno) => return c_result(Err(errno)),
        };
        if is_refused(dirfd, path) {
            return c_result(REFUSED);
        }
        becoming(env, |env| real(dirfd, path, argv, env, flags))
    }

    posix_spawn => |real| (pid: *mut c_int, path: *const c_char, actions: *const c_void, attributes: *const c_void,
                           argv: Vars, env: Vars) -> c_int {
        let mut place = PathBuf::new();
        let path = match at(libc::AT_FDCWD, path, How::Look { follow: true }, &mut place) {
            Ok((_, path)) => path,
            Err(errno) => return errno,
        };
        with_environment(or_own(env), |env| {
            if is_refused(libc::AT_FDCWD, path) {
                return real(pid, SUBSTITUTE.as_ptr(), actions, attributes, SUBSTITUTE_WORDS.0.as_ptr(), env);
            }
            real(pid, path, actions, attributes, argv, env)
        })
    }

    posix_spawnp => |real| (pid: *mut c_int, name: *const c_char, actions: *const c_void, attributes: *const c_void,
                            argv: Vars, env: Vars) -> c_int {
        with_environment(or_own(env), |env| {
            if with_found(name, |path| is_refused(libc::AT_FDCWD, path)) {
                return real(pid, SUBSTITUTE.as_ptr(), actions, attributes, SUBSTITUTE_WORDS.0.as_ptr(), env);
            }
            real(pid, name, actions, attributes, argv, env)
        })
    }

    system => |real| (command: *const c_char) -> c_int {
        mend_own_environment();
        real(command)
    }

    popen => |real| (command: *const c_char, mode: *const c_char) -> *mut libc::FILE {
        mend_own_environment();
        real(command, mode)
    }
}

/// `execl` and `execlp` with their words in an array.
unsafe extern "C" fn exec_list(path: *const c_char, first: Vars, rest: Vars, by_name: c_int) -> c_int {
    // SAFETY: the trampolines pass where the words lie, which a null ends.
    unsafe {
        collect(
            first,
            rest,
            |argv, _| if by_name != 0 { libc::execvp(path, argv) } else { libc::execv(path, argv) },
        )
    }
}

/// `execle`: the environment follows the words.
unsafe extern "C" fn exec_list_env(path: *const c_char, first: Vars, rest: Vars, _by_name: c_int) -> c_int {
    // SAFETY: as above.
    unsafe { collect(first, rest, |argv, env| libc::execve(path, argv, env.cast())) }
}

/// Words that came in registers, so many as there are for them.
#[cfg(target_arch = "x86_64")]
const IN_REGISTERS: usize = 5;
#[cfg(target_arch = "aarch64")]
const IN_REGISTERS: usize = 7;

/// Makes an array of a list of words, and passes what follows it.
///
/// # Safety
/// `first` has [`IN_REGISTERS`] words, `rest` the others; a null ends them.
unsafe fn collect(first: Vars, rest: Vars, run: impl FnOnce(Vars, *const c_char) -> c_int) -> c_int {
    // SAFETY: the caller vouches for the words.
    let word =
        |i: usize| unsafe { if i < IN_REGISTERS { *first.add(i) } else { *rest.add(i - IN_REGISTERS) } };
    let nr = (0..usize::MAX).take_while(|&i| !word(i).is_null()).count();
    let bytes = (nr + 1) * size_of::<*const c_char>();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let at = match sys::mmap(bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1) {
        Ok(at) => at as *mut *const c_char,
        Err(errno) => return c_result(Err(errno)),
    };
    for i in 0..nr {
        // SAFETY: just mapped, with room for all of them and a null.
        unsafe { *at.add(i) = word(i) };
    }
    let ret = run(at, word(nr + 1));
    let _ = sys::munmap(at.cast(), bytes);
    ret
}

/// A function with a list of words: their places go to a function with a fixed number of arguments, which Rust can have.
macro_rules! with_list {
    ($($name:ident => $to:ident, $by_name:literal;)*) => {$(
        #[cfg(target_arch = "x86_64")]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                "sub rsp, 56",
                "mov [rsp], rsi",
                "mov [rsp + 8], rdx",
                "mov [rsp + 16], rcx",
                "mov [rsp + 24], r8",
                "mov [rsp + 32], r9",
                "mov rsi, rsp",
                "lea rdx, [rsp + 64]",
                "mov ecx, {by_name}",
                "call {to}",
                "add rsp, 56",
                "ret",
                by_name = const $by_name,
                to = sym $to,
            )
        }

        #[cfg(target_arch = "aarch64")]
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                "sub sp, sp, #80",
                "str x30, [sp, #64]",
                "stp x1, x2, [sp]",
                "stp x3, x4, [sp, #16]",
                "stp x5, x6, [sp, #32]",
                "str x7, [sp, #48]",
                "mov x1, sp",
                "add x2, sp, #80",
                "mov w3, #{by_name}",
                "bl {to}",
                "ldr x30, [sp, #64]",
                "add sp, sp, #80",
                "ret",
                by_name = const $by_name,
                to = sym $to,
            )
        }
    )*};
}

with_list! {
    execl => exec_list, 0;
    execlp => exec_list, 1;
    execle => exec_list_env, 0;
}
