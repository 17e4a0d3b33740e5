//! `--udev`: links, the database and what reads it.

mod kit;

use kit::{Scratch, assert_lines, need, run};

#[test]
fn links_follow_names_and_contents() {
    need(&[("dmsetup", "dmsetup"), ("mkfs.ext4", "e2fsprogs"), ("udevadm", "udev"), ("blkid", "util-linux")]);
    let scratch = Scratch::new("udev-links");
    let script = r#"
        list() { udevadm settle; (cd /dev; find disk mapper vg* -type l 2>/dev/null | sort | while read -r l; do echo "$l -> $(readlink "$l")"; done); }
        dmsetup create x --uuid TEST-1 --table "0 65536 linear /dev/ram0 0"
        list
        echo "== a file system"
        mkfs.ext4 -q -L "my label" -U 11111111-2222-3333-4444-555555555555 /dev/mapper/x
        list
        lsblk -rno NAME,FSTYPE,LABEL,UUID /dev/mapper/x
        udevadm info -q property /dev/mapper/x | grep -E '^(DM_NAME|DM_UUID|ID_FS_TYPE|ID_FS_USAGE)='
        echo "== another name"
        dmsetup rename x y
        list
        readlink /dev/block/254:0
        echo "== other contents"
        wipefs -qa /dev/mapper/y
        list
        dmsetup remove y
        echo "== gone"
        list
        ls /dev/disk 2>&1
    "#;
    let names = |name: &str| {
        format!("disk/by-id/dm-name-{name} -> ../../dm-0\ndisk/by-id/dm-uuid-TEST-1 -> ../../dm-0\n")
    };
    let contents = "disk/by-label/my\\x20label -> ../../dm-0\n\
        disk/by-uuid/11111111-2222-3333-4444-555555555555 -> ../../dm-0\n";
    let expected = [
        &names("x"),
        "mapper/x -> ../dm-0\n== a file system\n",
        &names("x"),
        contents,
        "mapper/x -> ../dm-0\nx ext4 my\\x20label 11111111-2222-3333-4444-555555555555\nDM_NAME=x\nDM_UUID=TEST-1\n\
         ID_FS_TYPE=ext4\nID_FS_USAGE=filesystem\n== another name\n",
        &names("y"),
        contents,
        "mapper/y -> ../dm-0\n../dm-0\n== other contents\n",
        &names("y"),
        "mapper/y -> ../dm-0\n== gone\nls: cannot access '/dev/disk': No such file or directory",
    ]
    .concat();
    assert_lines("links", &run(&scratch, &["--udev"], script), &expected);
}

#[test]
fn partitions_of_a_loop_have_links() {
    need(&[("losetup", "mount"), ("sfdisk", "fdisk"), ("mkswap", "util-linux"), ("udevadm", "udev")]);
    let scratch = Scratch::new("udev-loop");
    let script = r#"
        truncate -s 64M disk
        printf 'label: gpt\nsize=20480,name="my part",uuid=AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE\n' | sfdisk -q disk
        losetup -P /dev/loop0 disk
        mkswap -q -L sw -U 11111111-2222-3333-4444-555555555555 /dev/loop0p1 >/dev/null
        udevadm settle
        cd /dev/disk; for l in by-label/* by-partlabel/* by-partuuid/* by-uuid/*; do echo "$l -> $(readlink "$l")"; done
        lsblk -rno NAME,FSTYPE,PARTUUID /dev/loop0
        echo "== the whole disk is written"
        printf 'label: gpt\nsize=4096\nsize=4096\n' | sfdisk -q --no-reread --no-tell-kernel -w never /dev/loop0 >/dev/null 2>&1
        udevadm settle
        grep -c loop0p /proc/partitions
    "#;
    let expected = r"
by-label/sw -> ../../loop0p1
by-partlabel/my\x20part -> ../../loop0p1
by-partuuid/aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee -> ../../loop0p1
by-uuid/11111111-2222-3333-4444-555555555555 -> ../../loop0p1
loop0  
loop0p1 swap aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee
== the whole disk is written
2";
    assert_lines("loop", &run(&scratch, &["--udev"], script), expected);
}

#[test]
fn lvm_finds_its_links() {
    need(&[("lvm", "lvm2"), ("mkfs.ext4", "e2fsprogs")]);
    let scratch = Scratch::new("udev-lvm");
    let script = r#"
        export LVM_SYSTEM_DIR=$PWD/lvm; mkdir -p lvm lock run
        echo "global { locking_dir = \"$PWD/lock\" } activation { monitoring = 0 } backup { backup = 0 archive = 0 }" >lvm/lvm.conf
        q() { "$@" >/dev/null 2>&1; echo "$1 $?"; }
        q vgcreate vg-a /dev/ram0
        q lvcreate -y -L 20M -n lv1 vg-a
        readlink /dev/vg-a/lv1 /dev/mapper/vg--a-lv1
        q mkfs.ext4 -q /dev/vg-a/lv1
        q lvrename vg-a lv1 lv2
        ls /dev/vg-a
        q lvchange -an vg-a/lv2
        ls -d /dev/vg-a 2>&1
    "#;
    let expected = "vgcreate 0\nlvcreate 0\n../dm-0\n../dm-0\nmkfs.ext4 0\nlvrename 0\nlv2\nlvchange 0\n\
        ls: cannot access '/dev/vg-a': No such file or directory";
    assert_lines("lvm", &run(&scratch, &["--udev"], script), expected);
}

#[test]
fn udevadm_and_multipath_find_the_machines_devices() {
    need(&[("udevadm", "udev"), ("multipath", "multipath-tools"), ("dmsetup", "dmsetup")]);
    let scratch = Scratch::new("udev-walk");
    let script = r#"
        dmsetup create x --table "0 65536 linear /dev/ram0 0"
        udevadm info -q path -n /dev/ram1; udevadm info -q path /dev/mapper/x; udevadm info -q path /sys/block/ram2
        udevadm info -q symlink /dev/dm-0 | tr ' ' '\n' | sort
        before=$("$DMLAB" uevents | wc -l)
        udevadm trigger --action=change --subsystem-match=block; echo "trigger $?"
        "$DMLAB" uevents | tail -n +$((before + 1)) | grep -c "ACTION=change .*SYNTH_UUID=0"
        multipath -ll 2>/dev/null; echo "multipath $?"
    "#;
    let expected = "/devices/virtual/block/ram1\n/devices/virtual/block/dm-0\n/devices/virtual/block/ram2\nblock/254:0\n\
        disk/by-id/dm-name-x\nmapper/x\ntrigger 0\n9\nmultipath 0";
    assert_lines("walk", &run(&scratch, &["--udev"], script), expected);
}

#[test]
fn without_it_there_is_none() {
    let scratch = Scratch::new("no-udev");
    let script = "dmsetup create x --table '0 65536 linear /dev/ram0 0'; ls -d /dev/block /dev/disk /run/udev/data 2>&1 | wc -l";
    assert_lines("none", &run(&scratch, &[], script), "3");
}
