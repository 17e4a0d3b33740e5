//! Partitions, by the programs that make and read them. What each script must print was printed by a Linux 6.12 with the same
//! programs, but for what names a version.

mod kit;

use kit::{Scratch, assert_lines, compile, need, run};

/// What a script finds: `$BLKPG`, `$TMP`, and `news`, which prints the events and the lines of the log since the last time.
const PRELUDE: &str = r#"
losetup -f >/dev/null
EVENTS=0 LINES=$("$DMLAB" klog | wc -l)
news() {
    "$DMLAB" uevents | tail -n +$((EVENTS + 1)) | grep -v SUBSYSTEM=bdi |
        sed 's/SUBSYSTEM=block //; s/DISKSEQ=[0-9]* //; s/ *SEQNUM=[0-9]*//'
    EVENTS=$("$DMLAB" uevents | wc -l)
    "$DMLAB" klog | tail -n +$((LINES + 1)) | sed 's/^\[[^]]*\] //'
    LINES=$("$DMLAB" klog | wc -l)
}
"#;

fn check(name: &str, script: &str, recorded: &str) {
    need(&[("dmsetup", "dmsetup"), ("losetup", "mount"), ("sfdisk", "fdisk")]);
    let scratch = Scratch::new(&format!("partitions-{name}"));
    let blkpg = compile(&scratch, "partitions/blkpg.c");
    let script = format!("BLKPG={}\nTMP={}\n{PRELUDE}{script}", blkpg.display(), scratch.0.display());
    assert_lines(name, &run(&scratch, &[], &script), recorded);
}

#[test]
fn one_by_one_on_each_kind_of_disk() {
    check("numbers", include_str!("partitions/numbers.sh"), include_str!("partitions/numbers.txt"));
}

#[test]
fn tables_sound_and_damaged() {
    check("tables", include_str!("partitions/tables.sh"), include_str!("partitions/tables.txt"));
}

#[test]
fn parted_partx_kpartx_and_addpart() {
    need(&[("parted", "parted"), ("kpartx", "kpartx"), ("partx", "util-linux"), ("addpart", "util-linux")]);
    let scratch = Scratch::new("partition-programs");
    let script = r#"
        parted -s /dev/ram3 mklabel gpt mkpart a 1MiB 10MiB mkpart b 10MiB 20MiB; echo "parted $?"
        grep ram3p /proc/partitions
        parted -s /dev/ram3 rm 1 resizepart 2 30MiB; echo "parted $?"
        grep ram3p /proc/partitions
        partx -d /dev/ram3; partx -a /dev/ram3; partx -u /dev/ram3; echo "partx $?"
        partx -o NR,START,SECTORS,NAME /dev/ram3
        addpart /dev/ram4 1 2048 4096; echo "addpart $?"; grep ram4p /proc/partitions
        delpart /dev/ram4 1; echo "delpart $?"; ls /dev/ram4p1 2>/dev/null
        partprobe /dev/ram3; echo "partprobe $?"
        dmsetup create l --table "0 65536 linear /dev/ram0 0"
        parted -s /dev/mapper/l mklabel msdos mkpart primary 1MiB 10MiB; echo "parted on a mapped device $?"
        dmsetup ls | sort | cut -f 1
        kpartx -a /dev/ram3 && kpartx -d /dev/ram3; echo "kpartx $?"
        mkfs.ext4 -q /dev/ram3p2 && dmsetup create fs --table "0 40960 linear /dev/ram3p2 0" && fsck.ext4 -n /dev/mapper/fs >/dev/null 2>&1
        echo "fsck $?"
    "#;
    let expected = r"
parted 0
 259        0       9216 ram3p1
 259        1      10240 ram3p2
parted 0
 259        1      20480 ram3p2
partx 0
NR START SECTORS NAME
 2 20480   40960 b
addpart 0
 259        1       2048 ram4p1
delpart 0
partprobe 0
parted on a mapped device 0
l
l1
kpartx 0
fsck 0";
    assert_lines("programs", &run(&scratch, &[], script), expected);
}

#[test]
fn a_disk_in_a_file_is_scanned_at_boot() {
    need(&[("sfdisk", "fdisk"), ("lsblk", "util-linux")]);
    let scratch = Scratch::new("partition-disk");
    let image = scratch.0.join("disk.img");
    let file = std::fs::File::create(&image).unwrap();
    file.set_len(64 << 20).unwrap();
    let table = "label: gpt\nsize=20480,name=one\nsize=8192\n";
    let prepared = format!("printf '{table}' | sfdisk -q {}", image.display());
    let status = std::process::Command::new("sh").args(["-c", &prepared]).status().unwrap();
    assert!(status.success());
    let script = "lsblk -rno NAME,MAJ:MIN,SIZE,TYPE,START; ls -l /dev/vda* | awk '{print $5 $6, $10}'
        cat /sys/block/vda/range /sys/block/vda/vda1/uevent | grep -v DISKSEQ
        dd if=/dev/zero of=/dev/vda2 bs=4096 count=3 oflag=direct 2>/dev/null
        awk '$3 ~ /^vda/ {print $3, $8, $10}' /proc/diskstats";
    let expected = r"
vda 253:0 64M disk 
vda1 253:1 10M part 2048
vda2 253:2 4M part 22528
253,0 /dev/vda
253,1 /dev/vda1
253,2 /dev/vda2
16
MAJOR=253
MINOR=1
DEVNAME=vda1
DEVTYPE=partition
PARTN=1
PARTNAME=one
vda 3 24
vda1 0 0
vda2 3 24";
    let disk = format!("--disk={}", image.display());
    assert_lines("disk", &run(&scratch, &[&disk], script), expected);
}
