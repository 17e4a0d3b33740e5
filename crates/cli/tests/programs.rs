//! Real programs, unmodified, on a machine of their own: each case is a shell script and the words it must print.

mod kit;

use std::process::{Command, Output};

use kit::Scratch;

/// The Debian package of each program that a case needs.
const PACKAGES: &[(&str, &str)] = &[
    ("dmsetup", "dmsetup"),
    ("blockdev", "util-linux"),
    ("blkid", "util-linux"),
    ("wipefs", "util-linux"),
    ("losetup", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
    ("debugfs", "e2fsprogs"),
    ("fio", "fio"),
    ("python3", "python3"),
    ("setpriv", "util-linux"),
    ("busybox", "busybox-static"),
    ("cmp", "diffutils"),
];

fn need(programs: &[&str]) {
    let package = |name: &str| PACKAGES.iter().find(|(known, _)| *known == name).map(|(_, package)| *package);
    let programs: Vec<_> = programs.iter().map(|name| (*name, package(name).unwrap_or(name))).collect();
    kit::need(&programs);
}

fn dmlab(name: &str, words: &[&str]) -> Output {
    kit::command(&Scratch::new(name), words).output().unwrap()
}

/// Runs a script and compares everything it prints.
fn check(name: &str, programs: &[&str], script: &str, expected: &str) {
    need(programs);
    let output = dmlab(name, &["run", "--", "timeout", "60", "sh", "-c", &format!("exec 2>&1\n{script}")]);
    let printed = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(printed.trim_end(), expected.trim(), "script:\n{script}\nstderr: {complaint}");
}

const LINEAR: &str = "dmsetup create x --table '0 131072 linear /dev/ram0 0'; X=/dev/mapper/x\n";

fn check_linear(name: &str, programs: &[&str], script: &str, expected: &str) {
    check(name, &[&["dmsetup"], programs].concat(), &format!("{LINEAR}{script}"), expected);
}

#[test]
fn nodes_and_names() {
    check_linear(
        "nodes",
        &[],
        r"stat -c '%F %t:%T %a %u:%g %s' $X /dev/dm-0 /dev/mapper/control /dev/ram3
          ls /dev/mapper; readlink /sys/dev/block/254:0; cat /sys/block/dm-0/dm/name; grep -c device-mapper /proc/devices
          ls -d /dev/vda /run/udev 2>&1 | wc -l; test -b $X && echo block; realpath /sys/block/dm-0
          dmsetup remove x; ls /dev/mapper /sys/block | grep -c dm-",
        r"
block special file fe:0 660 0:6 0
block special file fe:0 600 0:0 0
character special file a:ec 600 0:0 0
block special file 1:3 660 0:6 0
control
x
../../devices/virtual/block/dm-0
x
1
2
block
/sys/devices/virtual/block/dm-0
0",
    );
}

#[test]
fn redirections_share_one_position() {
    check_linear(
        "redirections",
        &[],
        "echo hello >$X; head -c 6 <$X
         exec 3<>$X; echo abc >&3; (echo def >&3); sh -c 'echo ghi >&3'; exec 3>&-; head -c 12 $X
         cat <$X | head -c 4; od -A n -t x1 -N 4 <$X; od -A n -t x1 -N 4 $X
         echo zz >>$X && head -c 3 $X",
        "
hello
abc
def
ghi
abc
 61 62 63 0a
 61 62 63 0a
zz",
    );
}

#[test]
fn copying_to_and_fro() {
    check_linear(
        "copying",
        &["cmp"],
        "head -c 3000000 /dev/urandom >f; cp f $X; cmp -n 3000000 f $X && echo cp
         dd if=f of=/dev/ram2 bs=64k 2>/dev/null; cat /dev/ram2 | head -c 3000000 | cmp - f && echo cat
         dd if=/dev/zero of=$X bs=64k count=16 oflag=direct 2>/dev/null; head -c 1048576 $X | tr -d '\\0' | wc -c
         dd if=/dev/zero of=$X bs=1M seek=63 count=2 2>&1 | head -3
         dd if=$X bs=100 count=1 iflag=direct 2>&1 | head -1
         a=$(sha256sum <$X); b=$(sha256sum $X); [ \"${a%% *}\" = \"${b%% *}\" ] && echo sums",
        "
cp
cat
0
dd: error writing '/dev/mapper/x': No space left on device
2+0 records in
1+0 records out
dd: error reading '/dev/mapper/x': Invalid argument
sums",
    );
}

#[test]
fn a_close_is_seen_at_once() {
    check_linear(
        "close",
        &[],
        "exec 5<$X; dmsetup remove x 2>&1 | head -1; exec 5<&-
         for i in 1 2 3 4 5 6 7 8 9 10; do
           dd if=/dev/zero of=$X bs=64k count=4 2>/dev/null; dmsetup remove x || echo busy
           dmsetup create x --table '0 131072 linear /dev/ram0 0'; done; dmsetup ls",
        "
device-mapper: remove ioctl on x  failed: Device or resource busy
x\t(254:0)",
    );
}

#[test]
fn killed_programs_leave_nothing_behind() {
    check_linear(
        "killed",
        &[],
        "for i in 1 2 3; do
           dd if=/dev/zero of=$X bs=4k 2>/dev/null & p=$!; sleep 0.05; kill -9 $p; wait $p; done 2>/dev/null
         dmsetup suspend x; dd if=$X of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null & p=$!; sleep 0.2
         kill -9 $p; dmsetup resume x; sleep 0.1; dmsetup remove x && echo removed",
        "removed",
    );
}

#[test]
fn block_ioctls() {
    check_linear(
        "ioctls",
        &["blockdev", "blkid", "wipefs", "mkfs.ext4"],
        "blockdev --getsize64 --getss --getpbsz --getro --getra $X; blockdev --setro $X; blockdev --getro $X
         echo a 2>/dev/null >$X || echo refused; blockdev --setrw $X
         mkfs.ext4 -q -U 11111111-2222-3333-4444-555555555555 $X && blkid -p -o value -s TYPE -s UUID $X
         wipefs -q -a $X; blkid $X; echo $?; blkdiscard $X && echo discarded; blockdev --rereadpt $X",
        "
67108864
512
4096
0
256
1
refused
11111111-2222-3333-4444-555555555555
ext4
2
discarded
blockdev: ioctl error on BLKRRPART: Invalid argument",
    );
}

#[test]
fn a_file_system() {
    check_linear(
        "ext4",
        &["mkfs.ext4", "debugfs", "cmp"],
        "mkfs.ext4 -q $X && fsck.ext4 -f -n $X >/dev/null 2>&1 && echo clean
         head -c 500000 /dev/urandom >f; debugfs -w -R 'write f g' $X >/dev/null 2>&1
         debugfs -R 'dump g h' $X 2>/dev/null; cmp f h && echo same; fsck.ext4 -f -n $X >/dev/null 2>&1 && echo clean",
        "
clean
same
clean",
    );
}

#[test]
fn fio_with_each_engine() {
    let job =
        "--name=j --filename=$X --size=8M --rw=randrw --bs=4k --number_ios=500 --verify=crc32c --minimal";
    check_linear(
        "fio",
        &["fio"],
        &format!(
            "fio {job} --ioengine=psync --direct=1 >/dev/null && echo psync
             fio {job} --ioengine=libaio --iodepth=8 --direct=1 >/dev/null && echo libaio
             fio {job} --ioengine=posixaio --iodepth=4 >/dev/null && echo posixaio
             fio --name=j --filename=$X --size=8M --rw=randread --bs=4k --number_ios=300 --numjobs=4 --minimal >/dev/null && echo jobs
             fio --name=j --filename=$X --size=8M --rw=read --ioengine=io_uring --minimal 2>&1 | grep -c 'not implemented'"
        ),
        "
psync
libaio
posixaio
jobs
1",
    );
}

#[test]
fn python_sees_a_block_device() {
    let program = r"
import errno, fcntl, mmap, os, select, stat, struct, subprocess
X = '/dev/mapper/x'
def no(f):
    try: return f()
    except OSError as e: return errno.errorcode[e.errno]
fd = os.open(X, os.O_RDWR)
b = bytearray(8); fcntl.ioctl(fd, 0x80081272, b); print(struct.unpack('Q', b)[0])
s = os.fstat(fd); print(stat.S_ISBLK(s.st_mode), os.major(s.st_rdev), s.st_ino == os.stat(X).st_ino)
print(os.pwrite(fd, b'x' * 512, 1024), os.pread(fd, 3, 1024), os.lseek(fd, 0, os.SEEK_END))
print(no(lambda: mmap.mmap(fd, 4096)), no(lambda: os.lseek(fd, 1 << 40, 0)), no(lambda: os.ftruncate(fd, 0)),
      no(lambda: os.posix_fallocate(fd, 0, 10)), no(lambda: os.lseek(fd, 0, os.SEEK_HOLE)))
print(select.select([fd], [fd], [], 0) == ([fd], [fd], []), no(lambda: select.epoll().register(fd)))
print(os.readlink('/proc/self/fd/%d' % fd), os.stat('/proc/self/fd/%d' % fd).st_rdev == s.st_rdev)
d = os.open(X, os.O_RDONLY | os.O_DIRECT); print(no(lambda: os.pread(d, 100, 0)))
e = os.open(X, os.O_RDONLY | os.O_EXCL); print(no(lambda: os.open(X, os.O_RDONLY | os.O_EXCL)))
c = os.open('/dev/mapper/control', os.O_RDWR); print(no(lambda: os.read(c, 1)), no(lambda: fcntl.ioctl(c, 0xc138fd02, 5)))
p = select.poll(); p.register(c, select.POLLIN); print(p.poll(0))
subprocess.run(['dmsetup', 'create', 'y', '--table', '0 8 zero'], check=True); print(len(p.poll(1000)))
arm = bytearray(struct.pack('=8I', 4, 0, 0, 312, 0, 0, 0, 0) + bytes(280)); fcntl.ioctl(c, 0xc138fd10, arm); print(p.poll(0))
os.closerange(3, 1000000); print(stat.S_ISBLK(os.stat(X).st_mode))
f = open(X, 'rb', buffering=0); g = os.open('/dev/fd/%d' % f.fileno(), os.O_RDWR); os.write(g, b'via fd'); print(f.read(3))
";
    check_linear(
        "python",
        &["python3"],
        &format!("cat >p.py <<'EOF'\n{program}\nEOF\npython3 p.py"),
        "
67108864
True 254 True
512 b'xxx' 67108864
ENODEV EINVAL EINVAL ENODEV EINVAL
True EPERM
/dev/mapper/x True
EINVAL
EBUSY
EINVAL EFAULT
[]
1
[]
True
b'via'",
    );
}

#[test]
fn nodes_at_real_paths() {
    check_linear(
        "markers",
        &[],
        "mknod nd b 254 0 && stat -c '%F %t:%T' nd; echo text >nd; head -c 5 $X; mv nd other; head -c 5 other; rm other
         ln -s $X link; head -c 5 link; echo again >link; head -c 6 $X; readlink -f link
         DM_DEV_DIR=$PWD/dev dmsetup create y --table '0 8 zero'; ls dev/mapper; stat -c '%F' dev/mapper/y
         mkdir /dev/VG; ln -s $X /dev/VG/lv; ls /dev/VG; head -c 6 /dev/VG/lv; rm /dev/VG/lv; rmdir /dev/VG
         cd /dev/mapper; pwd; ls; head -c 6 x; cd ..; pwd; head -c 6 mapper/x; head -c 0 null && echo null",
        "
block special file fe:0
text
text
text
again
/dev/mapper/x
control
y
block special file
lv
again
/dev/mapper
control
x
again
/dev
again
null",
    );
}

#[test]
fn an_ordinary_user_is_root_inside() {
    need(&["setpriv"]);
    let scratch = Scratch::new("nobody");
    let binary = scratch.0.join("dmlab");
    std::fs::copy(kit::dmlab(), &binary).unwrap();
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let mut command = Command::new(if is_root { "setpriv" } else { "env" });
    if is_root {
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    }
    let script = "id -u; dmsetup create x --table '0 8192 linear /dev/ram0 0' && mkfs.ext4 -q /dev/mapper/x && echo made
                  stat -c %u:%g:%a /dev/mapper/x; dmsetup remove x && echo removed";
    let output = command
        .arg(&binary)
        .args(["run", "--", "sh", "-c", script])
        .env_remove("XDG_RUNTIME_DIR")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "0\nmade\n0:6:660\nremoved\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn exit_statuses_and_refusals() {
    need(&["busybox"]);
    let code = |words: &[&str]| dmlab("status", words).status.code();
    assert_eq!(code(&["run", "--", "sh", "-c", "exit 7"]), Some(7));
    assert_eq!(code(&["run", "--", "sh", "-c", "kill -TERM $$"]), Some(128 + 15));
    assert_eq!(code(&["run", "--", "no-such-program"]), Some(127));
    let refused = dmlab("static", &["run", "--", "busybox", "true"]);
    assert_eq!(refused.status.code(), Some(126));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("statically linked"), "{refused:?}");
    let below =
        dmlab("child", &["run", "--", "sh", "-c", "busybox true; echo $?; env -i ls /dev/mapper/control"]);
    assert!(String::from_utf8_lossy(&below.stderr).contains("statically linked"), "{below:?}");
    assert_eq!(String::from_utf8_lossy(&below.stdout), "126\n/dev/mapper/control\n");
}

#[test]
fn a_wait_is_interrupted_by_signals_and_events() {
    check_linear(
        "wait",
        &[],
        "timeout -s INT 0.3 dmsetup wait x; echo $?; dmsetup wait x & sleep 0.2; dmsetup rename x y; wait $!; echo $?",
        "
124
0",
    );
}

#[test]
fn without_disable_udev_the_world_makes_the_nodes() {
    check(
        "udev",
        &["dmsetup"],
        "unset DM_DISABLE_UDEV; dmsetup create u --table '0 8 zero'; ls /dev/mapper; dmsetup rename u v; ls /dev/mapper
         head -c 3 /dev/mapper/v | wc -c; dmsetup remove v; ls /dev/mapper",
        "
control
u
control
v
3
control",
    );
}

#[test]
fn machines_that_stay() {
    need(&["dmsetup"]);
    let name = format!("t{}", std::process::id());
    let ok = |words: &[&str]| {
        let output = dmlab("stay", words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    ok(&["boot", &name, "--ram", "2"]);
    assert!(!dmlab("stay", &["boot", &name]).status.success(), "a name is taken once");
    ok(&["attach", &name, "--", "dmsetup", "create", "x", "--table", "0 8 zero"]);
    assert_eq!(ok(&["attach", &name, "--", "dmsetup", "ls"]), "x\t(254:0)\n");
    assert!(ok(&["machines"]).contains(&format!("{name}\t3 block devices")));
    ok(&["halt", &name]);
    assert!(!ok(&["machines"]).contains(&name));
    assert!(!dmlab("stay", &["attach", &name, "--", "true"]).status.success());
}

#[test]
fn virtual_time_passes_while_everybody_waits() {
    need(&["dmsetup", "python3"]);
    // Hours of sleep; a write that waits for room for half a minute, while the script that gives it sleeps; and one that
    // nobody helps, which fails after the pool's 60 seconds.
    let script = "exec 2>&1
        sleep 7200
        dmsetup create meta --table '0 8192 linear /dev/ram1 0'
        table='thin-pool /dev/mapper/meta /dev/ram2 128 0 1 skip_block_zeroing'
        dmsetup create pool --table \"0 256 $table\"
        dmsetup message pool 0 'create_thin 0'
        dmsetup create thin --table '0 1024 thin /dev/mapper/pool 0'
        dd if=/dev/zero of=/dev/mapper/thin bs=64k count=4 oflag=direct status=none && echo written &
        sleep 30
        dmsetup status pool | cut -d' ' -f 6,8
        dmsetup load pool --table \"0 512 $table\"
        dmsetup resume pool
        wait
        dmsetup status pool | cut -d' ' -f 6,8
        python3 -c 'import time, select; time.sleep(100); select.select([], [], [], 100)'
        dd if=/dev/zero of=/dev/mapper/thin bs=64k count=8 oflag=direct status=none
        dmlab klog | grep -c 'switching pool to out-of-data-space (error IO) mode'";
    let binary = kit::dmlab();
    let path = binary.parent().unwrap().display();
    let script = format!("PATH={path}:$PATH; {script}");
    let output = dmlab("virtual", &["run", "--time", "virtual", "--", "sh", "-c", &script]);
    let printed = String::from_utf8_lossy(&output.stdout);
    let expected = "2/2 out_of_data_space\nwritten\n4/4 rw\n\
        dd: error writing '/dev/mapper/thin': No space left on device\n1\n";
    assert_eq!(printed, expected, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn thin_tools_look_into_a_machine() {
    need(&["dmsetup"]);
    let name = format!("thin{}", std::process::id());
    let ok = |words: &[&str]| {
        let output = dmlab("thin-machine", words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    ok(&["boot", &name, "--ram", "3"]);
    let script = "dmsetup create pool --table '0 1024 thin-pool /dev/ram0 /dev/ram1 128 0'
        dmsetup message pool 0 'create_thin 7'
        dmsetup create vol --table '0 1024 thin /dev/mapper/pool 7'
        dd if=/dev/zero of=/dev/mapper/vol bs=64k count=3 oflag=direct status=none";
    ok(&["attach", &name, "--", "sh", "-c", script]);
    // The pool is active: what it has committed is there to be seen, by its name or that of a volume.
    let ls = ok(&["thin", "--machine", &name, "ls", "pool"]);
    assert!(ls.lines().any(|line| line.split_whitespace().take(2).eq(["7", "192KiB"])), "{ls}");
    let runs = ok(&["thin", "map", "--runs", "--machine", &name, "/dev/mapper/vol"]);
    assert!(runs.contains("0-2"), "{runs}");
    ok(&[
        "attach",
        &name,
        "--",
        "dd",
        "if=/dev/zero",
        "of=/dev/mapper/vol",
        "bs=64k",
        "count=5",
        "oflag=direct",
    ]);
    let runs = ok(&["thin", "--machine", &name, "map", "--runs", "vol"]);
    assert!(runs.contains("0-4"), "what was read before is not shown again: {runs}");
    ok(&["attach", &name, "--", "dmsetup", "remove", "vol", "pool"]);
    assert_eq!(ok(&["thin", "--machine", &name, "check", "--quiet", "/dev/ram0"]), "");
    ok(&["halt", &name]);
}

#[test]
fn the_kernel_log_is_complete_when_the_run_ends() {
    need(&["dmsetup"]);
    let scratch = Scratch::new("klog");
    let log = scratch.0.join("log");
    let words =
        ["run", "--klog", log.to_str().unwrap(), "--", "dmsetup", "create", "x", "--table", "0 8 nosuch"];
    let output = dmlab("klog-run", &words);
    assert_eq!(output.status.code(), Some(1));
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.lines().map(|line| line.split_once("] ").unwrap().1).collect();
    let expected = [
        "device-mapper: table: 254:0: nosuch: unknown target type",
        "device-mapper: ioctl: error adding target to table",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn clients_at_once_and_closed_descriptors() {
    let program = r"
import os, stat, threading
X = '/dev/mapper/x'
for i in range(200):
    os.closerange(100, 30000)
    assert stat.S_ISBLK(os.stat(X).st_mode)
def work(n):
    fd = os.open(X, os.O_RDWR)
    for i in range(200):
        at = n * 1048576 + i * 4096
        os.pwrite(fd, bytes([n + 1]) * 4096, at)
        assert os.pread(fd, 4096, at) == bytes([n + 1]) * 4096
    os.close(fd)
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
pids = []
for n in range(4):
    pid = os.fork()
    if pid == 0:
        work(n); os._exit(0)
    pids.append(pid)
print([os.waitpid(pid, 0)[1] for pid in pids])
";
    check_linear(
        "clients",
        &["python3"],
        &format!("cat >p.py <<'EOF'\n{program}\nEOF\npython3 p.py && dmsetup remove x && echo removed"),
        "[0, 0, 0, 0]\nremoved",
    );
}

#[test]
fn loop_devices() {
    check(
        "loop",
        &["losetup", "mkfs.ext4", "dmsetup"],
        "truncate -s 16M f; L=$(losetup -f --show f); echo $L; losetup -a | cut -d: -f1
         cat /sys/block/loop0/size; mkfs.ext4 -q $L && echo made; sync; fsck.ext4 -fn f >/dev/null 2>&1 && echo clean
         truncate -s 20M f; losetup -c $L; blockdev --getsize64 $L
         losetup --sizelimit 1M -o 4096 -r /dev/loop7 f && blockdev --getsize64 --getro /dev/loop7
         dmsetup create x --table \"0 2048 linear $L 0\"; losetup -d $L; losetup -n -O NAME,AUTOCLEAR $L | tr -s ' '
         dmsetup remove x; losetup -d /dev/loop7; losetup -a; ls /sys/block/loop0/loop 2>&1 | wc -l
         losetup -f --show /dev/ram1; blockdev --getsize64 /dev/loop0; losetup -D; losetup -a",
        "
/dev/loop0
/dev/loop0
32768
made
clean
20971520
1048576
1
/dev/loop0 1
1
/dev/loop0
268435456",
    );
}

/// Docker's layers of snapshots, in the loop-lvm form and on disks.
#[test]
fn layers_of_snapshots() {
    need(&["dmsetup", "losetup", "mkfs.ext4", "fsck.ext4", "debugfs", "awk"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/docker-layers.sh");
    for disks in [&[][..], &["/dev/ram0", "/dev/ram1"]] {
        let output = dmlab("layers", &[&["run", "--", "sh", script], disks].concat());
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
        for line in [
            "image:     os",
            "app:       os app",
            "container: os app state",
            "an operating system",
            "and its file system is clean",
            "$ dmsetup load pool --table 0 262144",
        ] {
            assert!(
                printed.lines().any(|printed| printed.starts_with(line)),
                "no line `{line}` in\n{printed}"
            );
        }
        assert!(printed.contains("/2048 - rw discard_passdown queue_if_no_space - "), "{printed}");
    }
}

/// `--explain` says of another program's table what `dmlab create` says of its own.
#[test]
fn refusals_explained_to_foreign_programs() {
    need(&["dmsetup"]);
    let script = "dmsetup create a --table '0 1000000 linear /dev/ram0 0' 2>/dev/null";
    let output = dmlab("explain", &["run", "--explain", "--", "sh", "-c", script]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ram0 too small for target: start=0, len=1000000, dev_size=524288"), "{said}");
    assert!(said.contains("  0 1000000 linear /dev/ram0 0\n    ^^^^^^^\n"), "{said}");
    assert!(said.contains("ram0 has 524288 sectors"), "{said}");
}

/// What Linux 6.12 shows: reads, their sectors, writes, theirs.
#[test]
fn what_a_target_refuses_counts_in_no_statistics() {
    check(
        "refused-stat",
        &["dmsetup"],
        "io() { dd if=/dev/mapper/$1 of=/dev/null bs=4096 count=1 iflag=direct status=none
                dd if=/dev/mapper/$1 of=/dev/null bs=4096 count=1 skip=64 iflag=direct status=none
                dd if=/dev/zero of=/dev/mapper/$1 bs=4096 count=1 oflag=direct status=none
                dd if=/dev/zero of=/dev/mapper/$1 bs=262144 count=1 oflag=direct status=none; }
         show() { echo $1 $(cut -c 1-999 /sys/block/$(dmsetup info -c --noheadings -o blkdevname $1)/stat | awk '{print $1, $3, $5, $7}'); }
         dmsetup create error --table '0 1024 error'
         dmsetup create linear --table '0 1024 linear /dev/mapper/error 0'
         dmsetup create half --table '0 512 linear /dev/ram3 0
512 512 error'
         dmsetup create reads --table '0 1024 flakey /dev/ram0 0 0 100 1 error_reads'
         dmsetup create writes --table '0 1024 flakey /dev/ram0 0 0 100 1 error_writes'
         dmsetup create drops --table '0 1024 flakey /dev/ram0 0 0 100 1 drop_writes'
         for d in error linear half reads writes drops; do io $d 2>/dev/null; show $d; done
         dmsetup create meta --table '0 2048 linear /dev/ram4 0'; dmsetup create data --table '0 512 linear /dev/ram5 0'
         dmsetup create pool --table '0 512 thin-pool /dev/mapper/meta /dev/mapper/data 128 0 1 error_if_no_space'
         dmsetup message pool 0 'create_thin 0'; dmsetup create thin --table '0 2048 thin /dev/mapper/pool 0'
         dd if=/dev/zero of=/dev/mapper/thin bs=64k count=6 oflag=direct status=none 2>/dev/null; show thin
         dd if=/dev/mapper/thin of=/dev/null bs=64k count=1 skip=6 iflag=direct status=none; show thin",
        "
error 0 0 0 0
linear 2 16 2 520
half 1 8 2 520
reads 0 0 2 520
writes 2 16 2 520
drops 2 16 2 520
thin 0 0 4 512
thin 1 128 4 512",
    );
}
