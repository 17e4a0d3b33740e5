//! What a machine cannot have is refused with what would be right.

mod kit;

use kit::{Scratch, command};

/// What a command says on stderr that fails.
fn refused(scratch: &Scratch, words: &[&str]) -> String {
    let output = command(scratch, words).output().unwrap();
    assert!(!output.status.success(), "{words:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a command prints that succeeds.
fn ok(scratch: &Scratch, words: &[&str]) -> String {
    let output = command(scratch, words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_path_that_the_linker_would_split_is_refused() {
    let scratch = Scratch::new("odd-path");
    for odd in ["a b", "a:b", "$ORIGIN"] {
        let folder = scratch.0.join(odd);
        std::fs::create_dir(&folder).unwrap();
        let mut command = command(&scratch, &["run", "--", "ls", "/dev/mapper"]);
        let output = command.env_remove("XDG_RUNTIME_DIR").env("TMPDIR", &folder).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]), "{odd}: {complaint}");
        assert!(complaint.contains("no space, colon or dollar sign"), "{odd}: {complaint}");
    }
}

#[test]
fn numbers_of_machines_have_bounds() {
    let scratch = Scratch::new("bounds");
    assert!(
        refused(&scratch, &["run", "--ram", "65537", "--", "true"]).contains("65537 is not in 0..=65536")
    );
    // A kernel by its whole release, and one that is none.
    assert_eq!(ok(&scratch, &["run", "--kernel", "7.2.7", "--", "dmsetup", "targets"]).lines().count(), 18);
    let complaint = refused(&scratch, &["run", "--kernel", "7.2.8", "--", "true"]);
    assert!(complaint.contains("[possible values: 6.1, 6.12, 6.12.113, 7.2, 7.3]"), "{complaint}");
}

#[test]
fn limits_of_semaphores_are_the_runs() {
    let scratch = Scratch::new("sem-limits");
    let script =
        "cat /proc/sys/kernel/sem; (echo 1 1 1 1 >/proc/sys/kernel/sem) 2>/dev/null; cat /proc/sys/kernel/sem
        python3 -c 'import ctypes; c = ctypes.CDLL(None, use_errno=True)
for at in 1, 4096, 1 << 46: print(c.klogctl(3, ctypes.c_void_p(at), 65536), ctypes.get_errno())'";
    let line = "32000\t1024000000\t500\t32000\n";
    assert_eq!(
        ok(&scratch, &["run", "--", "sh", "-c", script]),
        format!("{line}{line}-1 14\n-1 14\n-1 14\n")
    );
}
