//! What the library knows about its process: set once at start, then a few flags.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use crate::sys;

/// Text that the start-up code writes once, before any thread exists, and all threads read.
pub(crate) struct Text<const N: usize> {
    bytes: UnsafeCell<[u8; N]>,
    len: AtomicUsize,
}

// SAFETY: written only by the constructor, before `len` is published; read-only afterwards.
unsafe impl<const N: usize> Sync for Text<N> {}

impl<const N: usize> Text<N> {
    const fn new() -> Text<N> {
        Text { bytes: UnsafeCell::new([0; N]), len: AtomicUsize::new(0) }
    }

    fn set(&self, parts: &[&[u8]]) -> bool {
        let len: usize = parts.iter().map(|p| p.len()).sum();
        if len >= N {
            return false;
        }
        let mut at = 0;
        for part in parts {
            // SAFETY: only the constructor gets here, alone; `at + part.len() < N` by the check above.
            unsafe {
                core::ptr::copy_nonoverlapping(
                    part.as_ptr(),
                    self.bytes.get().cast::<u8>().add(at),
                    part.len(),
                );
            }
            at += part.len();
        }
        self.len.store(len, Ordering::Release);
        true
    }

    /// The text, without its NUL.
    pub(crate) fn get(&self) -> &'static [u8] {
        let len = self.len.load(Ordering::Acquire);
        // SAFETY: the first `len` bytes are written and never change again; all users are statics.
        unsafe { core::slice::from_raw_parts(self.bytes.get().cast::<u8>(), len) }
    }
}

/// Path of the server's socket.
pub(crate) static SOCKET: Text<108> = Text::new();
/// Path of the mirror of `/dev` and `/sys`.
pub(crate) static MIRROR: Text<128> = Text::new();
/// The machine's directory, with a slash at its end.
pub(crate) static RUN_DIR: Text<128> = Text::new();
/// Where the machine's own part of `/run` and `/etc` lies.
pub(crate) static LAYER: Text<128> = Text::new();
/// Where it says which names of the host's `/run` and `/etc` are gone.
pub(crate) static GONE: Text<128> = Text::new();
/// `LD_PRELOAD=…` as this process got it.
pub(crate) static PRELOAD: Text<4096> = Text::new();

/// There is a server: hooks have work to do.
static ENABLED: AtomicBool = AtomicBool::new(false);
/// This process has had a placeholder descriptor, so any pipe may be one.
static HAS_FILES: AtomicBool = AtomicBool::new(false);
/// This process has written to a device, so that a close may have to wait for its data.
static HAS_WRITTEN: AtomicBool = AtomicBool::new(false);
/// This process has had a directory of the mirror open.
static HAS_MIRROR: AtomicBool = AtomicBool::new(false);
/// This process has had a directory of the machine's `/run` or `/etc` open.
static HAS_LAYER: AtomicBool = AtomicBool::new(false);
/// Relative paths may name simulated files, because of where the current directory is.
static CWD_MATTERS: AtomicBool = AtomicBool::new(false);
/// Faked root: the process is not really root.
static FAKE_ROOT: AtomicBool = AtomicBool::new(false);
/// Programs may run that the library cannot stand in front of.
static HOST_IS_ALLOWED: AtomicBool = AtomicBool::new(false);
/// The file of the machine's that says whether its `/run` or `/etc` has been changed, mapped; null where it could not be.
static LAYER_CHANGED: AtomicPtr<AtomicU32> = AtomicPtr::new(core::ptr::null_mut());
/// Processors this process may use.
static NR_CPUS: AtomicU32 = AtomicU32::new(1);
/// A page that the kernel zeroes in a forked child (not in a vfork child, which shares this memory).
static FORK_PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new(core::ptr::null_mut());

pub(crate) fn enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

pub(crate) fn has_files() -> bool {
    HAS_FILES.load(Ordering::Relaxed)
}

pub(crate) fn note_file() {
    HAS_FILES.store(true, Ordering::Relaxed);
}

pub(crate) fn has_written() -> bool {
    HAS_WRITTEN.load(Ordering::Relaxed)
}

pub(crate) fn note_write() {
    HAS_WRITTEN.store(true, Ordering::Relaxed);
}

pub(crate) fn has_mirror() -> bool {
    HAS_MIRROR.load(Ordering::Relaxed)
}

pub(crate) fn note_mirror() {
    HAS_MIRROR.store(true, Ordering::Relaxed);
}

pub(crate) fn has_layer() -> bool {
    HAS_LAYER.load(Ordering::Relaxed)
}

pub(crate) fn note_layer() {
    HAS_LAYER.store(true, Ordering::Relaxed);
}

pub(crate) fn cwd_matters() -> bool {
    CWD_MATTERS.load(Ordering::Relaxed)
}

pub(crate) fn fake_root() -> bool {
    FAKE_ROOT.load(Ordering::Relaxed)
}

/// Whether the machine's user lets programs run that the library cannot stand in front of.
pub(crate) fn host_is_allowed() -> bool {
    HOST_IS_ALLOWED.load(Ordering::Relaxed)
}

/// Maps the file that says whether the layer has been changed.
fn map_layer_changed() {
    let mut path = crate::paths::PathBuf::new();
    if !path.set(RUN_DIR.get()) || !path.push(dmlab_shim_proto::LAYER_CHANGED.as_bytes()) {
        return;
    }
    let flags = libc::O_RDWR | libc::O_CLOEXEC;
    let Ok(fd) = sys::openat(libc::AT_FDCWD, path.c_str().cast(), flags, 0) else { return };
    if let Ok(at) = sys::mmap(4096, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd as i32) {
        LAYER_CHANGED.store(at as *mut AtomicU32, Ordering::Relaxed);
    }
    let _ = sys::close(fd as i32);
}

fn layer_word() -> Option<&'static AtomicU32> {
    // SAFETY: null, or a page that was mapped at start and is never unmapped; the server never makes its file shorter.
    unsafe { LAYER_CHANGED.load(Ordering::Relaxed).as_ref() }
}

/// Whether programs have changed anything in the machine's own `/run` or `/etc`.
pub(crate) fn is_layer_changed() -> bool {
    layer_word().is_some_and(|word| word.load(Ordering::Acquire) != 0)
}

/// Notes that this program does.
pub(crate) fn note_layer_change() {
    if let Some(word) = layer_word() {
        word.store(1, Ordering::Release);
    }
}

/// Looks for the sign of that, while the machine's directory is sure to be in reach.
fn look_for_allowance() {
    let mut path = crate::paths::PathBuf::new();
    let is_there = path.set(RUN_DIR.get())
        && path.push(dmlab_shim_proto::ALLOW_HOST.as_bytes())
        && sys::faccessat(libc::AT_FDCWD, path.c_str().cast(), libc::F_OK).is_ok();
    HOST_IS_ALLOWED.store(is_there, Ordering::Relaxed);
}

/// Whether spinning can help: another processor may run the server meanwhile.
pub(crate) fn may_spin() -> bool {
    NR_CPUS.load(Ordering::Relaxed) > 1
}

/// True once after each fork, in the child.
pub(crate) fn just_forked() -> bool {
    let page = FORK_PAGE.load(Ordering::Relaxed);
    if page.is_null() {
        return false;
    }
    // SAFETY: the page was mapped at start and is never unmapped.
    let word = unsafe { &*page };
    word.load(Ordering::Relaxed) == 0 && word.swap(1, Ordering::AcqRel) == 0
}

/// Looks where the current directory is, after start and after each change of it.
pub(crate) fn look_at_cwd() {
    let mut buf = [0u8; 4096];
    let matters = match sys::getcwd(buf.as_mut_ptr(), buf.len()) {
        Ok(len) => {
            let cwd = &buf[..len.saturating_sub(1)];
            let mirrored = cwd.starts_with(MIRROR.get());
            if mirrored {
                note_mirror();
            }
            let inside = |root: &[u8]| cwd == root || (cwd.starts_with(root) && cwd[root.len()] == b'/');
            let roots = [&b"/dev"[..], b"/sys", b"/proc", b"/run", b"/etc", b"/var", LAYER.get()];
            mirrored || cwd == b"/" || roots.iter().any(|r| inside(r))
        }
        Err(_) => true,
    };
    CWD_MATTERS.store(matters, Ordering::Relaxed);
}

/// Reads the environment and the inherited descriptors. Called once, from the constructor.
pub(crate) fn init(environment: *const *const libc::c_char) {
    let mut at = environment;
    let mut socket: Option<&[u8]> = None;
    // SAFETY: the start-up code passes a null-terminated array of C strings that lives as long as the process starts up.
    unsafe {
        while !at.is_null() && !(*at).is_null() {
            let entry = core::ffi::CStr::from_ptr(*at).to_bytes();
            if let Some(value) = entry.strip_prefix(b"DMLAB_SOCKET=") {
                socket = Some(value);
            } else if entry.starts_with(b"LD_PRELOAD=") {
                PRELOAD.set(&[entry]);
            }
            at = at.add(1);
        }
    }
    let Some(socket) = socket else { return };
    let Some(dir) = socket.strip_suffix(dmlab_shim_proto::SOCKET_NAME.as_bytes()) else { return };
    if socket.first() != Some(&b'/')
        || !SOCKET.set(&[socket])
        || !RUN_DIR.set(&[dir])
        || !MIRROR.set(&[dir, dmlab_shim_proto::MIRROR_DIR.as_bytes()])
        || !LAYER.set(&[dir, dmlab_shim_proto::LAYER_DIR.as_bytes()])
        || !GONE.set(&[dir, dmlab_shim_proto::GONE_DIR.as_bytes()])
    {
        return;
    }
    FAKE_ROOT.store(sys::getuid() != Ok(0), Ordering::Relaxed);
    let mut cpus = [0u64; 16];
    if let Ok(bytes) = sys::sched_getaffinity(cpus.as_mut_ptr(), size_of_val(&cpus)) {
        let nr = cpus[..bytes / 8].iter().map(|w| w.count_ones()).sum();
        NR_CPUS.store(nr, Ordering::Relaxed);
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    if let Ok(page) = sys::mmap(4096, libc::PROT_READ | libc::PROT_WRITE, flags, -1) {
        let page = page as *mut AtomicU32;
        if sys::madvise(page.cast(), 4096, libc::MADV_WIPEONFORK).is_ok() {
            // SAFETY: just mapped, and never unmapped.
            unsafe { (*page).store(1, Ordering::Relaxed) };
            FORK_PAGE.store(page, Ordering::Relaxed);
        }
    }
    crate::clock::find(RUN_DIR.get());
    ENABLED.store(true, Ordering::Release);
    crate::filter::install();
    look_for_allowance();
    map_layer_changed();
    look_at_cwd();
    look_at_descriptors();
}

/// Finds inherited placeholders and mirror directories among the open descriptors.
fn look_at_descriptors() {
    let Ok(dir) =
        sys::openat(libc::AT_FDCWD, c"/proc/self/fd".as_ptr().cast(), libc::O_RDONLY | libc::O_DIRECTORY, 0)
    else {
        // No /proc: assume the worst, which is only slower.
        note_file();
        note_mirror();
        note_layer();
        return;
    };
    let dir = dir as i32;
    let mut buf = [0u8; 4096];
    while let Ok(len @ 1..) = sys::getdents(dir, buf.as_mut_ptr(), buf.len()) {
        let mut rest = &buf[..len];
        while rest.len() > 19 {
            let size = usize::from(u16::from_ne_bytes([rest[16], rest[17]]));
            let name = rest[19..size].split(|&b| b == 0).next().unwrap_or_default();
            let fd =
                name.iter().try_fold(0i32, |n, &b| b.is_ascii_digit().then(|| n * 10 + i32::from(b - b'0')));
            if let Some(fd) = fd.filter(|&fd| fd != dir) {
                if crate::files::may_be_placeholder(fd) {
                    note_file();
                } else if crate::paths::is_mirror_dir(fd) {
                    note_mirror();
                } else if crate::layer::is_dir_of_it(fd) {
                    note_layer();
                }
            }
            rest = &rest[size..];
        }
    }
    let _ = sys::close(dir);
}
