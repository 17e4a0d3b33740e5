//! The command line as people and scripts meet it: outputs that end early, machines that are named, runs that prove nothing.

mod kit;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A folder of its own for machines and files.
struct Scratch(kit::Scratch);

impl Scratch {
    fn new(name: &str) -> Scratch {
        Scratch(kit::Scratch::new(&format!("line-{name}")))
    }

    fn path(&self) -> &Path {
        &self.0.0
    }

    /// dmlab, with its machines in this folder.
    fn dmlab(&self) -> Command {
        let mut command = Command::new(kit::dmlab());
        command.env("TMPDIR", self.path()).current_dir(self.path()).stdin(Stdio::null());
        for name in ["XDG_RUNTIME_DIR", "DMLAB_MACHINE", "DMLAB_SOCKET", "DMLAB_KLOG", "NO_COLOR", "PS1"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.dmlab().args(words).output().expect("dmlab runs")
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// What a command that fails says.
    #[track_caller]
    fn refused(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(!output.status.success(), "{words:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A script on a fresh machine, with dmlab itself in its PATH.
fn on_machine(scratch: &Scratch, script: &str) -> Output {
    let folder = kit::dmlab().parent().unwrap().to_owned();
    let path = format!("{}:/usr/bin:/bin", folder.display());
    scratch.dmlab().env("PATH", path).args(["run", "--ram", "2", "--", "sh", "-c", script]).output().unwrap()
}

/// Commands that show something about the machine around.
const SHOWING: [&str; 12] = [
    "ls",
    "ls --all",
    "table",
    "status",
    "info",
    "deps",
    "tree",
    "klog",
    "uevents",
    "targets",
    "fault meanings",
    "fault list",
];

#[test]
fn a_full_disk_is_one_line_and_a_closed_pipe_is_none() {
    let scratch = Scratch::new("full");
    let loops = SHOWING.map(|words| {
        format!(
            "dmlab {words} >/dev/full 2>err; s=$?; echo \"{words}: $s $(grep -c . err) $(grep -c 'No space left on device' err)\"
             {{ dmlab {words}; echo $? >status; }} 2>err | true; echo \"{words}: $(cat status) $(grep -c . err)\""
        )
    });
    let script = format!(
        "dmlab create a --table '0 8 zero'; dmlab fault add watch device=/dev/ram0 >/dev/null; {}",
        loops.join("\n")
    );
    let output = on_machine(&scratch, &script);
    let want: String = SHOWING.iter().map(|words| format!("{words}: 1 1 1\n{words}: 0 0\n")).collect();
    // A reader that is gone before the first byte comes may also be gone after the last one went: both are status 0.
    assert_eq!(text(&output.stdout), want, "{}", text(&output.stderr));
}

/// Commands that show something without a machine around. Behind the first word may come a file of the test's.
const ALONE: [&str; 22] = [
    "--help",
    "-h",
    "--version",
    "run --help",
    "help run",
    "fault add --help",
    "machines",
    "machines --json",
    "doctor",
    "man",
    "man --dir pages",
    "completions bash",
    "fault meanings --json",
    "replay rec",
    "replay rec --list",
    "thin check meta",
    "thin dump meta",
    "thin ls meta",
    "thin stat meta",
    "thin tree meta",
    "crash merge report",
    "tour --chapter 1",
];

#[test]
fn every_command_minds_where_its_output_goes() {
    let scratch = Scratch::new("outputs");
    scratch.ok(&["record", "-o", "rec", "--", "dmsetup", "create", "a", "--table", "0 8 zero"]);
    let writes = "dd if=/dev/zero of=/dev/ram0 bs=4k count=2 oflag=direct status=none";
    scratch.ok(&["crash", "--workload", writes, "--check", "true", "--json", "report"]);
    let pool = "dmsetup create pool --table '0 65536 thin-pool /dev/ram0 /dev/ram1 128 0'; \
        dmsetup message pool 0 'create_thin 0'; dmsetup remove pool; dd if=/dev/ram0 of=meta bs=1M count=4 status=none";
    scratch.ok(&["run", "--", "sh", "-c", pool]);
    scratch.ok(&["boot", "lab"]);
    let loops = ALONE.map(|words| {
        format!(
            "$DMLAB {words} >/dev/full 2>err; s=$?; echo \"{words}: $s $(grep -c . err) $(grep -c 'No space left on device' err)\"
             {{ $DMLAB {words}; echo $? >status; }} 2>err | true; echo \"{words}: $(cat status) $(grep -c . err)\"\n"
        )
    });
    let mut shell = Command::new("sh");
    shell.args(["-c", &loops.concat()]).current_dir(scratch.path()).env("DMLAB", kit::dmlab());
    let output = shell.env("TMPDIR", scratch.path()).env_remove("XDG_RUNTIME_DIR").output().unwrap();
    let want: String = ALONE.iter().map(|words| format!("{words}: 1 1 1\n{words}: 0 0\n")).collect();
    assert_eq!(text(&output.stdout), want, "{}", text(&output.stderr));
    scratch.ok(&["halt", "lab"]);
    // A log of the kernel's that cannot be written is told once.
    let words = ["run", "--klog", "/dev/full", "--", "sh", "-c", "dmsetup create a --table '0 8 no'; exit 0"];
    let output = scratch.run(&words);
    let said = text(&output.stderr);
    let told =
        said.lines().filter(|line| line.starts_with("dmlab: cannot write the kernel log to /dev/full: "));
    assert_eq!(told.count(), 1, "{said}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_check_that_is_no_program_is_an_error_and_no_broken_state() {
    let scratch = Scratch::new("no-check");
    let writes = "dd if=/dev/zero of=/dev/ram0 bs=4k count=2 oflag=direct status=none";
    for check in ["./check.sh", "/no/such/check --all", "nosuchcheck", " ", "check.txt more"] {
        fs::write(scratch.path().join("check.txt"), "exit 0\n").unwrap();
        let output = scratch.run(&["crash", "--workload", writes, "--check", check]);
        assert_eq!(output.status.code(), Some(1), "{check}");
        assert_eq!(text(&output.stdout), "", "{check}");
        let said = text(&output.stderr);
        assert!(said.contains("is neither a file nor a program") || said.contains("an empty line"), "{said}");
    }
    for check in [
        "check.txt",
        "true",
        "cd / && test -d etc",
        "A=1 true",
        "[ 1 = 1 ]",
        "if true; then :; fi",
        "(exit 0)",
    ] {
        assert!(scratch.ok(&["crash", "--workload", writes, "--check", check]).contains("states"), "{check}");
    }
}

#[test]
fn a_rule_strikes_the_device_that_its_name_means() {
    let scratch = Scratch::new("rule-names");
    let script = "exec 2>&1
        hit() { dd if=/dev/$1 of=/dev/null bs=4k count=1 iflag=direct status=none 2>/dev/null && echo read || echo struck; }
        dmlab fault add device=ram1 op=read fail=EIO; hit ram1; dmlab fault clear
        dmsetup create ram1 --table '0 8 linear /dev/ram0 0'
        dmlab fault add device=ram1 op=read fail=EIO; hit ram1; hit mapper/ram1; dmlab fault clear
        dmsetup create a --table '0 8 linear /dev/ram0 8'
        dmlab fault add device=a op=read fail=EIO; hit mapper/a; dmlab fault clear
        dmlab fault add device=/dev/a fail=EIO; dmlab fault add device=/dev/mapper/ram0 fail=EIO; dmlab fault add device=rma1 drop
        dmlab fault add device=99:9 drop; dmlab fault add ioctl=any device=/dev/ram0 fail=EIO; dmlab fault add ioctl=dev_create device=new fail=EIO";
    let want = "#1\nstruck\n1 rule\n#2\nread\nstruck\n1 rule\n#3\nstruck\n1 rule\n\
        #4\ndmlab: /dev/a: there is no such device now, but /dev/mapper/a is there; the rule strikes when it comes\n\
        #5\ndmlab: /dev/mapper/ram0: there is no such device now, but /dev/ram0 is there; the rule strikes when it comes\n\
        #6\ndmlab: rma1: there is no such device now; the rule strikes when it comes\n\
        #7\ndmlab: 99:9: there is no such device now; the rule strikes when it comes\n\
        dmlab: `device=/dev/ram0` is no mapped device, and ioctls are about those: name it as `dmsetup` does\n#8\n";
    assert_eq!(text(&on_machine(&scratch, script).stdout), want);
}

#[test]
fn the_tour_ends_with_its_reader() {
    let scratch = Scratch::new("tour");
    let script = format!(
        "set -o pipefail; {0} tour | head -n 1; echo $?; {0} tour >/dev/full; echo $?",
        kit::dmlab().display()
    );
    let output = Command::new("bash").args(["-c", &script]).current_dir(scratch.path()).output().unwrap();
    assert_eq!(text(&output.stdout), "1. A machine\n0\n1\n");
    let said = "dmlab: cannot write the output: No space left on device (os error 28)\n";
    assert_eq!(text(&output.stderr), said);
    assert!(scratch.ok(&["tour", "--chapter", "2"]).starts_with("2. Two pieces"));
    assert!(scratch.refused(&["tour", "--chapter", "99"]).contains("there is no chapter 99: they are 1 to "));
}

#[test]
#[expect(clippy::too_many_lines, reason = "one line for each command")]
fn one_option_names_the_machine_everywhere() {
    let scratch = Scratch::new("named");
    scratch.ok(&["boot", "lab", "--ram", "1", "--for", "1h"]);
    let after_and_before = [
        ["create", "a", "--table", "0 8 linear /dev/ram0 0", "--machine", "lab"],
        ["--machine", "lab", "create", "b", "--table", "0 8 zero"],
    ];
    for words in after_and_before {
        scratch.ok(&words);
    }
    for words in [
        &["--machine", "lab", "ls"][..],
        &["ls", "--machine", "lab"],
        &["run", "--machine", "lab", "--", "dmlab", "ls"],
        &["attach", "lab", "--", "dmlab", "ls"],
    ] {
        let folder = kit::dmlab().parent().unwrap().to_owned();
        let path = format!("{}:/usr/bin:/bin", folder.display());
        let output = scratch.dmlab().env("PATH", path).args(words).output().unwrap();
        assert_eq!(text(&output.stdout), "a\t(254:0)\nb\t(254:1)\n", "{words:?}: {}", text(&output.stderr));
    }
    assert!(scratch.ok(&["io", "dump", "ram0", "--machine", "lab"]).contains("0+0"));
    assert!(scratch.ok(&["io", "--machine", "lab", "dump", "ram0"]).contains("0+0"));
    // The variable means what the option means.
    let by_variable =
        |words: &[&str]| scratch.dmlab().env("DMLAB_MACHINE", "lab").args(words).output().unwrap();
    assert_eq!(text(&by_variable(&["ls"]).stdout), "a\t(254:0)\nb\t(254:1)\n");
    assert_eq!(text(&by_variable(&["run", "--", "ls", "/dev/mapper"]).stdout), "a\nb\ncontrol\n");
    let unknown = scratch.dmlab().env("DMLAB_MACHINE", "nope").args(["run", "--", "true"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("no machine \"nope\" runs"), "{}", text(&unknown.stderr));
    assert!(
        text(&unknown.stderr).contains("starts it (named by DMLAB_MACHINE)"),
        "{}",
        text(&unknown.stderr)
    );
    let listed = scratch.dmlab().env("DMLAB_MACHINE", "nope").arg("ls").output().unwrap();
    assert!(text(&listed.stderr).contains("(named by DMLAB_MACHINE)"), "{}", text(&listed.stderr));
    for (words, want) in [
        (
            &["run", "--ram", "3", "--", "true"][..],
            "machine lab (named by DMLAB_MACHINE) runs already, and --ram is for a fresh one: leave it out, or unset DMLAB_MACHINE",
        ),
        (
            &["run", "--name", "y", "--", "true"],
            "--name y is for a fresh machine, and the machine lab (named by DMLAB_MACHINE) is not one",
        ),
    ] {
        let said = text(&by_variable(words).stderr);
        assert!(said.contains(want), "{said}");
    }
    // What makes no sense is said, not ignored.
    let said = scratch.refused(&["run", "--machine", "lab", "--ram", "3", "--", "true"]);
    assert!(
        said.contains(
            "machine lab runs already, and --ram is for a fresh one: leave it out, or name no machine"
        ),
        "{said}"
    );
    let said = scratch.refused(&["boot", "--", "-x"]);
    assert!(said.contains("\"-x\" cannot name a machine: use up to 32 letters"), "{said}");
    assert!(
        scratch
            .refused(&["run", "--machine", "other", "--", "true"])
            .contains("dmlab run --name other -- CMD")
    );
    assert!(scratch.refused(&["tour", "--machine", "lab"]).contains("--machine lab has no meaning for it"));
    assert!(scratch.refused(&["halt", "lab", "--machine", "other"]).contains("two machines are named"));
    let machines = scratch.ok(&["machines"]);
    assert!(
        machines.contains("lab\t") && machines.contains("pid ") && machines.contains(" left"),
        "{machines}"
    );
    scratch.ok(&["halt", "--machine", "lab"]);
    assert_eq!(scratch.ok(&["machines"]), "");
}

#[test]
fn a_machine_ends_when_its_time_is_over() {
    let scratch = Scratch::new("for");
    scratch.ok(&["boot", "brief", "--for", "300ms"]);
    let is_gone = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        scratch.ok(&["machines"]).is_empty()
    });
    assert!(is_gone, "it was to run for 300 ms");
    assert!(scratch.refused(&["boot", "x", "--for", "soon"]).contains("soon"));
    for time in ["0s", "100000000days"] {
        assert!(scratch.refused(&["boot", "x", "--for", time]).contains("at most 100 years"), "{time}");
    }
    // What a run that was killed has left is swept by the next look.
    let left = scratch.path().join(format!("dmlab-{}/run-4194305", rustix::process::geteuid().as_raw()));
    fs::create_dir(&left).unwrap();
    assert_eq!(scratch.ok(&["machines"]), "");
    assert!(!left.exists(), "no process has this number: it is above the largest");
}

#[test]
fn judges_are_asked_for_by_name() {
    let scratch = Scratch::new("judges");
    // A mirror's log of a version that there is not.
    let writes = "printf 'rRiM\\011\\0\\0\\0' | dd of=/dev/ram0 bs=512 conv=sync oflag=direct status=none";
    let crash = ["crash", "--disks", "3", "--workload", writes];
    for judge in [["--judge", "mirror-log:0:1,2:16:64"], ["--mirror-log", "0:1,2:16:64"]] {
        let output = scratch.run(&[&crash[..], &judge].concat());
        assert_eq!(output.status.code(), Some(1), "{judge:?}");
        assert!(
            text(&output.stdout).contains("the log has version 9"),
            "{judge:?}: {}",
            text(&output.stdout)
        );
    }
    let sound =
        scratch.ok(&[&crash[..], &["--judge", "thin-check:1", "--judge", "snapshot-store:1:128"]].concat());
    assert!(sound.contains("none broke"), "{sound}");
    let said = scratch.refused(&[&crash[..], &["--judge", "odd:1"]].concat());
    assert!(said.contains("thin-check:N, mirror-log:LOG:LEG,LEG:REGION:LEN, snapshot-store:N:LEN"), "{said}");
    let said = scratch.refused(&[&crash[..], &["--judge", "snapshot-store:1"]].concat());
    assert!(said.contains("is not N:LEN, such as 1:128"), "{said}");
    assert!(scratch.refused(&crash).contains("--check <CHECK>"));
}

#[test]
fn a_refused_table_has_its_argument_named() {
    let scratch = Scratch::new("named");
    let cases = [
        ("0 8 thin-pool /dev/ram0 /dev/ram1 300 0", "300", "BLOCK_SIZE: the size of a data block"),
        ("0 8 thin-pool /dev/ram0 /dev/ram0 128 0", "/dev/ram0", "DATA: another device than METADATA"),
        (
            "0 8 thin-pool /dev/ram0 /dev/ram1 128 0 read_only",
            "read_only",
            "N_FEATURES: how many feature words follow",
        ),
        (
            "0 8 snapshot /dev/ram0 /dev/ram1 P 7",
            "7",
            "a power of two and whole logical blocks of both devices: 4 or 8",
        ),
        ("0 8 mirror core 1 8 2 /dev/ram0 0 /dev/nope 0", "/dev/nope", "DEVICE of LEG 2: a path that exists"),
        ("0 8 flakey /dev/ram0 0 1 1 1 drop_write", "drop_write", "did you mean drop_writes?"),
        ("0 8 switch 2 8 0 /dev/ram0 0", " ", "DEVICE of PATH 2 is missing"),
    ];
    for (table, marked, right) in cases {
        let said = text(&on_machine(&scratch, &format!("dmlab create a --table '{table}'")).stderr);
        assert!(said.contains(right), "{table}: {said}");
        let lines: Vec<&str> = said.lines().collect();
        let marks = lines.iter().position(|line| line.contains('^')).expect("marks");
        let (from, to) = (lines[marks].find('^').unwrap(), lines[marks].rfind('^').unwrap() + 1);
        assert_eq!(lines[marks - 1].get(from..to).unwrap_or(" "), marked, "{table}: {said}");
    }
}

#[test]
fn a_refused_message_has_those_that_there_are() {
    let scratch = Scratch::new("messages");
    let said = |table: &str, message: &str| {
        let script = format!("dmlab create a --table '{table}' && dmlab message a 0 {message}");
        text(&on_machine(&scratch, &script).stderr)
    };
    let pool = "0 1024 thin-pool /dev/ram0 /dev/ram1 128 0";
    assert!(
        said(pool, "create_thn 0").contains("did you mean create_thin? thin-pool takes create_thin ID, ")
    );
    assert!(
        said(pool, "delete").contains("  thin-pool takes delete ID: forgets one and frees what only it had")
    );
    assert!(said("0 8 zero", "a").contains("  zero takes no messages"));
}

#[test]
fn a_run_that_proved_nothing_says_so() {
    let scratch = Scratch::new("vacuous");
    let said = scratch.refused(&["crash", "--workload", "true", "--check", "true"]);
    assert!(
        said.contains("the workload wrote nothing to the recorded disks (/dev/ram0 to /dev/ram0)"),
        "{said}"
    );
    let rules = scratch.path().join("faults.toml");
    fs::write(&rules, "[[fault]]\ndevice = \"/dev/rma0\"\nfail = \"EIO\"\n").unwrap();
    let run = |more: &[&str], program: &str| {
        let mut words = vec!["run", "--faults", "faults.toml"];
        words.extend(more);
        words.extend(["--", "sh", "-c", program]);
        scratch.run(&words)
    };
    let warned = run(&[], "true");
    assert_eq!(warned.status.code(), Some(0));
    let want = "dmlab: fault rule #1 matched nothing: device=/dev/rma0 fail=EIO\n";
    assert_eq!(text(&warned.stderr), want);
    assert_eq!(run(&["--require-hit"], "true").status.code(), Some(1));
    assert_eq!(
        run(&["--require-hit"], "exit 7").status.code(),
        Some(7),
        "the command's own failure comes first"
    );
    fs::write(&rules, "[[fault]]\ndevice = \"/dev/ram0\"\nop = \"read\"\nfail = \"EIO\"\n").unwrap();
    let struck = run(
        &["--require-hit"],
        "dd if=/dev/ram0 of=/dev/null count=8 iflag=direct status=none 2>/dev/null; true",
    );
    assert_eq!((struck.status.code(), text(&struck.stderr).as_str()), (Some(0), ""));
    let none = scratch.run(&["run", "--require-hit", "--", "true"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("there was no fault rule"));
}

#[test]
fn odd_sizes_and_disks_are_refused() {
    let scratch = Scratch::new("sizes");
    fs::write(scratch.path().join("disk"), [0; 4096]).unwrap();
    for words in [
        &["run", "--ram-size", "0", "--", "true"][..],
        &["run", "--ram-size", "1073741825", "--", "true"],
        &["crash", "--disk-size", "0", "--workload", "true", "--check", "true"],
        &["prove", "--seeds", "0"],
        &["crash", "--disks", "0", "--workload", "true", "--check", "true"],
    ] {
        assert!(scratch.refused(words).contains("is not in "), "{words:?}");
    }
    let said = scratch.refused(&["run", "--disk", "disk", "--ro-disk", "./disk", "--", "true"]);
    assert!(said.contains("disk and ./disk are one file: it can be one disk only"), "{said}");
    // Both commands take both words.
    assert_eq!(
        scratch
            .ok(&["run", "--disks", "1", "--disk-size", "1", "--", "ls", "/dev/ram0", "/dev/mapper"])
            .lines()
            .count(),
        4
    );
    scratch.ok(&[
        "crash",
        "--ram",
        "1",
        "--ram-size",
        "1",
        "--workload",
        "echo x >/dev/ram0",
        "--check",
        "true",
    ]);
}

#[test]
fn tables_that_are_none_are_refused_and_names_are_bytes() {
    let scratch = Scratch::new("tables");
    let script = "exec 2>&1
        for t in '' '# only a comment' '-5 8 zero'; do dmlab create a --table \"$t\"; echo $?; done
        dmlab create a --notable; dmlab create a --table '0 8 zero'; echo $?
        dmlab load a --table '0 8 Linear /dev/ram0 0'; dmlab ls";
    let got = text(&on_machine(&scratch, script).stdout);
    let want = [
        "dmlab: the table has no line: START LENGTH TARGET and its parameters, such as `0 8 zero`; `dmlab create --notable`",
        "dmlab: table line 1: ",
        "dmlab: create ioctl on a failed: Device or resource busy (EBUSY)\n  a device of that name exists: `dmlab load a --resume`",
        "did you mean linear?",
        "a\t(254:0)\n",
    ];
    for part in want {
        assert!(got.contains(part), "{part}\n{got}");
    }
    scratch.ok(&["boot", "bytes"]);
    let odd = OsStr::from_bytes(b"\xff\xfe");
    let create = scratch
        .dmlab()
        .args(["--machine", "bytes", "create"])
        .arg(odd)
        .args(["--table", "0 8 zero"])
        .output();
    assert!(create.as_ref().unwrap().status.success(), "{}", text(&create.unwrap().stderr));
    let remove = scratch.dmlab().args(["--machine", "bytes", "remove"]).arg(odd).output().unwrap();
    assert!(remove.status.success(), "{}", text(&remove.stderr));
    scratch.ok(&["halt", "bytes"]);
}

#[test]
fn an_ordinary_path_finds_roots_programs() {
    let scratch = Scratch::new("path");
    let output = scratch
        .dmlab()
        .env("PATH", "/usr/bin:/bin")
        .args(["run", "--", "sh", "-c", "dmsetup ls; echo $PATH"])
        .output();
    let output = output.unwrap();
    assert_eq!(text(&output.stdout), "No devices found\n/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin\n");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn json_has_the_keys_that_the_book_lists() {
    let book = include_str!("../../../docs/src/json.md");
    let rows = book.lines().filter(|line| {
        line.starts_with("| `dmlab ") && !line.contains("uevents") && !line.contains("`dmlab thin ")
    });
    let rows: Vec<(String, Vec<String>)> = rows
        .map(|line| {
            let mut words = line.split('`').skip(1).step_by(2).map(str::to_owned);
            let command = words.next().unwrap();
            let mut keys: Vec<String> = words.collect();
            keys.sort();
            (command, keys)
        })
        .collect();
    assert!(rows.len() > 10, "the table is read");
    let scratch = Scratch::new("json");
    let show: String =
        rows.iter().map(|(command, _)| format!("echo '# {command}'; {command} --json\n")).collect();
    let script = format!(
        "dmlab create a --table '0 8 striped 1 8 /dev/ram0 0'; dmlab fault add device=/dev/ram0 op=write fail=EIO >/dev/null
         dmlab io write ram0 0 x 2>/dev/null; {show}"
    );
    let output = on_machine(&scratch, &script);
    let shown = text(&output.stdout);
    for (command, keys) in &rows {
        let after =
            shown.split_once(&format!("# {command}\n")).unwrap_or_else(|| panic!("{command}: {shown}")).1;
        let json: serde_json::Value =
            serde_json::Deserializer::from_str(after).into_iter().next().unwrap().unwrap();
        let first =
            json.get(0).unwrap_or_else(|| panic!("{command} shows nothing: {json}")).as_object().unwrap();
        let mut got: Vec<&String> = first.keys().collect();
        got.sort();
        assert_eq!(got, keys.iter().collect::<Vec<_>>(), "{command}");
    }
    assert!(shown.contains("\"alive\": false") || shown.contains("\"alive\": true"), "{shown}");
}

#[test]
fn a_shell_learns_the_words_and_man_has_pages() {
    kit::need(&[("groff", "groff-base")]);
    let scratch = Scratch::new("pages");
    assert!(scratch.ok(&["completions", "bash"]).contains("require-hit"));
    let pages = scratch.ok(&["man", "--dir", "pages"]);
    assert!(pages.contains("pages/dmlab.1\n") && pages.contains("pages/dmlab-fault-add.1\n"), "{pages}");
    assert!(fs::read_to_string(scratch.path().join("pages/dmlab-run.1")).unwrap().contains("require\\-hit"));
    assert!(scratch.ok(&["man"]).contains("SUBCOMMANDS"));
    for page in fs::read_dir(scratch.path().join("pages")).unwrap() {
        let page = page.unwrap().path();
        let output = Command::new("groff").args(["-man", "-ww", "-Tutf8", "-z"]).arg(&page).output().unwrap();
        assert_eq!(text(&output.stderr), "", "{}", page.display());
    }
}

#[test]
fn the_doctor_finds_a_machine_that_boots() {
    let scratch = Scratch::new("doctor");
    let said = scratch.ok(&["doctor"]);
    assert!(said.contains("boots, and programs see its disks"), "{said}");
    assert!(!said.contains("BAD"), "{said}");
    // A folder that cannot hold machines is found out.
    let blocked = scratch.dmlab().env("TMPDIR", "/proc").arg("doctor").output().unwrap();
    assert_eq!(blocked.status.code(), Some(1));
    assert!(text(&blocked.stdout).contains("XDG_RUNTIME_DIR"), "{}", text(&blocked.stdout));
}

#[test]
fn the_words_that_people_search_for_are_there() {
    let scratch = Scratch::new("words");
    let mut all = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    for command in ["run", "crash", "fault", "record", "replay", "prove", "thin", "tour"] {
        all += &scratch.ok(&[command, "--help"]);
    }
    all += &scratch.ok(&["--help"]);
    let all = all.to_lowercase();
    for word in [
        "fault injection",
        "power loss",
        "simulation",
        "copy-on-write",
        "ld_preload",
        "record",
        "deterministic",
    ] {
        assert!(all.contains(word), "{word}");
    }
}

#[test]
fn help_fits_the_terminal() {
    let scratch = Scratch::new("help");
    for words in [&["--help"][..], &["run", "--help"], &["crash", "--help"]] {
        let output = scratch.dmlab().env("COLUMNS", "80").args(words).output().unwrap();
        for line in text(&output.stdout).lines() {
            assert!(line.chars().count() <= 100, "{words:?}: {line}");
        }
    }
    assert!(scratch.ok(&["run", "--help"]).contains("-- <CMD>..."));
}
