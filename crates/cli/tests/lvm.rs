//! LVM2 and cryptsetup as Debian installs them, without any configuration, as an ordinary user and as the user that
//! runs the tests.

mod kit;

use kit::users::{User, script, start};
use kit::{Scratch, need};

/// A script that prints what its commands say on stderr, and nothing when all is well.
const QUIET: &str = r#"q() { "$@" 2>&1 >/dev/null | grep -v -e '^  WARNING: Sum of all thin volume sizes' \
    -e '^  WARNING: You have not turned on protection' -e '^  WARNING: Set activation/thin_pool_autoextend' ; }
"#;

fn both(name: &str, text: &str, expected: &str) {
    need(&[("setpriv", "util-linux"), ("lvm", "lvm2"), ("lvmpolld", "lvm2"), ("mkfs.ext4", "e2fsprogs")]);
    for user in [User::Same, User::Ordinary] {
        let scratch = Scratch::new(&format!("{name}-{user:?}"));
        let printed = script(user, &scratch.0, &format!("{QUIET}{text}"));
        assert_eq!(printed.trim_end(), expected.trim(), "{user:?}\n{text}");
    }
}

#[test]
fn volumes_of_every_kind() {
    both(
        "kinds",
        "q pvcreate /dev/ram0 /dev/ram1 /dev/ram2; q vgcreate vg0 /dev/ram0 /dev/ram1
         q lvcreate -y -L 32M -n linear vg0; q lvcreate -y -i 2 -L 32M -n striped vg0
         q lvcreate -y --type mirror -m 1 --mirrorlog core -L 8M -n mirror vg0; q lvcreate -y -s -L 16M -n snap vg0/linear
         echo text | dd of=/dev/vg0/snap conv=fsync status=none; head -c 5 /dev/vg0/snap
         q lvcreate -y -L 64M -T vg0/pool; q lvcreate -y -V 100M -T vg0/pool -n thin; q lvcreate -y -s -n thin2 vg0/thin
         q mkfs.ext4 -q /dev/vg0/thin; q lvextend -L +32M vg0/pool; q lvextend -r -L +20M vg0/thin | grep -v resize2fs
         q lvrename vg0 striped str; q vgextend vg0 /dev/ram2; q lvchange --addtag t vg0/str; q pvresize /dev/ram1
         lvs --noheadings --separator : -o lv_name,lv_size,segtype,origin,pool_lv,lv_tags vg0 | tr -d ' '
         q vgchange -an vg0; q vgchange -ay vg0; q vgs -o all; q pvs -o all; q lvs -a -o all
         q lvremove -y vg0/snap vg0/mirror; q vgremove -ff -y vg0; q pvremove /dev/ram0; pvs --noheadings -o pv_name | tr -d ' '",
        "
text
linear:32.00m:linear:::
mirror:8.00m:mirror:::
pool:96.00m:thin-pool:::
snap:16.00m:linear:linear::
str:32.00m:striped:::t
thin:120.00m:thin::pool:
thin2:100.00m:thin:thin:pool:
/dev/ram1
/dev/ram2",
    );
}

#[test]
fn groups_move_split_and_come_back() {
    both(
        "groups",
        "q vgcreate vg0 /dev/ram0 /dev/ram1; q vgcreate vg1 /dev/ram2; q lvcreate -y -L 8M -n a vg0 /dev/ram0
         q lvcreate -y -L 8M -n one vg1; echo moved | dd of=/dev/vg0/a conv=fsync status=none
         q pvmove -i 1 /dev/ram0 /dev/ram1; head -c 6 /dev/vg0/a
         lvs --noheadings -o devices vg0/a | tr -d ' '; q vgreduce vg0 /dev/ram0
         q vgchange -an vg1; vgmerge vg0 vg1 2>&1 | grep -v 'updating old'; q vgchange -an vg0; vgsplit vg0 vg2 /dev/ram2 2>&1; vgrename vg2 vg3
         q vgcfgbackup vg0; ls /etc/lvm/backup; q lvremove -y vg0/a
         vgcfgrestore -f $(ls -t /etc/lvm/archive/vg0_* | head -n 1) vg0 2>&1; q lvchange -ay vg0/a; head -c 6 /dev/vg0/a
         vgs --noheadings -o vg_name | tr -d ' '; q vgremove -ff -y vg0 vg3",
        "
moved
/dev/ram1(0)
  Volume group \"vg1\" successfully merged into \"vg0\"
  New volume group \"vg2\" successfully split from \"vg0\"
  Volume group \"vg2\" successfully renamed to \"vg3\"
vg0
vg1
vg3
  Restored volume group vg0.
moved
vg0
vg3",
    );
}

/// dmeventd is started by LVM, makes a pool larger that fills up, and ends with the run; the next machine has another one.
#[test]
fn a_pool_that_fills_up_is_extended() {
    let text = "echo 'activation { thin_pool_autoextend_threshold = 70 }' >/etc/lvm/lvmlocal.conf; q vgcreate vg0 /dev/ram0; q lvcreate -y -T -L 64M -V 200M -n thin vg0/pool
         lvs --noheadings -o seg_monitor,lv_size vg0/pool; cat /proc/$(cat /run/dmeventd.pid)/comm
         dd if=/dev/zero of=/dev/vg0/thin bs=1M count=50 status=none oflag=direct
         for i in $(seq 600); do sleep 0.1; lvs --noheadings -o lv_size vg0/pool | grep -q 64 || break; done
         lvs --noheadings -o seg_monitor,lv_size vg0/pool; cat /run/dmeventd.pid >pid";
    need(&[("dmeventd", "dmeventd"), ("setpriv", "util-linux")]);
    for user in [User::Ordinary, User::Same] {
        let scratch = Scratch::new(&format!("extend-{user:?}"));
        let printed = script(user, &scratch.0, &format!("{QUIET}{text}"));
        let expected = "  monitored 64.00m \ndmeventd\n  monitored 80.00m \n";
        assert_eq!(printed.replace("m\n", "m \n"), expected, "{user:?}");
        let pid = std::fs::read_to_string(scratch.path("pid")).unwrap();
        assert!(!std::path::Path::new("/proc").join(pid.trim()).exists(), "dmeventd {pid} still runs");
    }
}

#[test]
fn luks2_headers_of_an_ordinary_user() {
    need(&[("cryptsetup", "cryptsetup-bin"), ("setpriv", "util-linux")]);
    let text = "F='--pbkdf pbkdf2 --pbkdf-force-iterations 1000'; echo one >k1; echo two >k2
         c() { cryptsetup -q \"$@\"; echo $?; }
         c luksFormat $F /dev/ram0 k1; cryptsetup luksDump /dev/ram0 | grep -o 'Version: *.2'; c luksAddKey $F -d k1 /dev/ram0 k2
         c luksHeaderBackup /dev/ram0 --header-backup-file header; c open --test-passphrase -d k2 /dev/ram0
         c luksErase /dev/ram0; c luksHeaderRestore /dev/ram0 --header-backup-file header
         c open --test-passphrase -d k1 /dev/ram0; c luksKillSlot -d k1 /dev/ram0 1; cryptsetup luksDump /dev/ram0 | grep -c luks2";
    for user in [User::Same, User::Ordinary] {
        let scratch = Scratch::new(&format!("luks-{user:?}"));
        let printed = script(user, &scratch.0, text);
        assert_eq!(printed, "0\nVersion:       \t2\n0\n0\n0\n0\n0\n0\n0\n1\n", "{user:?}");
    }
}

#[test]
fn lvmpolld_can_be_called_on_every_state_of_a_crash() {
    need(&[("lvmpolld", "lvm2"), ("python3", "python3-minimal")]);
    let scratch = Scratch::new("crash-lvmpolld");
    // Whoever is called by a greeting answers with one of its own.
    let call = "python3 -c '
import socket
polld = socket.socket(socket.AF_UNIX)
polld.connect(\"/run/lvm/lvmpolld.socket\")
polld.sendall(b\"request = \\\"hello\\\"\\n\\n##\\n\")
assert b\"lvmpolld\" in polld.recv(1000)'";
    let workload = format!("{call} && dd if=/dev/zero of=/dev/ram0 bs=4k count=2 oflag=direct status=none");
    let output =
        start(User::Same, &scratch.0, &["crash", "--time", "real", "--workload", &workload, "--check", call]);
    assert!(output.status.success(), "{output:?}");
    let left = daemons_of(&scratch, "lvmpolld");
    assert!(left.is_empty(), "{left:?}");
}

/// The processes of this name that were started for a test: its folder is their home. Others have their own.
fn daemons_of(scratch: &Scratch, name: &str) -> Vec<std::path::PathBuf> {
    let home = format!("HOME={}\0", scratch.0.display());
    let is_one = |process: &std::path::PathBuf| {
        let read = |file: &str| std::fs::read(process.join(file)).unwrap_or_default();
        let environment = String::from_utf8_lossy(&read("environ")).into_owned();
        read("comm") == format!("{name}\n").as_bytes() && environment.contains(&home)
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|process| process.path());
    processes.filter(is_one).collect()
}
