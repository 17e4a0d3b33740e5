//! A sequence as work for the reference machine: shell, and lists of accesses that fio replays.

use super::{Fill, Io, Sequence, Step, THIN_BLOCKS};
use std::fmt::Write as _;

const SECTOR: u64 = 512;
/// What every script begins with. `s NUMBER COMMAND…` runs a step and notes when it fails.
const COMMON: &str = "\
s() { n=$1; shift; \"$@\" >/dev/null 2>&1 || { [ \"$n\" = \"$L\" ] || F=\"$F $n\"; L=$n; }; }
pool() { dmsetup create pool --table \"0 $((DB * BS)) thin-pool /dev/mapper/pool-meta /dev/mapper/pool-data $BS 0 $FT\"; }
reload() { dmsetup load pool --table \"0 $((DB * BS)) thin-pool /dev/mapper/pool-meta /dev/mapper/pool-data $BS 0 $FT\" && resume; }
resume() { dmsetup resume pool || { dmsetup resume pool; false; }; }
grow_data() { DB=$1; dmsetup load pool-data --table \"0 $((DB * BS)) zero\" && dmsetup resume pool-data && reload; }
grow_meta() { dmsetup load pool-meta --table \"0 $(($1 * 8)) linear /dev/ram0 0\" && dmsetup resume pool-meta && dmsetup suspend pool && resume; }
thins_off() { for d in $(dmsetup ls --target thin | cut -f1); do dmsetup remove $d; done; }
reopen() { thins_off; dmsetup remove pool; pool; }
there() { [ -b /dev/mapper/$1 ]; }
io() { there $2 || return 1; fio --name=io --read_iolog=$1 --ioengine=psync --direct=1 --thread --continue_on_error=all; true; }
w() { there $1 && dd if=/dev/zero of=/dev/mapper/$1 bs=$((BS * 512 * $3)) count=1 seek=$(($2 * BS * 512)) oflag=direct,seek_bytes conv=notrunc$4; }
p() { there $1 && dd if=/dev/zero of=/dev/mapper/$1 bs=4096 count=1 seek=$(($2 * BS / 8)) oflag=direct conv=notrunc,fsync; }
t() { there $1 && blkdiscard -o $(($2 * BS * 512)) -l $(($3 * BS * 512)) /dev/mapper/$1; }
f() { there $1 && dd if=/dev/zero of=/dev/mapper/$1 bs=512 count=0 conv=notrunc,fsync; }
begin() { # metadata blocks, MiB that are used
  dd if=/dev/zero of=/dev/ram0 bs=1M count=$2 2>/dev/null; F='' L=''
  dmsetup create pool-meta --table \"0 $(($1 * 8)) linear /dev/ram0 0\"
  dmsetup create pool-data --table \"0 $((DB * BS)) zero\"
  pool
}
finish() { # name, thin ids that are active
  name=$1; shift
  echo \"= failed$F\"
  for d in \"$@\"; do echo \"= status $d $(dmsetup status $d)\"; done
  echo \"= status pool $(dmsetup status pool)\"
  thins_off; dmsetup remove pool
  echo \"= sha256 $(sha256sum </dev/mapper/pool-meta | cut -d' ' -f1)\"
  dmsetup remove pool-meta; dmsetup remove pool-data
}
";

/// Files for the reference machine.
pub struct Job {
    /// The script that runs all sequences, and prints the recordings.
    pub script: String,
    /// Further files, by name.
    pub files: Vec<(String, String)>,
}

/// The job that runs `sequences` one after the other. For each it prints `sequence NAME`, then its recording.
pub fn job(sequences: &[Sequence]) -> Job {
    let mut script = format!("cd /job/in\n{COMMON}");
    let mut files = Vec::new();
    for sequence in sequences {
        write_sequence(sequence, &mut script, &mut files);
    }
    Job { script, files }
}

fn features(list: &[String]) -> String {
    if list.is_empty() { String::new() } else { format!("{} {}", list.len(), list.join(" ")) }
}

fn write_sequence(sequence: &Sequence, script: &mut String, files: &mut Vec<(String, String)>) {
    let Sequence { name, block_size, metadata_blocks, data_blocks, .. } = sequence;
    // Writing to a String cannot fail.
    let _ = writeln!(script, "echo sequence {name}");
    let _ = writeln!(script, "BS={block_size} DB={data_blocks} FT='{}'", features(&sequence.features));
    let _ = writeln!(script, "begin {metadata_blocks} {}", sequence.most_metadata_blocks().div_ceil(256) + 1);
    for (at, step) in sequence.steps.iter().enumerate() {
        let command = match step {
            Step::Create(id) => format!("dmsetup message pool 0 create_thin {id}"),
            Step::Snap(id, origin) => format!("dmsetup message pool 0 create_snap {id} {origin}"),
            Step::Delete(id) => format!("dmsetup message pool 0 delete {id}"),
            Step::On(id) => {
                let len = THIN_BLOCKS * block_size;
                format!("dmsetup create t{id} --table \"0 {len} thin /dev/mapper/pool {id}\"")
            }
            Step::Off(id) => format!("dmsetup remove t{id}"),
            Step::Io(list) => {
                accesses(sequence, at, list, script, files);
                continue;
            }
            Step::Hold => "dmsetup message pool 0 reserve_metadata_snap".to_owned(),
            Step::Release => "dmsetup message pool 0 release_metadata_snap".to_owned(),
            Step::TransId(old, new) => format!("dmsetup message pool 0 set_transaction_id {old} {new}"),
            Step::Suspend => "dmsetup suspend pool".to_owned(),
            Step::Resume => "dmsetup resume pool".to_owned(),
            Step::Reload(list) => {
                let _ = writeln!(script, "FT='{}'", features(list));
                "reload".to_owned()
            }
            Step::GrowData(blocks) => format!("grow_data {blocks}"),
            Step::GrowMetadata(blocks) => format!("grow_meta {blocks}"),
            Step::Reopen => "reopen".to_owned(),
            Step::Status => "dmsetup status pool".to_owned(),
        };
        let _ = writeln!(script, "s {at} {command}");
    }
    let active: Vec<String> = sequence.active().iter().map(|id| format!("t{id}")).collect();
    let _ = writeln!(script, "finish {name} {}", active.join(" "));
}

/// Shell for a list of accesses. Each is a program of its own, which is quick; only fills are lists for fio.
fn accesses(
    sequence: &Sequence,
    at: usize,
    list: &[(u64, Io)],
    script: &mut String,
    files: &mut Vec<(String, String)>,
) {
    for (i, &(id, io)) in list.iter().enumerate() {
        let command = match io {
            Io::Write(first, count) => format!("w t{id} {first} {count} ,fsync"),
            Io::Unsynced(first) => format!("w t{id} {first} 1"),
            Io::Part(first) => format!("p t{id} {first}"),
            Io::Trim(first, count) => format!("t t{id} {first} {count}"),
            Io::Sync => format!("f t{id}"),
            Io::Fill(fill) => {
                let file = format!("{}.{at}.{i}.io", sequence.name);
                files.push((file.clone(), fio_list(sequence.block_size, id, fill)));
                format!("io {file} t{id}")
            }
        };
        // Writing to a String cannot fail.
        let _ = writeln!(script, "s {at} {command}");
    }
}

/// fio's list of accesses, version 2.
fn fio_list(block_size: u64, id: u64, fill: Fill) -> String {
    let device = format!("/dev/mapper/t{id}");
    let mut text = format!("fio version 2 iolog\n{device} add\n{device} open\n");
    let len = block_size * SECTOR;
    for (block, syncs) in fill.blocks() {
        let _ = writeln!(text, "{device} write {} {len}", block * len);
        if syncs {
            let _ = writeln!(text, "{device} sync 0 0");
        }
    }
    let _ = writeln!(text, "{device} close");
    text
}

impl Sequence {
    /// Blocks that the metadata device has when it is largest.
    fn most_metadata_blocks(&self) -> u64 {
        let grown = |step: &Step| if let Step::GrowMetadata(blocks) = step { Some(*blocks) } else { None };
        self.steps.iter().filter_map(grown).fold(self.metadata_blocks, u64::max)
    }

    /// Ids of the thin devices that are active at the end, if no step is refused that should not be.
    pub fn active(&self) -> Vec<u64> {
        let mut active = Vec::new();
        for step in &self.steps {
            match step {
                Step::On(id) => active.push(*id),
                Step::Off(id) => active.retain(|known| known != id),
                Step::Reopen => active.clear(),
                _ => {}
            }
        }
        active.sort_unstable();
        active.dedup();
        active
    }
}
