//! A machine's own `/run` and `/etc`: what programs find there, and that nothing of it reaches the host.

mod kit;

use kit::users::{User, is_root, run, script, start};
use kit::{Scratch, need};

/// Runs a script as both users and compares what it prints.
fn both(name: &str, text: &str, expected: &str) {
    need(&[("setpriv", "util-linux"), ("flock", "util-linux"), ("python3", "python3-minimal")]);
    for user in [User::Same, User::Ordinary] {
        let scratch = Scratch::new(&format!("{name}-{user:?}"));
        assert_eq!(script(user, &scratch.0, text).trim_end(), expected.trim(), "{user:?}\n{text}");
    }
}

#[test]
fn files_are_written_beside_the_hosts() {
    let before = std::fs::read("/etc/passwd").unwrap();
    both(
        "files",
        "echo hello >/etc/dmlab-new; cat /etc/dmlab-new; stat -c '%A %U' /etc/dmlab-new
         head -n 1 /etc/passwd >first; echo added >>/etc/passwd; head -n 1 /etc/passwd | cmp - first && tail -n 1 /etc/passwd
         ls /etc | grep -c -x -e dmlab-new -e passwd -e group
         chmod 600 /etc/services; touch -d 2001-01-01 /etc/services; stat -c '%a %.10y' /etc/services
         test -w /etc/group && cp /etc/group /etc/group2 && cmp /etc/group /etc/group2 && echo same
         ln -s dmlab-new /etc/link; echo through >/etc/link; cat /etc/dmlab-new; readlink /etc/link; realpath /etc/link
         ln /etc/dmlab-new /etc/hard; echo twice >/etc/hard; cat /etc/dmlab-new; truncate -s 3 /etc/hard; stat -c %s:%h /etc/dmlab-new",
        "
hello
-rw-r--r-- root
added
3
600 2001-01-01
same
through
dmlab-new
/etc/dmlab-new
twice
3:2",
    );
    assert!(!std::path::Path::new("/etc/dmlab-new").exists());
    assert!(std::fs::read("/etc/passwd").unwrap() == before, "the host's file was written");
}

#[test]
fn links_that_lead_there_reach_nothing_of_the_hosts() {
    let before = std::fs::read("/etc/services").unwrap();
    both(
        "links",
        "ln -s /etc there; ln -s /etc/services file; ln -s /run run
         echo new >there/dmlab-by-link; mkdir there/dmlab-dir; echo over >file; echo r >run/dmlab-by-link
         rm there/profile; echo s >/proc/self/root/etc/dmlab-by-root; (cd /etc; echo c >/proc/self/cwd/dmlab-by-cwd)
         cat /etc/dmlab-by-link /etc/services /run/dmlab-by-link /etc/dmlab-by-root /etc/dmlab-by-cwd; ls -d /etc/dmlab-dir /etc/profile",
        "
new
over
r
s
c
ls: cannot access '/etc/profile': No such file or directory
/etc/dmlab-dir",
    );
    for name in [
        "/etc/dmlab-by-link",
        "/etc/dmlab-dir",
        "/run/dmlab-by-link",
        "/etc/dmlab-by-root",
        "/etc/dmlab-by-cwd",
    ] {
        assert!(!std::path::Path::new(name).exists(), "{name} is on the host");
    }
    assert!(std::path::Path::new("/etc/profile").exists(), "the host's file was removed");
    assert!(std::fs::read("/etc/services").unwrap() == before, "the host's file was written");
}

#[test]
fn what_is_removed_is_gone_here_only() {
    both(
        "gone",
        "rm /etc/passwd; cat /etc/passwd; ls /etc | grep -c -x passwd; echo mine >/etc/passwd; cat /etc/passwd
         mv /etc/group /etc/group2; ls -d /etc/group; head -c 5 /etc/group2; echo
         rmdir /etc/default 2>&1 | grep -o 'not empty'; rm -r /etc/default; ls -d /etc/default; mkdir /etc/default
         ls -A /etc/default; touch /etc/default/x; rmdir /etc/default; rm /etc/default/x; rmdir /etc/default && echo removed
         mkdir /etc/passwd; mv /etc/profile /tmp/dmlab-profile-$$ && ls /etc/profile; rm -f /tmp/dmlab-profile-$$",
        "
cat: /etc/passwd: No such file or directory
0
mine
ls: cannot access '/etc/group': No such file or directory
root:
not empty
ls: cannot access '/etc/default': No such file or directory
rmdir: failed to remove '/etc/default': Directory not empty
removed
mkdir: cannot create directory '/etc/passwd': File exists
ls: cannot access '/etc/profile': No such file or directory",
    );
    for path in ["/etc/passwd", "/etc/group", "/etc/default", "/etc/profile"] {
        assert!(std::path::Path::new(path).exists(), "{path} of the host");
    }
}

#[test]
fn directories_pipes_sockets_and_locks() {
    both(
        "dirs",
        r"cd /etc; pwd; echo x >dmlab-rel; cat /etc/dmlab-rel; cd default && ls .. | grep -c dmlab-rel; cd /
         echo 1 >/run/dmlab-x.pid; cat /var/run/dmlab-x.pid; mkfifo /run/dmlab-pipe; (echo through >/run/dmlab-pipe &)
         cat /run/dmlab-pipe; mkdir -p /var/lock/dmlab-q; (cd /run/lock/dmlab-q && touch a b && ls && pwd)
         find /run/lock/dmlab-q -type f | sort
         flock /run/lock/dmlab-z sh -c 'flock -n /run/lock/dmlab-z true; echo $?'
         python3 - <<'P'
import os, socket
def talk(path):
    s = socket.socket(socket.AF_UNIX); s.bind(path); s.listen()
    c = socket.socket(socket.AF_UNIX); c.connect(path); a, _ = s.accept(); c.send(b'hi')
    print(a.recv(9), s.getsockname() == path, c.getpeername() == path, os.path.exists(path))
talk('/run/dmlab-socket')
os.mkdir('/run/' + 'd' * 60)
s = socket.socket(socket.AF_UNIX); s.bind('/run/' + 'd' * 60 + '/' + 's' * 30); s.listen()
c = socket.socket(socket.AF_UNIX); c.connect('/run/' + 'd' * 60 + '/' + 's' * 30); print('long')
try: socket.socket(socket.AF_UNIX).bind('/run/dmlab-socket')
except OSError as e: print(e.strerror)
d = os.open('/etc', os.O_RDONLY | os.O_DIRECTORY)
f = os.open('dmlab-at', os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=d); os.write(f, b'x')
print(os.stat('dmlab-at', dir_fd=d).st_size, open('/etc/dmlab-at').read(), 'dmlab-at' in os.listdir('/etc'))
print(os.readlink('/proc/self/fd/%d' % f), os.readlink('/proc/self/fd/%d' % d))
for what in (lambda: os.mkdir('/etc/default'), lambda: os.rmdir('/etc/passwd'), lambda: os.unlink('/etc/default'),
             lambda: os.open('/etc/passwd', os.O_CREAT | os.O_EXCL), lambda: os.open('/etc/none/x', os.O_CREAT),
             lambda: os.rename('/etc/default', '/etc/default2')):
    try: what(); print('no error')
    except OSError as e: print(e.strerror)
P",
        "
/etc
x
1
1
through
a
b
/run/lock/dmlab-q
/run/lock/dmlab-q/a
/run/lock/dmlab-q/b
1
b'hi' True True True
long
Address already in use
1 x True
/etc/dmlab-at /etc
File exists
Not a directory
Is a directory
File exists
No such file or directory
Invalid cross-device link",
    );
    assert!(!std::path::Path::new("/run/dmlab-socket").exists());
    assert!(!std::path::Path::new("/run/lock/dmlab-q").exists());
}

#[test]
fn each_machine_has_its_own_and_a_booted_one_keeps_it() {
    let scratch = Scratch::new("kept");
    let name = format!("test-{}", std::process::id());
    let dmlab = |words: &[&str]| {
        let output = start(User::Same, &scratch.0, words);
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    assert!(dmlab(&["boot", &name]).contains("runs in"));
    dmlab(&["attach", &name, "--", "sh", "-c", "echo kept >/run/dmlab-kept"]);
    assert_eq!(dmlab(&["attach", &name, "--", "cat", "/run/dmlab-kept"]), "kept\n");
    let other = dmlab(&["run", "--", "cat", "/run/dmlab-kept"]);
    assert!(other.contains("No such file"), "{other}");
    // A daemon stays with the machine, and ends with it.
    let daemon = dmlab(&["attach", &name, "--", "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"]);
    assert!(runs(&daemon), "{daemon}");
    assert_eq!(dmlab(&["halt", &name]), "");
    assert!(!runs(&daemon), "the daemon outlives its machine");
}

/// Whether a process runs: one that has ended and was not waited for does not.
fn runs(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z")
}

#[test]
fn daemons_of_a_crash_exploration_end_with_their_machine() {
    let scratch = Scratch::new("crash");
    let workload = "dd if=/dev/zero of=/dev/ram0 bs=4k count=1 conv=fsync status=none; setsid sleep 1000 >/dev/null 2>&1 & echo $! >left";
    let output =
        start(User::Same, &scratch.0, &["crash", "--disks", "1", "--workload", workload, "--check", "true"]);
    assert!(output.status.success(), "{output:?}");
    let pid = std::fs::read_to_string(scratch.path("left")).unwrap();
    assert!(!runs(&pid), "{pid}");
}

#[test]
fn what_a_run_leaves_ends_with_it() {
    let scratch = Scratch::new("left");
    let text = "setsid sh -c 'trap \"\" TERM; echo $$ >left; exec sleep 1000' >/dev/null 2>&1 & while ! test -s left; do :; done
                (setsid sleep 1001 >/dev/null 2>&1 & echo $! >left2); echo ran; exit 3";
    let output = start(User::Same, &scratch.0, &["run", "--", "sh", "-c", text]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(3), &b"ran\n"[..]));
    for name in ["left", "left2"] {
        let pid = std::fs::read_to_string(scratch.path(name)).unwrap();
        assert!(!std::path::Path::new("/proc").join(pid.trim()).exists(), "{name}: {pid}");
    }
}

/// What the host keeps for root alone is empty to an ordinary user's machine, and can be written there.
#[test]
fn directories_that_are_closed_to_the_user_are_empty() {
    if !is_root() {
        // Nobody else can make one.
        return;
    }
    let name = format!("/etc/dmlab-closed-{}", std::process::id());
    std::fs::create_dir(&name).unwrap();
    std::fs::write(format!("{name}/secret"), "s").unwrap();
    run("chmod", &["700", &name]);
    let scratch = Scratch::new("closed");
    let text = format!(
        "ls {name}; cat {name}/secret; echo own >{name}/own; ls {name}; cat {name}/own; rm -r {name}; ls -d {name}"
    );
    let ordinary = script(User::Ordinary, &scratch.0, &text);
    let same = script(User::Same, &scratch.0, &text);
    let kept = std::fs::read_to_string(format!("{name}/secret"));
    std::fs::remove_dir_all(&name).unwrap();
    assert_eq!(kept.unwrap(), "s");
    let gone = format!("ls: cannot access '{name}': No such file or directory\n");
    assert_eq!(ordinary, format!("cat: {name}/secret: No such file or directory\nown\nown\n{gone}"));
    assert_eq!(same, format!("secret\nsown\nsecret\nown\n{gone}"));
}

#[test]
fn owners_are_remembered_as_under_fakeroot() {
    both(
        "owners",
        "touch f; stat -c %u:%g f; chown 5:6 f; stat -c %u:%g f; ls -ln f | cut -d ' ' -f 3,4; chown :7 f; stat -c %u:%g f
         mv f g; stat -c %u:%g g; python3 -c 'import os; s = os.stat(\"g\"); print(s.st_uid, s.st_gid)'
         mkdir d; chown 8 d; ln -s g l; chown -h 9:9 l; chown 1 l; stat -c %u:%g d l g; rm g; touch g; stat -c %u:%g g
         touch /etc/dmlab-o; chown 3:4 /etc/dmlab-o; stat -c %u:%g /etc/dmlab-o",
        "
0:0
5:6
5 6
5:7
5:7
5 7
8:0
9:9
1:7
0:0
3:4",
    );
}

#[test]
fn roots_calls_on_itself_succeed() {
    both(
        "calls",
        r"python3 - <<'P'
import ctypes, os, resource
libc = ctypes.CDLL(None, use_errno=True)
print(os.setpriority(os.PRIO_PROCESS, 0, -18), os.nice(0) <= 0 or 'raised')
page = ctypes.create_string_buffer(1 << 24)
print(libc.mlock(page, ctypes.c_size_t(1 << 24)), libc.munlock(page, ctypes.c_size_t(1 << 24)), libc.munlockall())
print(libc.mlockall(3), libc.munlockall())
print(resource.setrlimit(resource.RLIMIT_CORE, (0, 0)), resource.prlimit(0, resource.RLIMIT_MEMLOCK, (1 << 40, 1 << 40)) != ())
print(os.setgroups([1, 2]))
P"
            .trim_end(),
        "
None True
0 0 0
0 0
None True
None",
    );
}

/// As root, an LVM volume group that has the name of one of the host's must not touch what the host keeps of it.
#[test]
fn the_hosts_own_backups_stay() {
    need(&[("vgcreate", "lvm2")]);
    if !is_root() {
        // Nobody else could write there; the run itself must still work.
        return lvm_writes_backups();
    }
    let name = format!("dmlabtest{}", std::process::id());
    let (backup, archive) = (format!("/etc/lvm/backup/{name}"), std::path::Path::new("/etc/lvm/archive"));
    let had_dir = std::path::Path::new("/etc/lvm/backup").exists();
    std::fs::create_dir_all("/etc/lvm/backup").unwrap();
    std::fs::write(&backup, "the host's own\n").unwrap();
    let scratch = Scratch::new("backup");
    let text = format!(
        "ls -d /etc/lvm/backup; ls -A /etc/lvm/backup /etc/lvm/archive 2>/dev/null | grep -c vg; cat {backup} 2>&1; vgcreate -q {name} /dev/ram0 >/dev/null; lvcreate -q -y -L 8M -n a {name} >/dev/null
         grep -c 'a {{' {backup}; ls /etc/lvm/archive | grep -c {name}; vgremove -q -ff -y {name} >/dev/null; ls /etc/lvm/backup"
    );
    let printed = script(User::Same, &scratch.0, &text);
    let kept = std::fs::read_to_string(&backup);
    std::fs::remove_file(&backup).unwrap();
    if !had_dir {
        std::fs::remove_dir("/etc/lvm/backup").unwrap();
    }
    // A machine begins without backups: those of the host's are of the host's disks.
    let want = format!("/etc/lvm/backup\n0\ncat: {backup}: No such file or directory\n1\n");
    assert!(printed.starts_with(&want), "{printed}");
    assert_eq!(kept.unwrap(), "the host's own\n");
    let archived = std::fs::read_dir(archive).into_iter().flatten().flatten();
    assert!(!archived.into_iter().any(|entry| entry.file_name().to_string_lossy().contains(&name)));
}

fn lvm_writes_backups() {
    let scratch = Scratch::new("backup");
    let text = "vgcreate -q vg0 /dev/ram0 >/dev/null; lvcreate -q -y -L 8M -n a vg0 >/dev/null; grep -c 'a {' /etc/lvm/backup/vg0";
    assert_eq!(script(User::Same, &scratch.0, text), "1\n");
}

/// A symlink of the host's leads to what the machine has, as soon as programs have changed anything.
#[test]
fn what_is_read_through_a_symlink_is_the_machines() {
    both(
        "read-by-link",
        "ln -s /etc link; ln -s /etc/passwd pw; ln -s /run run
         head -n 1 pw | cmp - /etc/passwd 2>&1 | grep -c EOF; echo new >>/etc/passwd
         tail -n 1 pw; tail -n 1 link/passwd; tail -n 1 /proc/self/root/etc/passwd; (cd link; tail -n 1 passwd)
         echo mine >/etc/dmlab-own; cat link/dmlab-own; cmp link/group /etc/group && echo same
         rm /etc/services; cat link/services 2>&1 | sed 's/.*: //'; echo r >/run/dmlab-own; cat run/dmlab-own; cat run/dmlab-none 2>&1 | sed 's/.*: //'
         python3 -c 'print(open(\"pw\").read().split(chr(10))[-2])'",
        "
1
new
new
new
new
mine
same
No such file or directory
r
No such file or directory
new",
    );
}
