//! Runs of programs that are recorded, and replayed without them.

mod kit;

use std::process::Output;

use dmlab::recording::Recording;

/// A folder of its own for recordings.
struct Scratch(kit::Scratch);

impl Scratch {
    fn new(name: &str) -> Scratch {
        Scratch(kit::Scratch::new(&format!("record-{name}")))
    }

    fn dmlab(&self, words: &[&str]) -> Output {
        kit::command(&self.0, words).output().unwrap()
    }

    /// Records a script and returns what it printed.
    #[track_caller]
    fn record(&self, options: &[&str], script: &str) -> String {
        let script = format!("exec 2>&1\n{script}");
        let words = [&["record"], options, &["--", "sh", "-c", &script]].concat();
        let output = self.dmlab(&words);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "script:\n{script}\nstderr: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Replays what was recorded: whether it came out as recorded, and what was printed.
    #[track_caller]
    fn replay(&self, options: &[&str]) -> (bool, String) {
        let output = self.dmlab(&[&["replay"], options].concat());
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }

    #[track_caller]
    fn replays(&self) {
        let (is_same, said) = self.replay(&[]);
        assert!(is_same, "{said}");
        assert!(said.starts_with("as recorded: "), "{said}");
    }
}

/// A pool that fills, whose writer waits until it has room again.
const POOL: &str = "
dmsetup create meta --table '0 2048 linear /dev/ram0 0'
dmsetup create data --table '0 512 linear /dev/ram1 0'
dmsetup create pool --table '0 512 thin-pool /dev/mapper/meta /dev/mapper/data 128 0'
dmsetup message pool 0 'create_thin 0'
dmsetup create thin --table '0 2048 thin /dev/mapper/pool 0'
dd if=/dev/zero of=/dev/mapper/thin bs=64k count=6 oflag=direct status=none &
sleep 5
dmsetup status pool | cut -d' ' -f1-8
dmsetup suspend pool
dmsetup suspend data
dmsetup load data --table '0 1024 linear /dev/ram1 0'
dmsetup resume data
dmsetup load pool --table '0 1024 thin-pool /dev/mapper/meta /dev/mapper/data 128 0'
dmsetup resume pool
wait
dmsetup status thin
mkfs.ext4 -q -b 4096 /dev/mapper/thin && echo made
";

#[test]
fn a_pool_that_fills_replays_on_either_clock() {
    for clock in ["virtual", "real"] {
        let scratch = Scratch::new(clock);
        let script = if clock == "real" { POOL.replace("sleep 5", "sleep 0.3") } else { POOL.to_owned() };
        let printed = scratch.record(&["--time", clock], &script);
        assert!(printed.contains("0 2048 thin 768 767"), "{printed}");
        assert!(printed.ends_with("made\n"), "{printed}");
        scratch.replays();
    }
}

#[test]
fn signals_files_and_own_commands_replay() {
    let scratch = Scratch::new("mixed");
    // A program that is killed in its call; a loop device whose file grows; a device under a loop device; rules that come
    // and go; a device that is removed when its last opener lets go.
    let printed = scratch.record(
        &["--seed", "7"],
        "
dmsetup create a --table '0 64 linear /dev/ram0 0'
dmsetup suspend a
dd if=/dev/mapper/a of=/dev/null iflag=direct bs=512 count=1 status=none &
reader=$!
dmsetup wait a &
waiter=$!
sleep 1
kill -9 $waiter
dmsetup resume a
wait
echo begin > image
truncate -s 1M image
loop=$(losetup -f --show image)
head -c 5 $loop; echo
truncate -s 2M image
losetup -c $loop
blockdev --getsize64 $loop
losetup -d $loop
losetup -f --show /dev/mapper/a
losetup -d /dev/loop0
$DMLAB fault add name=half device=/dev/ram1 op=write chance=0.5 fail=EIO
for i in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of=/dev/ram1 bs=512 count=1 oflag=direct status=none 2>/dev/null; echo $?; done
$DMLAB fault clear half
exec 3</dev/mapper/a
dmsetup remove --deferred a
exec 3<&-
",
    );
    assert!(printed.contains("begin\n2097152\n"), "{printed}");
    scratch.replays();
    // Half of eight writes failed, by the seed; another seed fails others.
    let (is_same, said) = scratch.replay(&["--seed", "8"]);
    assert!(!is_same, "{said}");
    assert!(said.contains("\n- [") && said.contains("\n+ ["), "{said}");
}

/// A file is closed when the last call on it is over, which may be long after its program is gone.
#[test]
fn programs_that_are_killed_in_their_calls_replay() {
    let scratch = Scratch::new("killed");
    scratch.record(
        &[],
        "
dmsetup create a --table '0 64 linear /dev/ram0 0'
dmsetup suspend a
for i in 1 2 3; do
    dd if=/dev/mapper/a of=/dev/null iflag=direct bs=512 count=1 status=none & readers=\"$readers $!\"
    dd if=/dev/zero of=/dev/mapper/a bs=512 count=1 conv=fsync status=none & readers=\"$readers $!\"
done
sleep 1
kill -9 $readers
sleep 1
dmsetup remove --deferred a
dmsetup resume a
sleep 1
dmsetup ls",
    );
    scratch.replays();
}

#[test]
fn files_that_two_devices_stand_on_are_one_file() {
    let scratch = Scratch::new("shared");
    std::fs::write(scratch.0.path("disk"), vec![0; 1 << 20]).unwrap();
    let printed = scratch.record(
        &["--disk", "disk"],
        "
first=$(losetup -f --show disk)
second=$(losetup -f --show -o 4096 disk)
echo shared | dd of=$first bs=4096 seek=1 count=1 conv=sync,fsync status=none
head -c 6 $second; echo
dd if=/dev/vda bs=4096 skip=1 count=1 iflag=direct status=none | head -c 6",
    );
    assert_eq!(printed, "shared\nshared");
    scratch.replays();
}

#[test]
fn no_file_is_lost_to_a_recording_that_does_not_come_about() {
    let scratch = Scratch::new("kept");
    std::fs::write(scratch.0.path("disk"), vec![7; 4096]).unwrap();
    std::fs::write(scratch.0.path("old"), "old").unwrap();
    for (words, complaint) in [
        (&["--disk", "disk", "-o", "disk", "--", "true"][..], "record somewhere else"),
        (&["-o", "old", "--parameter", "no.such=1", "--", "true"], "is no parameter"),
        (&["-o", "old", "--", "nosuchprogram"], "no such program"),
        (
            &["-o", "inner", "--", "sh", "-c", "$DMLAB record -o inner -- true && exit 3; exit 1"],
            "another recorder",
        ),
    ] {
        let output = scratch.dmlab(&[&["record"], words].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(complaint), "{words:?}: {said}");
    }
    assert_eq!(std::fs::read(scratch.0.path("disk")).unwrap(), vec![7; 4096]);
    assert_eq!(std::fs::read(scratch.0.path("old")).unwrap(), b"old");
    // The outer one was written whole.
    let (is_same, said) = scratch.replay(&["inner"]);
    assert!(is_same && !said.contains("no end"), "{said}");
}

#[test]
fn what_is_changed_shows_where_it_first_matters() {
    let scratch = Scratch::new("changed");
    scratch.record(
        &[],
        "dmsetup create a --table '0 64 linear /dev/ram0 0'
dd if=/dev/zero of=/dev/mapper/a bs=4096 count=2 oflag=direct status=none
dmsetup status a",
    );
    scratch.replays();
    let rule = "[[fault]]\ndevice = \"/dev/ram0\"\nop = \"write\"\nnth = 2\nfail = \"ENOSPC\"\n";
    std::fs::write(scratch.0.path("bad.toml"), rule).unwrap();
    let (is_same, said) = scratch.replay(&["--faults", "bad.toml"]);
    assert!(!is_same);
    let differs: Vec<&str> =
        said.lines().filter(|line| line.starts_with(['-', '+'])).map(|line| &line[..1]).collect();
    assert_eq!(differs, ["-", "+"], "{said}");
    let (then, now) = ("] bio 1:0 Q W 8 + 8, data 98f94189\n", "] bio 254:0 C W 8 + 8 [28]\n");
    assert!(said.contains(then) && said.contains(now), "{said}");
}

#[test]
fn a_recording_can_be_read_and_may_be_cut_off() {
    let scratch = Scratch::new("list");
    scratch.record(
        &["-o", "run"],
        "dmsetup create a --table '0 64 linear /dev/ram0 0'
dmsetup message a 0 hello
dmsetup table a
dmsetup remove a",
    );
    let (_, listed) = scratch.replay(&["--list", "run"]);
    for line in [
        "ioctl 1:control DM_DEV_CREATE name=a",
        "    0 64 linear /dev/ram0 0",
        "#4 was told: /dev/ram0 is 1:0",
        "    0 hello",
        "= -1 Invalid argument (EINVAL)",
        "    0 64 linear 1:0 0",
        "the programs are done",
    ] {
        assert!(listed.lines().any(|listed| listed.ends_with(line)), "{line} is not in:\n{listed}");
    }
    let whole = std::fs::read(scratch.0.path("run")).unwrap();
    std::fs::write(scratch.0.path("cut"), &whole[..whole.len() / 2]).unwrap();
    let (is_same, said) = scratch.replay(&["cut"]);
    // What is there is as recorded; what is not there was not repeated.
    assert!(!is_same && said.starts_with("as recorded: "), "{said}");
    assert!(said.contains("the recording has no end: the recording is damaged or cut off: "), "{said}");
}

#[test]
fn time_limits_are_recorded_and_replay() {
    let scratch = Scratch::new("limits");
    let script = "dmsetup create a --table '0 64 linear /dev/ram0 0'
timeout 30 dmsetup wait a; echo $?
python3 -c '
import asyncio, threading
event = threading.Event()
threading.Timer(5, event.set).start()
print(event.wait(60), event.wait(0.1))
async def main():
    try: await asyncio.wait_for(asyncio.sleep(100), 7)
    except asyncio.TimeoutError: print(7)
asyncio.run(main())'
(sleep 3; dmsetup message a 0 x 2>/dev/null; dmsetup rename a b) & timeout 60 dmsetup wait a; echo $?
dmsetup remove b";
    let printed = scratch.record(&[], script);
    assert_eq!(printed, "124\nTrue True\n7\n0\n");
    scratch.replays();
    let (_, listed) = scratch.replay(&["--list"]);
    assert!(listed.lines().any(|line| line.ends_with("timer 1: sleep 30s")), "{listed}");
}

/// A replay boots the kernel that was recorded: what only that one does comes out again, and a recording that names another
/// one differs where the two do.
#[test]
fn a_replay_boots_the_recorded_kernel() {
    let scratch = Scratch::new("kernel");
    // A device number in hex, which kernels took until 6.1; and what the discard of a RAM disk returns, which took none then.
    let printed = scratch.record(
        &["--kernel", "6.1", "-o", "run"],
        "dmsetup create a --table '0 64 linear 101 0' && dmsetup table a
blkdiscard -o 0 -l 4096 /dev/ram0 2>/dev/null; echo $?",
    );
    assert_eq!(printed, "0 64 linear 1:1 0\n1\n");
    let (is_same, said) = scratch.replay(&["run"]);
    assert!(is_same, "{said}");
    let mut recording = Recording::load(&scratch.0.path("run")).unwrap();
    assert_eq!(recording.header.kernel, "6.1");
    recording.header.kernel = "6.12".to_owned();
    recording.write(std::fs::File::create(scratch.0.path("other")).unwrap()).unwrap();
    let (is_same, said) = scratch.replay(&["other"]);
    assert!(!is_same, "{said}");
    // They differ from the line on that each logs at its boot.
    let (then, here) = ("device-mapper: ioctl: 4.47.0-ioctl", "device-mapper: ioctl: 4.48.0-ioctl");
    let has = |sign: char, text: &str| said.lines().any(|line| line.starts_with(sign) && line.contains(text));
    assert!(has('-', then) && has('+', here), "{said}");
}

#[test]
fn what_is_no_recording_is_refused() {
    let scratch = Scratch::new("refused");
    std::fs::write(scratch.0.path("text"), "no recording").unwrap();
    for (words, complaint) in [
        (&["replay", "nothere"][..], "dmlab: nothere: No such file or directory (os error 2)\n"),
        (
            &["replay", "text"],
            "dmlab: text: this is no recording: its first line is not that of a file which `dmlab record` wrote\n",
        ),
        (
            &["record", "-o", "no/dir", "--", "true"],
            "dmlab: cannot record: no/dir: No such file or directory (os error 2)\n",
        ),
    ] {
        let output = scratch.dmlab(words);
        assert!(!output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stderr), complaint);
    }
    // The command's status is the recorder's.
    assert_eq!(scratch.dmlab(&["record", "--", "sh", "-c", "exit 5"]).status.code(), Some(5));
}
