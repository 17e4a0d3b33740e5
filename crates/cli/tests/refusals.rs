//! Programs that the front cannot stand in front of are refused, wherever in a run they are started, and the others keep the
//! machine, whatever they do to their environment.

mod kit;

use std::path::Path;
use std::process::Command;

use kit::users::{User, is_root, run, script, start};
use kit::{Scratch, dmlab, need};

const OPENS: &str = "#include <fcntl.h>\n#include <stdio.h>\n\
    int main(void) { printf(\"%s\\n\", open(\"/dev/mapper/control\", O_RDWR) < 0 ? \"no\" : \"opened\"); return 0; }\n";
const GO: &str = "package main\n\nimport \"syscall\"\n\nfunc main() { f, err := syscall.Open(\"/dev/mapper/control\", 0, 0); println(f, err != nil) }\n";
const CGO: &str = "package main\n\n// int one(void) { return 1; }\nimport \"C\"\nimport \"syscall\"\n\n\
    func main() { f, err := syscall.Open(\"/dev/mapper/control\", 0, 0); println(f, err != nil, C.one()) }\n";

/// Compiles one program of each kind into a directory: its name and a word of the reason.
fn programs(dir: &Path) -> Vec<(&'static str, &'static str)> {
    need(&[
        ("cc", "gcc"),
        ("musl-gcc", "musl-tools"),
        ("go", "golang-go"),
        ("strace", "strace"),
        ("make", "make"),
    ]);
    std::fs::write(dir.join("opens.c"), OPENS).unwrap();
    for (name, text) in [("go", GO), ("cgo", CGO)] {
        std::fs::create_dir(dir.join(name)).unwrap();
        std::fs::write(dir.join(name).join("main.go"), text).unwrap();
    }
    let build = |program: &str, words: &[&str], cgo: &str| {
        let output = Command::new(program)
            .args(words)
            .current_dir(dir)
            .envs([("GO111MODULE", "off"), ("GOFLAGS", ""), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", cgo)])
            .env("GOCACHE", dir.join("cache"))
            .env("HOME", dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    build("cc", &["-o", "served", "opens.c"], "1");
    build("cc", &["-static", "-o", "static", "opens.c"], "1");
    build("musl-gcc", &["-o", "musl", "opens.c"], "1");
    build("go", &["build", "-o", "go-static", "go/main.go"], "0");
    build("go", &["build", "-o", "go-dynamic", "cgo/main.go"], "1");
    vec![
        ("static", "is statically linked"),
        ("musl", "is built for another C library than glibc"),
        ("go-static", "is a Go program"),
        ("go-dynamic", "is a Go program"),
    ]
}

#[test]
fn every_kind_is_refused_wherever_it_starts() {
    let scratch = Scratch::new("refused");
    let dir = &scratch.0;
    for (name, why) in programs(dir) {
        let program = format!("./{name}");
        std::fs::write(dir.join("Makefile"), format!("all:\n\t@{program}\n")).unwrap();
        std::fs::write(dir.join("script"), format!("#!{}/{name}\n", dir.display())).unwrap();
        run("chmod", &["755", dir.join("script").to_str().unwrap()]);
        let ways: &[(&[&str], i32)] = &[
            (&[&program], 126),
            (&["sh", "-c", &format!("{program}; exit $?")], 126),
            (&["bash", "-c", &format!("exec {program}")], 126),
            (&["sh", "-c", &format!("echo x | xargs {program}")], 126),
            (&["env", "-i", &program], 126),
            (&["./script"], 126),
            (&["sh", "-c", "./script; exit $?"], 126),
            (&["make", "-s"], 2),
            (
                &[
                    "python3",
                    "-c",
                    &format!(
                        "import os; p = os.posix_spawn('{program}', ['x'], {{}}); \
                exit(os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]))"
                    ),
                ],
                126,
            ),
            (&["perl", "-e", &format!("exec '{program}' or exit 126")], 126),
        ];
        for (words, status) in ways {
            // What the kernel is asked to open, by everybody of the run.
            let trace = dir.join("trace");
            let mut traced = Command::new("strace");
            traced.args(["-f", "-qq", "-e", "trace=open,openat,execve", "-o"]).arg(&trace);
            let output =
                traced.arg(dmlab()).args(["run", "--"]).args(*words).current_dir(dir).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(*status), "{words:?}: {said}");
            let lines = said.lines().filter(|line| line.starts_with("dmlab: "));
            let lines: Vec<&str> = lines.collect();
            assert!(
                lines.len() == 1 && lines[0].contains(why) && lines[0].contains("--allow-host"),
                "{words:?}: {said}"
            );
            assert!(output.stdout.is_empty(), "{words:?}: {output:?}");
            let trace = std::fs::read_to_string(&trace).unwrap();
            assert!(trace.contains("execve("), "strace saw nothing");
            let host = |line: &&str| {
                ["/dev/mapper", "/dev/dm-", "/dev/ram", "/dev/loop"].iter().any(|name| line.contains(name))
            };
            assert_eq!(trace.lines().find(host), None, "{words:?}");
        }
    }
    // What may be served is, also where strace stands around it inside the run.
    for words in
        [&["./served"][..], &["strace", "-f", "-o", "/dev/null", "./served"], &["sh", "-c", "./served"]]
    {
        let output = start(User::Same, dir, &[&["run", "--"], words].concat());
        assert_eq!(String::from_utf8_lossy(&output.stdout), "opened\n", "{words:?}: {output:?}");
    }
    // A user who wants it gets it.
    for words in [&["./static"][..], &["sh", "-c", "./static"]] {
        let output = start(User::Same, dir, &[&["run", "--allow-host", "--"], words].concat());
        assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
    }
}

#[test]
fn a_program_that_is_tried_twice_is_refused_with_one_line() {
    need(&[("python3", "python3-minimal")]);
    let scratch = Scratch::new("once");
    // As where /bin is a link to /usr/bin, and both stand in PATH.
    std::fs::create_dir(scratch.path("one")).unwrap();
    std::os::unix::fs::symlink("one", scratch.path("two")).unwrap();
    std::fs::write(scratch.path("opens.c"), OPENS).unwrap();
    let (program, source) = (scratch.path("one/static-one"), scratch.path("opens.c"));
    run("cc", &["-static", "-o", program.to_str().unwrap(), source.to_str().unwrap()]);
    let text = "PATH=$PWD/one:$PWD/two:$PATH; sh -c static-one; sh -c 'static-one; static-one'
        python3 -c 'import subprocess
for _ in range(2):
    try: subprocess.run([\"static-one\"])
    except OSError: pass'";
    let printed = script(User::Same, &scratch.0, text);
    assert_eq!(printed.lines().filter(|line| line.contains("is statically linked")).count(), 5, "{printed}");
}

#[test]
fn setuid_programs_are_refused() {
    if !is_root() {
        // Only root can make one that would change the user.
        return;
    }
    need(&[("setpriv", "util-linux")]);
    let scratch = Scratch::new("setuid");
    std::fs::copy("/bin/cat", scratch.path("cat")).unwrap();
    run("chmod", &["4755", scratch.path("cat").to_str().unwrap()]);
    for words in [&["./cat", "/etc/hostname"][..], &["sh", "-c", "./cat /etc/hostname; exit $?"]] {
        let output = start(User::Ordinary, &scratch.0, &[&["run", "--"], words].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(126), "{said}");
        assert!(said.contains("is setuid") && said.contains("--allow-host"), "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_machine_stays_whatever_happens_to_the_environment() {
    let scratch = Scratch::new("environment");
    need(&[("cc", "gcc")]);
    std::fs::write(
        scratch.path("starts.c"),
        "#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n#include <sys/wait.h>\n\
         char *none[] = { NULL };\n\
         #define CHILD(x) fflush(NULL); if (fork() == 0) { x; _exit(1); } else wait(NULL)\n\
         int main(void) {\n\
           CHILD(execle(\"./opens\", \"opens\", \"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", NULL, none));\n\
           clearenv();\n\
           CHILD(execl(\"./opens\", \"opens\", NULL)); CHILD(execlp(\"./opens\", \"opens\", \"1\", \"2\", \"3\", \"4\", \"5\", \"6\", NULL));\n\
           CHILD(execv(\"./opens\", (char *[]){ \"opens\", NULL })); fflush(NULL); system(\"./opens\");\n\
           clearenv(); char line[99]; FILE *p = popen(\"./opens\", \"r\"); fputs(fgets(line, 99, p), stdout); return 0; }\n",
    )
    .unwrap();
    std::fs::write(scratch.path("opens.c"), OPENS.replace("return 0", "printf(\"\"); return 0")).unwrap();
    for name in ["starts", "opens"] {
        let (source, program) = (scratch.path(&format!("{name}.c")), scratch.path(name));
        run("cc", &["-w", "-o", program.to_str().unwrap(), source.to_str().unwrap()]);
    }
    let text = "./opens; env -i ./opens; env -u LD_PRELOAD ./opens; env -u DMLAB_SOCKET ./opens; LD_PRELOAD= ./opens
        LD_PRELOAD=libm.so.6 ./opens; bash -c 'exec -c ./opens'; (unset LD_PRELOAD DMLAB_SOCKET; ./opens)
        python3 -c 'import subprocess; subprocess.run([\"./opens\"], env={})'; env -i sh -c 'env -i env -i ./opens'
        env -i $(seq -f 'V%g=x' 1500) ./opens; ./starts";
    let printed = script(User::Same, &scratch.0, text);
    assert_eq!(printed, "opened\n".repeat(17));
}

#[test]
fn the_hosts_kernel_gets_no_simulated_device() {
    need(&[("mount", "mount"), ("swapon", "mount"), ("mkfs.ext4", "e2fsprogs")]);
    let scratch = Scratch::new("mount");
    let text = "mkdir m; mkfs.ext4 -q /dev/ram0; mkswap /dev/ram1 >/dev/null; truncate -s 8M image; mkfs.ext4 -q image
        for words in 'mount /dev/ram0 m' 'mount -o ro -t ext4 /dev/ram0 m' 'mount -o loop image m' 'umount /dev/ram0' \\
            'swapon /dev/ram1' 'swapoff /dev/ram1' 'pivot_root /dev/mapper /dev'; do
          $words >said 2>&1; echo $? $(grep -c 'dmlab: .* is refused for /dev/' said); done; grep -c '/dev/ram\\|/loop' /proc/mounts";
    if is_root() {
        assert_eq!(script(User::Same, &scratch.0, text), "32 1\n32 1\n32 1\n32 1\n255 1\n16 1\n1 1\n0\n");
    }
    // Past libmount, by the system calls themselves.
    need(&[("python3", "python3-minimal")]);
    let calls = "import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def refused(*words):
    print(libc.syscall(*words), os.strerror(ctypes.get_errno()))
for words in ((165, b'/dev/ram0', b'/mnt', b'ext4', 0, 0), (166, b'/dev/mapper', 0), (167, b'/dev/ram0', 0), (428, -100, b'/dev/ram0', 0)):
    refused(*words)
";
    std::fs::write(scratch.path("calls.py"), calls).unwrap();
    for user in [User::Same, User::Ordinary] {
        let printed = script(user, &scratch.0, "python3 calls.py 2>/dev/null");
        assert_eq!(printed, "-1 Operation not permitted\n".repeat(4), "{user:?}");
    }
}

#[test]
fn io_uring_is_refused_so_that_programs_do_without() {
    need(&[("fio", "fio"), ("python3", "python3-minimal")]);
    let scratch = Scratch::new("uring");
    let text = "python3 - <<'P'
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for number in (425, 426, 427):
    print(libc.syscall(number, 8, 0, 0, 0, 0, 0), os.strerror(ctypes.get_errno()))
P
        fio --name=a --filename=/dev/ram0 --ioengine=io_uring --size=1M --rw=write 2>&1 | grep -c 'Function not implemented'";
    for user in [User::Same, User::Ordinary] {
        let printed = script(user, &scratch.0, text);
        let none = "-1 Function not implemented\n".repeat(3);
        assert!(printed.starts_with(&none), "{user:?}: {printed}");
    }
}

#[test]
fn the_hosts_disks_do_not_show() {
    need(&[("modprobe", "kmod"), ("dmsetup", "dmsetup")]);
    let scratch = Scratch::new("views");
    let text = "dmsetup create x --table '0 8 linear /dev/ram0 0'
        cat /proc/mounts /proc/self/mounts /proc/$$/mounts /etc/mtab /proc/self/mountinfo /proc/swaps | grep -c '/dev/[a-z]*d[a-z]'
        cat /proc/swaps | wc -l; cat /proc/modules | wc -l
        ls -d /dev/btrfs-control /dev/disk /proc/scsi /proc/fs/ext4 /sys/fs/ext4 /sys/class/nvme /sys/class/scsi_disk \\
           /sys/module/dm_thin_pool /sys/module/nvme /proc/sys/dev/raid 2>/dev/null
        dmesg | tail -n 1; dmesg | grep -c 'x.*y' ; dmsetup create bad --table '0 8 nosuch' 2>/dev/null; dmesg | grep -o 'unknown target type'
        for m in dm-thin-pool dm_snapshot loop dm-nosuch; do modprobe $m 2>/dev/null && echo has $m; done
        echo x >/dev/kmsg; dmesg | tail -n 1 | grep -o x; df / | tail -n 1 | cut -d ' ' -f 1";
    for user in [User::Same, User::Ordinary] {
        let printed = script(user, &scratch.0, text);
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(&lines[..3], ["0", "1", "0"], "{user:?}: {printed}");
        assert!(
            printed.contains("\nunknown target type\nhas dm-thin-pool\nhas dm_snapshot\nhas loop\nx\n"),
            "{user:?}: {printed}"
        );
        assert!(!printed.contains("\n/"), "{user:?}: {printed}");
    }
}

/// Whether this user may make a user namespace at all: hosts forbid it.
fn may_unshare(dir: &Path, user: User) -> bool {
    let mut command = Command::new("setpriv");
    if user == User::Ordinary && is_root() {
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    } else {
        command.arg("--no-new-privs");
    }
    command.args(["unshare", "-r", "true"]).current_dir(dir).output().unwrap().status.success()
}

#[test]
fn user_namespaces_keep_the_machine() {
    need(&[
        ("unshare", "util-linux"),
        ("setpriv", "util-linux"),
        ("dmsetup", "dmsetup"),
        ("bwrap", "bubblewrap"),
    ]);
    let scratch = Scratch::new("namespaces");
    let text = "dmsetup create a --table '0 64 linear /dev/ram0 0'
        for how in -r -U -rn -rm -rpf -rui; do unshare $how sh -c 'id -u; dmsetup ls' | tr '\\n' ' '; done; echo
        unshare -r dd if=/dev/mapper/a of=/dev/null bs=4k count=1 iflag=direct status=none && echo read
        unshare -r cat /proc/self/uid_map | tr -s ' '; bwrap --unshare-user --bind / / dmsetup ls";
    for user in [User::Same, User::Ordinary] {
        if !may_unshare(&scratch.0, user) {
            continue;
        }
        let own =
            if user == User::Ordinary && is_root() { 65534 } else { rustix::process::getuid().as_raw() };
        let printed = script(user, &scratch.0, text);
        let want = format!("{}\nread\n 0 {own} 1\na\t(254:0)\n", "0 a\t(254:0) ".repeat(6));
        assert_eq!(printed, want, "{user:?}");
    }
}

#[test]
fn a_program_behind_another_root_is_refused() {
    need(&[("chroot", "coreutils"), ("unshare", "util-linux"), ("ldd", "libc-bin")]);
    let scratch = Scratch::new("behind");
    let copy = "mkdir -p root; for f in /bin/ls $(ldd /bin/ls | grep -o '/[^ ]*'); do mkdir -p root$(dirname $f); cp $f root$f; done";
    let output = Command::new("sh").args(["-c", copy]).current_dir(&scratch.0).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    for user in [User::Same, User::Ordinary] {
        let prefix = if user == User::Same && is_root() { "" } else { "unshare -r " };
        if !prefix.is_empty() && !may_unshare(&scratch.0, user) {
            continue;
        }
        let text =
            format!("{prefix}chroot root /bin/ls /; echo $?; {prefix}chroot / ls -d /dev/mapper/control");
        let printed = script(user, &scratch.0, &text);
        let lines: Vec<&str> = printed.lines().collect();
        assert!(
            lines[0].starts_with(
                "dmlab: /bin/ls is started behind a root directory that lacks the machine's own directory"
            ) && lines[0].contains("--allow-host"),
            "{printed}"
        );
        assert_eq!(&lines[2..], ["126", "/dev/mapper/control"], "{printed}");
        let allowed = format!("{prefix}chroot root /bin/ls / 2>/dev/null | grep -c lib");
        let output = start(user, &scratch.0, &["run", "--allow-host", "--", "sh", "-c", &allowed]);
        assert_ne!(output.stdout, b"0\n", "{output:?}");
    }
}
