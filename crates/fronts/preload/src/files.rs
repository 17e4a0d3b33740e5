//! Which descriptors stand for simulated open files. The library keeps no table: a placeholder is the read end of a pipe
//! whose buffer is one page, and the pipe's inode names the open file in the server. Copies made by `dup`, `fork`, `exec` or
//! a socket are therefore the same open file without our being told.

use core::sync::atomic::{AtomicU64, Ordering};

use dmlab_shim_proto::FileKind;
use dmlab_shim_proto::front::Request;

use crate::{channel, state, sys};

/// A simulated open file behind a descriptor.
#[derive(Clone, Copy)]
pub(crate) struct File {
    /// Inode of the placeholder.
    pub(crate) id: u64,
    /// Block or character device.
    pub(crate) is_block: bool,
    /// The descriptor; -1 where only the inode is known.
    pub(crate) fd: i32,
}

/// Bytes of a placeholder's pipe buffer; ordinary pipes have sixteen pages.
const PLACEHOLDER_SIZE: usize = 4096;

const NOT_OURS: u64 = 1;
const BLOCK: u64 = 2;
const CHAR: u64 = 3;

/// What inodes were found to be: `inode << 2 | verdict`. Pipe inodes are not reused while it matters (they count up).
static SEEN: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];

fn entry(id: u64) -> &'static AtomicU64 {
    &SEEN[(id % SEEN.len() as u64) as usize]
}

/// Remembers what the server said a placeholder is.
pub(crate) fn remember(id: u64, kind: FileKind) {
    let verdict = if kind == FileKind::Block { BLOCK } else { CHAR };
    entry(id).store(id << 2 | verdict, Ordering::Relaxed);
    state::note_file();
}

pub(crate) fn may_be_placeholder(fd: i32) -> bool {
    sys::fcntl(fd, libc::F_GETPIPE_SZ, 0) == Ok(PLACEHOLDER_SIZE)
}

/// The simulated open file behind `fd`, if it is one.
#[inline]
pub(crate) fn file(fd: i32) -> Option<File> {
    if !state::has_files() || fd < 0 { None } else { find(fd) }
}

#[inline(never)]
fn find(fd: i32) -> Option<File> {
    if !may_be_placeholder(fd) {
        return None;
    }
    by_inode(sys::fstat(fd).ok()?.st_ino).map(|file| File { fd, ..file })
}

/// The simulated open file whose placeholder has this inode.
pub(crate) fn by_inode(id: u64) -> Option<File> {
    let seen = entry(id).load(Ordering::Relaxed);
    let verdict = if seen >> 2 == id && seen != 0 {
        seen & 3
    } else {
        let verdict = match channel::ask(&Request::Identify { file: id }) {
            Ok(reply) if reply.kind == FileKind::Block => BLOCK,
            Ok(_) => CHAR,
            Err(libc::EBADF) => NOT_OURS,
            Err(_) => return None,
        };
        entry(id).store(id << 2 | verdict, Ordering::Relaxed);
        verdict
    };
    (verdict != NOT_OURS).then_some(File { id, is_block: verdict == BLOCK, fd: -1 })
}
