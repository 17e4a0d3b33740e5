//! `dmlab thin` as a program: exit statuses, and what goes where.

mod kit;

use std::process::{Command, Stdio};

use kit::Scratch;

/// Runs a script; what it printed on stdout.
fn run(folder: &Scratch, script: &str) -> String {
    let dmlab = kit::dmlab();
    let path =
        format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", dmlab.parent().expect("a file in a folder").display());
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(&folder.0).env("PATH", path).env("LC_ALL", "C");
    command.env_remove("DMLAB_MACHINE").env_remove("DMLAB_SOCKET").stdin(Stdio::null());
    String::from_utf8(command.output().expect("it runs").stdout).expect("text")
}

/// A pool with the devices 1 and 2 in `good`; in `bad` the leaf of device 2 is damaged.
const DAMAGED: &str = r#"
cat > m.xml <<'X'
<superblock uuid="" time="1" transaction="0" flags="0" version="2" data_block_size="128" nr_data_blocks="100">
  <device dev_id="1" mapped_blocks="4" transaction="0" creation_time="0" snap_time="1">
    <range_mapping origin_begin="0" data_begin="0" length="4" time="0"/>
  </device>
  <device dev_id="2" mapped_blocks="4" transaction="0" creation_time="1" snap_time="1">
    <range_mapping origin_begin="0" data_begin="0" length="3" time="0"/>
    <single_mapping origin_block="3" data_block="9" time="1"/>
  </device>
</superblock>
X
truncate -s 2M good; dmlab thin restore -i m.xml -o good
b=1; while [ $b -lt 40 ]; do
  cp good bad; printf '\377' | dd of=bad bs=1 seek=$((b*4096+200)) conv=notrunc 2>/dev/null
  dmlab thin check bad 2>&1 | grep -q 'thin device 2' && break; b=$((b+1)); done
try() { dmlab thin "$@" >out 2>err; echo "$1: $?, stderr $([ -s err ] && echo says why || echo empty), $(grep -c . out) line(s)"; }
"#;

#[test]
fn readers_of_damaged_metadata_fail() {
    let got = run(
        &Scratch::new("thin-damaged"),
        &format!(
            "{DAMAGED}
            try ls --no-headers -o DEV,EXCLUSIVE,SHARED bad; try delta --thin1 1 --thin2 2 bad; try rmap --region 0..100 bad
            try stat bad; try tree bad; try tree --svg drawn bad; try map bad 2; try map --runs bad 1; grep -c 'thin device 2 lost' err
            try ls --no-headers bad; head -c 16384 good > short
            try ls --no-headers short; try rmap --region 0..100 short; try stat short; try map short 1; try stat /dev/null"
        ),
    );
    let want = "\
ls: 1, stderr says why, 0 line(s)
delta: 1, stderr says why, 0 line(s)
rmap: 1, stderr says why, 0 line(s)
stat: 1, stderr says why, 0 line(s)
tree: 1, stderr says why, 6 line(s)
tree: 1, stderr says why, 0 line(s)
map: 1, stderr says why, 2 line(s)
map: 1, stderr says why, 2 line(s)
1
ls: 0, stderr empty, 2 line(s)
ls: 1, stderr says why, 0 line(s)
rmap: 1, stderr says why, 0 line(s)
stat: 1, stderr says why, 0 line(s)
map: 1, stderr says why, 5 line(s)
stat: 1, stderr says why, 0 line(s)
";
    assert_eq!(got, want);
}

#[test]
fn growing_metadata_leaks_nothing() {
    let script = r#"
dmsetup create meta --table "0 4096 linear /dev/ram0 0"
dmsetup create tp --table "0 40960 thin-pool /dev/mapper/meta /dev/ram1 128 0"
grow() { dmsetup suspend tp; dmsetup suspend meta; dmsetup load meta --table "0 $1 linear /dev/ram0 0"; dmsetup resume meta; dmsetup resume tp; dmsetup status tp; }
grow 8192
grow 532480
dmsetup remove tp; thin_check -q /dev/mapper/meta; echo "thin_check $?"; dmlab thin check -q /dev/mapper/meta; echo "check $?""#;
    let folder = Scratch::new("thin-growth");
    std::fs::write(folder.0.join("grow.sh"), script).expect("a file can be written");
    let got = run(&folder, "dmlab run --ram 2 --ram-size 512 -- sh grow.sh");
    let want = "\
0 40960 thin-pool 0 111/1024 0/320 - rw discard_passdown queue_if_no_space - 256 
0 40960 thin-pool 0 4109/66560 0/320 - rw discard_passdown queue_if_no_space - 1024 
thin_check 0
check 0
";
    assert_eq!(got, want);
}

#[test]
fn restore_and_repair_write_no_pool_that_cannot_be() {
    let folder = Scratch::new("thin-block-size");
    let script = r#"
restored() {
    echo "<superblock uuid=\"\" time=\"0\" transaction=\"0\" version=\"2\" data_block_size=\"$1\" nr_data_blocks=\"10\"></superblock>" > m.xml
    rm -f new; truncate -s 4M new; dmlab thin restore -i m.xml -o new 2>&1 | grep -o 'data blocks of .*'
}
for size in 0 127 192 2097280; do restored $size; done
for size in 128 384 2097152; do restored $size; dmlab thin check -q new && echo "$size sound"; done
truncate -s 4M repaired
dmlab thin repair -i new -o repaired --data-block-size 5 >out 2>&1; echo "repair $?"; grep -o 'data blocks of .*' out
dmlab thin repair -i new -o repaired --data-block-size 256 >out 2>&1; echo "repair $?"; dmlab thin check -q repaired && echo sound
"#;
    let refused = |size: &str| {
        format!(
            "data blocks of {size} sectors are none: the data block size is a multiple of 128 up to 2097152\n"
        )
    };
    let expected = ["0", "127", "192", "2097280"].map(refused).concat()
        + "128 sound\n384 sound\n2097152 sound\nrepair 1\n"
        + &refused("5")
        + "repair 0\nsound\n";
    assert_eq!(run(&folder, script), expected);
}
