//! Where machines live on the host: one directory of the user's, one in it for each machine with its socket.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use dmlab_shim_proto::SOCKET_NAME;
use rustix::fs::FileType;

/// The longest path of a directory of machines: a machine's name of 32 bytes and its socket's fit behind it, as paths of
/// sockets have at most 107 bytes.
const HOME_MAX: usize = 107 - "/".len() - 32 - "/".len() - SOCKET_NAME.len();

/// The user's directory of machines: `$XDG_RUNTIME_DIR/dmlab`, else `$TMPDIR/dmlab-UID`, else `/tmp/dmlab-UID`. Made if absent.
/// A TMPDIR that is too long for the paths of sockets is passed over.
///
/// # Errors
/// When it cannot be made, or is not the user's alone: another user could then listen in the machine's place.
pub fn home() -> io::Result<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // Asked of the kernel itself: inside a run everything seems to be root's.
    let owned = |dir: &PathBuf| {
        let found = rustix::fs::stat(dir);
        found.is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::Directory && stat.st_uid == uid
        })
    };
    let of_user = format!("dmlab-{uid}");
    let fits = |dir: &PathBuf| dir.as_os_str().len() <= HOME_MAX;
    let temporary = || variable("TMPDIR").map(|dir| dir.join(&of_user)).filter(fits);
    let dir = variable("XDG_RUNTIME_DIR").filter(owned).map(|runtime| runtime.join("dmlab"));
    let dir = dir.or_else(temporary).unwrap_or_else(|| Path::new("/tmp").join(&of_user));
    private_dir(&dir).map_err(|error| {
        let hint = "set XDG_RUNTIME_DIR or TMPDIR to a directory that you may write to";
        io::Error::new(error.kind(), format!("{error}: {hint}"))
    })?;
    Ok(dir)
}

/// Makes `dir` with mode 0700 if it is absent, and checks that it is the user's own.
///
/// # Errors
/// When it cannot be made or is not private.
pub fn private_dir(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(io::Error::new(
                error.kind(),
                format!("cannot make the directory {}: {error}", dir.display()),
            ));
        }
    }
    let stat = rustix::fs::lstat(dir)?;
    let uid = rustix::process::geteuid().as_raw();
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(io::Error::other(format!(
            "{} must be a directory, and is something else: remove it",
            dir.display()
        )));
    }
    if stat.st_uid != uid {
        return Err(io::Error::other(format!(
            "{} must be a directory of user {uid}, but it belongs to user {}: remove it",
            dir.display(),
            stat.st_uid
        )));
    }
    if stat.st_mode & 0o077 != 0 {
        return Err(io::Error::other(format!(
            "{} has mode {:o}, but only its owner may enter it: chmod 700 it",
            dir.display(),
            stat.st_mode & 0o7777
        )));
    }
    Ok(())
}

/// The directory of a named machine.
///
/// # Errors
/// When the name cannot be a directory's.
pub fn named(name: &str) -> io::Result<PathBuf> {
    let fits = !name.is_empty() && name.len() <= 32 && !name.starts_with(['.', '-']);
    if !fits || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{name:?} cannot name a machine: use up to 32 letters, digits, '_', and, not at its beginning, '-' and '.'"
            ),
        ));
    }
    Ok(home()?.join(name))
}

/// Whether a server listens in this directory.
pub fn is_alive(dir: &Path) -> bool {
    crate::client::knock(&dir.join(SOCKET_NAME)).is_ok()
}

/// When the machine in this directory was booted, by the host's clock.
///
/// # Errors
/// When none is there.
pub fn booted(dir: &Path) -> io::Result<std::time::SystemTime> {
    fs::metadata(dir.join(SOCKET_NAME))?.modified()
}

/// Whether a directory's name is that of a run's machine (`run-PID`, `crash-PID-N`) whose process is gone.
fn is_of_dead_run(name: &str) -> bool {
    let rest = name.strip_prefix("run-").or_else(|| name.strip_prefix("crash-"));
    let pid = rest.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
    pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

/// The machines that run, and those whose server died; the latter's directories are removed.
///
/// # Errors
/// When the user's directory cannot be read.
pub fn machines() -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(home()?)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if entry.path().join(SOCKET_NAME).exists() {
            if is_alive(&entry.path()) {
                names.push(name);
            } else {
                let _ = fs::remove_dir_all(entry.path());
            }
        } else if is_of_dead_run(&name) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    names.sort();
    Ok(names)
}
