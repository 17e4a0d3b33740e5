//! Directories. A simulated one is a real directory of the mirror, so descriptors, streams and walks work natively; only
//! the entry types, which the mirror cannot show, are set to "unknown".

use dmlab_shim_proto::FileKind;
use libc::{DIR, c_char, c_int, c_void, dirent};

use crate::hook::hook;
use crate::layer::{self, How};
use crate::open::{Opened, open_simulated};
use crate::paths::{PathBuf, is_mirror_dir, leads_into_simulation, simulated};
use crate::{errno, set_errno, state, sys};

/// Opens a directory stream; `real` does it natively.
fn opendir_any(real: impl Fn(*const c_char) -> *mut DIR, path: *const c_char) -> *mut DIR {
    if !state::enabled() {
        return real(path);
    }
    let mut place = PathBuf::new();
    let path = match layer::at(libc::AT_FDCWD, path, How::List, &mut place) {
        Ok((_, path)) => path,
        Err(errno) => {
            set_errno(errno);
            return core::ptr::null_mut();
        }
    };
    let mut buf = PathBuf::new();
    if !simulated(libc::AT_FDCWD, path, &mut buf) {
        let dir = real(path);
        if !dir.is_null()
            || errno() != libc::ENOENT
            || !leads_into_simulation(libc::AT_FDCWD, path, true, &mut buf)
        {
            return dir;
        }
    }
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    match open_simulated(&mut buf, flags, 0) {
        Ok(Opened::Fd(fd, FileKind::Directory)) => {
            // SAFETY: a directory descriptor that is ours to give away.
            unsafe { libc::fdopendir(fd) }
        }
        Ok(Opened::Elsewhere) => real(buf.c_str()),
        Ok(Opened::Fd(fd, _)) => {
            let _ = sys::close(fd);
            set_errno(libc::ENOTDIR);
            core::ptr::null_mut()
        }
        Err(errno) => {
            set_errno(errno);
            core::ptr::null_mut()
        }
    }
}

/// In the mirror, device nodes are sockets (an open that slips past this library fails): their type is not to be believed.
fn doubt_type(dir: *mut DIR, entry: *mut dirent) -> *mut dirent {
    if !entry.is_null() && state::has_mirror() {
        // SAFETY: the stream is open and the entry is valid until its next read.
        unsafe {
            if (*entry).d_type == libc::DT_SOCK && is_mirror_dir(libc::dirfd(dir)) {
                (*entry).d_type = libc::DT_UNKNOWN;
            }
        }
    }
    // In the layer, a file may stand for anything of the host's.
    if !entry.is_null() && state::has_layer() {
        // SAFETY: as above.
        unsafe {
            if (*entry).d_type == libc::DT_REG && layer::is_layer_dir(libc::dirfd(dir)) {
                (*entry).d_type = libc::DT_UNKNOWN;
            }
        }
    }
    entry
}

type Filter = Option<unsafe extern "C" fn(*const dirent) -> c_int>;
type Compare = Option<unsafe extern "C" fn(*mut *const dirent, *mut *const dirent) -> c_int>;

/// `scandir` of a simulated directory: glibc's own opens the directory by hidden calls.
fn scan(path: *const c_char, out: *mut *mut *mut dirent, filter: Filter, compare: Compare) -> c_int {
    // SAFETY: opendir and readdir are this library's own; every entry is copied to memory of its own, which the program
    // frees, as scandir's contract says.
    unsafe {
        let dir = libc::opendir(path);
        if dir.is_null() {
            return -1;
        }
        let (mut list, mut len, mut room) = (core::ptr::null_mut::<*mut dirent>(), 0usize, 0usize);
        loop {
            let entry = libc::readdir(dir);
            if entry.is_null() {
                break;
            }
            if filter.is_some_and(|filter| filter(entry) == 0) {
                continue;
            }
            if len == room {
                room = (room * 2).max(16);
                list = libc::realloc(list.cast(), room * size_of::<*mut dirent>()).cast();
            }
            let size = usize::from((*entry).d_reclen);
            let copy = libc::malloc(size).cast::<u8>();
            if list.is_null() || copy.is_null() {
                libc::closedir(dir);
                set_errno(libc::ENOMEM);
                return -1;
            }
            core::ptr::copy_nonoverlapping(entry.cast::<u8>(), copy, size);
            *list.add(len) = copy.cast();
            len += 1;
        }
        libc::closedir(dir);
        if let Some(compare) = compare.filter(|_| len > 1) {
            let compare: unsafe extern "C" fn(*const c_void, *const c_void) -> c_int =
                core::mem::transmute(compare);
            libc::qsort(list.cast(), len, size_of::<*mut dirent>(), Some(compare));
        }
        *out = list;
        len as c_int
    }
}

hook! {
    opendir => |real| (path: *const c_char) -> *mut DIR {
        opendir_any(real, path)
    }

    readdir, readdir64 => |real| (dir: *mut DIR) -> *mut dirent {
        doubt_type(dir, real(dir))
    }

    scandir, scandir64 => |real| (path: *const c_char, out: *mut *mut *mut dirent, filter: Filter, compare: Compare)
        -> c_int {
        let mut buf = PathBuf::new();
        if simulated(libc::AT_FDCWD, path, &mut buf) || layer::layered(libc::AT_FDCWD, path, &mut buf) {
            scan(path, out, filter, compare)
        } else {
            real(path, out, filter, compare)
        }
    }
}
