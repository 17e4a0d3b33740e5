//! `dmlab replay-log` on devices of a machine and on files of the host.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("dmlab-replay-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary directory takes a folder");
    folder
}

/// Runs a script in a folder, on a fresh machine or on the host alone; what it printed on both streams.
fn run(folder: &Path, on_machine: bool, script: &str) -> String {
    let dmlab = Path::new(env!("CARGO_BIN_EXE_dmlab"));
    let path =
        format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", dmlab.parent().expect("a file in a folder").display());
    let script = format!("exec 2>&1; {script}");
    let mut command = if on_machine {
        let mut command = Command::new(dmlab);
        command.args(["run", "--", "sh"]);
        command
    } else {
        Command::new("sh")
    };
    command.args(["-c", &script]).current_dir(folder).env("PATH", path).env("LC_ALL", "C");
    command.env_remove("DMLAB_MACHINE").env_remove("DMLAB_SOCKET").stdin(Stdio::null());
    String::from_utf8(command.output().expect("it runs").stdout).expect("text")
}

/// Three writes with a mark, a flush and a forced write among them; the log is copied to the host's file `log`.
const RECORD: &str = "dmlab create l --table '0 64 log-writes /dev/ram0 /dev/ram1';
    w() { printf '%512s' $1 | dd of=/dev/mapper/l bs=512 seek=$2 oflag=direct$3 conv=notrunc 2>/dev/null; };
    w one 1; dmlab message l 0 mark 'a\\ b'; dd if=/dev/zero of=/dev/mapper/l count=0 conv=notrunc,fsync 2>/dev/null;
    w two 1; w three 2 ,dsync; blkdiscard -o 4096 -l 4096 /dev/mapper/l; dmlab remove l;";

#[test]
fn a_log_is_listed_and_searched() {
    let folder = folder("list");
    let got = run(
        &folder,
        true,
        &format!(
            "{RECORD} R='dmlab replay-log --log /dev/ram1'; $R --list; $R --num-entries; $R --find --end-mark 'a b';
            $R --find --next-flush; $R --find --next-flush --start-entry 3; $R --find --next-fua; $R --list --start-entry 5 --limit 1;
            $R --list --start-mark 'a b' --limit 1; $R --find --end-mark no; echo $?; $R --find; $R --list --start-entry 99"
        ),
    );
    let want = "\
0 @1: mark a b
1 @2: 1+1 write
2 @4: flush
3 @5: 2+1 fua
4 @7: 1+1 write
5 @9: flush
6 @10: 8+8 discard
7 @11: mark dm-log-writes-end
8
0
2
5
3
5 @9: flush
1 @2: 1+1 write
dmlab: the log ends without a mark no
1
dmlab: say what to find: --end-mark, --next-flush or --next-fua
dmlab: there is no entry 99: the log has 8
";
    assert_eq!(got, want);
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn a_log_is_replayed_onto_devices_and_files() {
    let folder = folder("replay");
    let script = format!(
        "{RECORD} dmlab io read ram1 0+64 >log; R='dmlab replay-log --log /dev/ram1 --replay /dev/ram2'; s() {{ dmlab io read ram2 $1 | tr -d ' '; echo; }};
        $R --next-flush; s 1; $R --start-entry 3; s 1; s 2; truncate -s 32768 disk; dmlab replay-log --log /dev/ram1 --replay disk --limit 2;
        tr -d ' \\0' <disk; echo"
    );
    assert_eq!(run(&folder, true, &script), "one\ntwo\nthree\none\n");
    // The same log, where there is no machine at all.
    let script = "truncate -s 32768 disk2; R='dmlab replay-log --log log --replay disk2'
        $R --next-fua -v; tr -d ' \\0' <disk2; echo; $R --end-mark nowhere; echo $?; tr -d ' \\0' <disk2; echo
        $R --check fua --fsck 'test -e missing'; $R --check 2 --fsck 'echo look' --limit 4
        truncate -s 512 small; dmlab replay-log --log small --list; head -c 512 log >small; dmlab replay-log --log small --list
        dmlab replay-log --log nothing --list";
    let want = "\
0 @1: mark a b
1 @2: 1+1 write
2 @4: flush
3 @5: 2+1 fua
onethree
dmlab: the log ends without a mark nowhere
1
twothree
dmlab: `test -e missing` fails after entry 3: exit status: 1
look
look
dmlab: this is no log of log-writes: it begins with 0x0
dmlab: reading the log at byte 512: failed to fill whole buffer
dmlab: nothing: no such file, and no machine that could have such a device
";
    assert_eq!(run(&folder, false, script), want);
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn a_file_keeps_its_size() {
    let folder = folder("size");
    let got = run(
        &folder,
        true,
        &format!(
            "{RECORD} dmlab io read ram1 0+64 >log; truncate -s 32768 disk; dmlab replay-log --log log --replay disk; echo $?
            truncate -s 1023 disk; dmlab replay-log --log log --replay disk; echo $?; stat -c %s disk
            : >disk; dmlab replay-log --log log --replay disk --limit 1; echo $?; dmlab replay-log --log log --replay disk; echo $?; stat -c %s disk"
        ),
    );
    let refused = |len| {
        format!(
            "512 bytes at byte 512 are beyond the end of the file, which has {len} bytes (`truncate -s` makes it as large as the disk)"
        )
    };
    assert!(got.contains(&refused(1023)) && got.contains(&refused(0)), "{got}");
    let numbers: Vec<&str> = got.lines().filter(|line| line.parse::<u64>().is_ok()).collect();
    assert_eq!(numbers, ["0", "1", "1023", "0", "1", "0"], "{got}");
}
