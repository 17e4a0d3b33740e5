//! Thin provisioning, as a container engine uses it: image layers are snapshots of snapshots.

use super::teller::{Teller, id};
use crate::kernel::Failure;
use dmlab_control::Query;
use dmlab_thin_tools::{BytesMetadata, Scope, State, Survey, map};
use dmlab_units::{Sector, Sectors, ThinId};

/// Sectors of a data block: 64 KiB.
const BLOCK: Sectors = Sectors(128);
/// Data blocks of the pool at first.
const SMALL: u64 = 12;
/// Data blocks once it was grown.
const LARGE: u64 = 16;
/// Sectors of ram7 that hold the metadata; the data follow.
const METADATA: Sectors = Sectors(4096);
/// A thin device's size: 10 GiB.
const SIZE: Sectors = Sectors(20_971_520);
/// The devices that the pictures show, from the bottom layer up.
const LAYERS: [(&str, u64); 4] = [("base", 0), ("image", 1), ("app", 2), ("box", 3)];

/// The two chapters.
pub(super) fn tell(t: &mut Teller) -> Result<(), Failure> {
    provision(t)?;
    stack_up(t)?;
    delete(t)?;
    run_out(t)
}

fn provision(t: &mut Teller) -> Result<(), Failure> {
    t.title("Ten gigabytes on one megabyte");
    t.say(&format!(
        "Thin devices take space when they are written, not before. A pool hands out the space: `thin-pool METADATA \
         DATA BLOCK_SIZE LOW_WATER`. This one has {SMALL} blocks of 64 KiB, and metadata beside them on the same disk:"
    ))?;
    t.create("meta", &format!("0 {METADATA} linear /dev/ram7 0"))?;
    t.create("data", &format!("0 {} linear /dev/ram7 {METADATA}", SMALL * BLOCK.0))?;
    t.create("pool", &pool_table(SMALL))?;
    t.say("The pool makes thin devices when it is told to; a table then gives one a name and a size. 10 GiB, why not:")?;
    t.message("pool", "create_thin 0")?;
    t.create("base", &thin_table(0))?;
    t.say("Write two blocks of it, as a file system would that was just made:")?;
    write_block(t, "base", 0, 'b')?;
    write_block(t, "base", 1, 'b')?;
    t.status("base")?;
    t.status("pool")?;
    t.say("256 sectors are mapped; of the pool's data blocks, 2 are used. The numbers before them count blocks of metadata, \
           4 KiB each: of the 61 the pool holds 51, a tenth of all, in reserve, so that it can always commit. `dmlab thin \
           stat` counts without the reserve.")
}

fn stack_up(t: &mut Teller) -> Result<(), Failure> {
    t.title("Layers, as in a container engine");
    t.say(
        "A snapshot is one more reference to the same blocks: it costs nothing until one side writes. Docker's device \
         mapper driver made every image layer a snapshot of the layer below, and every container one more on top:",
    )?;
    snapshot(t, ("image", 1), ("base", 0))?;
    write_block(t, "image", 1, 'i')?;
    write_block(t, "image", 2, 'i')?;
    snapshot(t, ("app", 2), ("image", 1))?;
    write_block(t, "app", 3, 'a')?;
    snapshot(t, ("box", 3), ("app", 2))?;
    write_block(t, "box", 0, 'c')?;
    t.say("Where each device's blocks are in the pool, read from the metadata. A star marks a block that others use too:")?;
    draw(t)?;
    t.say(
        "Writing block 1 of `image` copied it: `base` still has its own. `box` shares three of its four blocks with the \
         layers below, and has paid for one.",
    )?;
    t.status("pool")
}

fn delete(t: &mut Teller) -> Result<(), Failure> {
    t.say("Delete the container, and what only it used is free again:")?;
    t.remove("box")?;
    t.message("pool", "delete 3")?;
    draw(t)?;
    t.status("pool")
}

fn run_out(t: &mut Teller) -> Result<(), Failure> {
    t.title("A full pool");
    t.say("The thin devices promise 30 GiB; the pool has 768 KiB. Write on:")?;
    let used = used_blocks(t)?;
    for at in 0..SMALL - used {
        write_block(t, "app", 16 + at, 'x')?;
    }
    t.status("pool")?;
    t.say("Not a block is left. The next write to a new one does not fail, it waits:")?;
    let sector = Sector((16 + SMALL) * BLOCK.0);
    let seek = sector.0 / 8;
    t.shell(&format!(
        "head -c 4096 /dev/zero | tr '\\0' '!' | dd of=/dev/mapper/app bs=4k seek={seek} oflag=direct &"
    ))?;
    let write = t.lab().start_write("/dev/mapper/app", sector, &[b'!'; 4096])?;
    t.lab().settle();
    t.line(if write.result().is_none() { "the write has not ended" } else { "the write has ended" })?;
    t.status("pool")?;
    t.say("(After 60 seconds it would fail.) More space: a longer data device, then a longer pool over it.")?;
    t.load("data", &format!("0 {} linear /dev/ram7 {METADATA}", LARGE * BLOCK.0))?;
    t.resume("data")?;
    t.load("pool", &pool_table(LARGE))?;
    t.resume("pool")?;
    t.lab().settle();
    t.line(&match write.result() {
        Some(Ok(())) => "the write has ended, without an error".to_owned(),
        Some(Err(errno)) => format!("the write has failed: {errno}"),
        None => "the write still waits".to_owned(),
    })?;
    t.status("pool")?;
    t.say("The layers are done with; what stands on top goes first:")?;
    for name in ["app", "image", "base", "pool", "data", "meta"] {
        t.remove(name)?;
    }
    t.say("`dmlab thin` reads such metadata without a pool: check, dump, map, tree and more.")
}

fn pool_table(blocks: u64) -> String {
    format!("0 {} thin-pool /dev/mapper/meta /dev/mapper/data {BLOCK} 2", blocks * BLOCK.0)
}

fn thin_table(id: u64) -> String {
    format!("0 {SIZE} thin /dev/mapper/pool {id}")
}

/// Takes a snapshot as it must be taken: with the origin suspended, so that nothing is under way.
fn snapshot(t: &mut Teller, new: (&str, u64), of: (&str, u64)) -> Result<(), Failure> {
    t.suspend(of.0)?;
    t.message("pool", &format!("create_snap {} {}", new.1, of.1))?;
    t.resume(of.0)?;
    t.create(new.0, &thin_table(new.1))
}

/// Fills the first 4 KiB of a block with a letter.
fn write_block(t: &mut Teller, name: &str, block: u64, letter: char) -> Result<(), Failure> {
    let path = format!("/dev/mapper/{name}");
    let at = Sector(block * BLOCK.0).0 / 8;
    t.shell(&format!("head -c 4096 /dev/zero | tr '\\0' {letter} | dd of={path} bs=4k seek={at}"))?;
    t.lab().write(&path, Sector(block * BLOCK.0), &[letter as u8; 4096])?;
    t.line(&format!("({letter} at the start of block {block} of {name})"))
}

fn used_blocks(t: &mut Teller) -> Result<u64, Failure> {
    let report = t.dm().status(&id("pool")?, Query::default())?;
    let line = report.lines.first().map(ToString::to_string).unwrap_or_default();
    let used = line.split_whitespace().nth(5).and_then(|blocks| blocks.split('/').next());
    used.and_then(|used| used.parse().ok()).ok_or_else(|| format!("no block counts in `{line}`").into())
}

/// Draws which data block each block of each device is.
fn draw(t: &mut Teller) -> Result<(), Failure> {
    // The status commits, so that the metadata on the disk is what the pool knows.
    t.dm().status(&id("pool")?, Query::default())?;
    let bytes = t.lab().read("/dev/ram7", Sector(0), METADATA)?;
    let metadata = BytesMetadata::new(bytes);
    let survey = Survey::new(&metadata, Scope::Mappings)?;
    const SHOWN: u64 = 4;
    let head: String = (0..SHOWN).map(|block| format!("{block:>6}")).collect();
    t.line(&format!("block of the device  {head}"))?;
    for (name, thin) in LAYERS {
        let Some(runs) = map(&survey, &survey.live, ThinId(thin))? else { continue };
        let mut row = String::new();
        for block in 0..SHOWN {
            let covers = |run: &&dmlab_thin_tools::MapRun| {
                (run.run.begin.0..run.run.begin.0 + run.run.length).contains(&block)
            };
            row += &match runs.iter().find(covers) {
                None => format!("{:>6}", "."),
                Some(found) => {
                    let data = found.run.data.0 + (block - found.run.begin.0);
                    let star = if found.state == State::Shared { "*" } else { " " };
                    format!("{data:>5}{star}")
                }
            };
        }
        t.line(&format!("{name:<8} data block  {}", row.trim_end()))?;
    }
    Ok(())
}
