//! `dmlab tour`: a story about mapped devices, told by a machine.
//!
//! Every line that looks like the machine's is the machine's: commands go through the control crate, pictures are read
//! off the disks, limits and logs are asked for. Time is virtual, so the story is the same each time.

mod layers;
mod picture;
mod teller;

use crate::kernel::Failure;
use crate::output::{self, Stdout, out};
use clap::Args;
use dmlab::Lab;
use dmlab_control::Stack;
use dmlab_control::{DeviceId, Query};
use dmlab_units::{Sector, Sectors};
use std::io::{self, BufRead, IsTerminal, Write};
use teller::{Teller, id};

/// Be shown around: a story on a machine of its own, an introduction to the device mapper.
///
/// On a terminal it stops after each chapter; elsewhere it is told in one go.
#[derive(Args)]
pub(crate) struct Tour {
    /// Colours, whatever stdout is.
    #[arg(long)]
    color: bool,
    /// Tell this chapter only.
    #[arg(long, value_name = "N")]
    chapter: Option<usize>,
    /// Tell it in one go, on a terminal too.
    #[arg(long)]
    no_pause: bool,
}

impl Tour {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let color = self.color || output::takes_colour(&std::io::stdout());
        let chapters = tell(color)?;
        match self.chapter {
            Some(number) => {
                let chapter = number.checked_sub(1).and_then(|at| chapters.get(at));
                let chapter = chapter.ok_or_else(|| {
                    format!("there is no chapter {number}: they are 1 to {}", chapters.len())
                })?;
                out!("{}", chapter.trim_start_matches('\n'))?;
            }
            None if self.no_pause || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() => {
                for chapter in &chapters {
                    out!("{chapter}")?;
                }
            }
            None => with_pauses(&chapters, &mut std::io::stdin().lock(), &mut Stdout)?,
        }
        Ok(())
    }
}

/// What a listener wants after a chapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Chapter(usize),
    Enough,
}

/// The wish after chapter `at`, counted from 0.
fn wish(word: &str, at: usize) -> Option<Wish> {
    match word {
        "" => Some(Wish::Chapter(at + 1)),
        "r" => Some(Wish::Chapter(at)),
        "b" => Some(Wish::Chapter(at.saturating_sub(1))),
        "q" => Some(Wish::Enough),
        _ => word.parse::<usize>().ok()?.checked_sub(1).map(Wish::Chapter),
    }
}

/// Tells chapters one by one, and asks after each what comes next. The end of the input is the end.
fn with_pauses(chapters: &[String], input: &mut dyn BufRead, out: &mut dyn Write) -> io::Result<()> {
    let mut at = 0;
    while let Some(chapter) = chapters.get(at) {
        write!(out, "{chapter}")?;
        if at + 1 == chapters.len() {
            return out.flush();
        }
        at = loop {
            write!(
                out,
                "\n[{} of {}] Enter: on, r: again, b: back, a number: that chapter, q: enough > ",
                at + 1,
                chapters.len()
            )?;
            out.flush()?;
            let mut line = String::new();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match wish(line.trim(), at) {
                Some(Wish::Chapter(next)) if next < chapters.len() => break next,
                Some(Wish::Enough) => return Ok(()),
                _ => {}
            }
        };
    }
    Ok(())
}

/// Tells the whole story, chapter by chapter.
fn tell(color: bool) -> Result<Vec<String>, Failure> {
    let mut teller = Teller::new(Lab::new(1), color);
    boot(&mut teller)?;
    linear(&mut teller)?;
    striped(&mut teller)?;
    nested(&mut teller)?;
    suspended(&mut teller)?;
    limits(&mut teller)?;
    refused(&mut teller)?;
    failing(&mut teller)?;
    layers::tell(&mut teller)?;
    goodbye(&mut teller)?;
    Ok(teller.into_chapters())
}

fn boot(t: &mut Teller) -> Result<(), Failure> {
    t.title("A machine");
    t.say("This program has just booted a simulated kernel inside itself. It needs no root, no virtual machine and no \
           real disk. Its clock is its own: here it moves on by a second with each chapter. The kernel's first words:")?;
    for line in t.lab().machine().klog().since(0) {
        t.line(&line.to_string())?;
    }
    t.say("(Every Linux says this at boot. The first line is about its integrity log, which notes a table that is loaded twice \
           only once; nothing is wrong.)")?;
    t.say("It has disks, made of memory that is only taken once something is written:")?;
    t.command("ls --all")?;
    for device in t.lab().machine().devices() {
        t.line(&format!("{}\t({})\t{} sectors", device.name, device.dev, device.size))?;
    }
    t.say("A sector is 512 bytes, so each has 256 MiB.")
}

fn linear(t: &mut Teller) -> Result<(), Failure> {
    t.title("Two pieces make one device");
    t.say("A mapped device is a table: lines that say which sectors of the new device lie where. The target `linear` \
           takes a piece of another device as it is: START LENGTH linear DEVICE OFFSET, all in sectors.")?;
    t.create("joined", "0 64 linear /dev/ram0 64\n64 64 linear /dev/ram1 0")?;
    t.say("The new device has 128 sectors, which is 16 blocks of 4 KiB. Fill each block with a letter, through the top:")?;
    t.write_letters("joined", b'A', 16)?;
    t.say("and look at the disks below. Each character is a block of 8 sectors, a dot a block of zeros.")?;
    t.picture(&["ram0", "ram1"])?;
    t.say("The first eight went to ram0, from its sector 64 on; the others to the start of ram1.")
}

fn striped(t: &mut Teller) -> Result<(), Failure> {
    t.title("Stripes");
    t.say("`striped` deals chunks out in turn, so that a long write keeps several disks busy: striped N CHUNK, then \
           DEVICE OFFSET for each stripe. Here 3 stripes in chunks of 16 sectors, two blocks.")?;
    t.create("fast", "0 192 striped 3 16 /dev/ram2 0 /dev/ram3 32 /dev/ram4 64")?;
    t.write_letters("fast", b'a', 24)?;
    t.picture(&["ram2", "ram3", "ram4"])?;
    t.say("Take two letters from each disk in turn, and the alphabet comes back.")
}

fn nested(t: &mut Teller) -> Result<(), Failure> {
    t.title("Devices on devices");
    t.say(
        "A mapped device is a block device like any other, so tables stack. A striped device with one leg on \
           `joined` and one on ram5:",
    )?;
    t.create("top", "0 256 striped 2 32 /dev/mapper/joined 0 /dev/ram5 0")?;
    t.write_letters("top", b'A', 26)?;
    t.picture(&["ram0", "ram1", "ram5"])?;
    t.say("One write at the top was cut into chunks, and `joined` sent its share to ram0 and then to ram1. What stands on \
           what:")?;
    t.command("tree")?;
    let mut stack = Stack::default();
    for device in t.lab().machine().devices() {
        stack.name(device.dev, device.name);
    }
    stack.read(t.dm())?;
    t.lines(&stack.draw())?;
    t.say("The same in numbers, as the kernel gives it, the device opened last first:")?;
    t.deps("top")?;
    t.say("Its table, and its status: A for each stripe that is alive.")?;
    t.table("top")?;
    t.status("top")
}

fn suspended(t: &mut Teller) -> Result<(), Failure> {
    t.title("A table replaced under a waiting write");
    t.say("A device has two slots for tables: a live one, and an inactive one that waits. Load a table that moves the \
           second half of `joined` to ram6:")?;
    t.load("joined", "0 64 linear /dev/ram0 64\n64 64 linear /dev/ram6 0")?;
    t.info("joined")?;
    t.say("Nothing has changed for those who use it. Now suspend it: what is under way ends, what comes next waits.")?;
    t.suspend("joined")?;
    t.say("A program writes a block of `!` at sector 96 all the same:")?;
    t.shell("head -c 4096 /dev/zero | tr '\\0' '!' | dd of=/dev/mapper/joined bs=4k seek=12 oflag=direct &")?;
    let write = t.lab().start_write("/dev/mapper/joined", Sector(96), &[b'!'; 4096])?;
    t.line(if write.result().is_none() {
        "the write has not ended: it waits in the kernel"
    } else {
        "the write has ended"
    })?;
    t.picture(&["ram1", "ram6"])?;
    t.say("Resume makes the inactive table the live one and lets the write go on, over the new table:")?;
    t.resume("joined")?;
    t.line(&match write.result() {
        Some(Ok(())) => "the write has ended, without an error".to_owned(),
        Some(Err(errno)) => format!("the write has failed: {errno}"),
        None => "the write still waits".to_owned(),
    })?;
    t.picture(&["ram1", "ram6"])?;
    t.table("joined")?;
    t.say("So LVM moves a volume while it is in use. (It copies the data first; a table alone moves none.)")
}

fn limits(t: &mut Teller) -> Result<(), Failure> {
    t.title("Limits add up");
    t.say("Each device says what it can take at once. A table takes the strictest of what is below it, and a target may \
           add its own: `striped` says that whole rows of chunks are best. Numbers in bytes:")?;
    t.line(&format!(
        "{:<7}{:>8} {:>9} {:>11} {:>11} {:>12}",
        "device", "logical", "physical", "minimum io", "optimal io", "largest io"
    ))?;
    for name in ["ram0", "joined", "fast", "top"] {
        let dev = t.dev(name)?;
        let Some(info) = t.lab().machine().device(dev) else { continue };
        let limits = info.limits;
        let largest = limits.max_sectors.to_bytes().unwrap_or_default();
        let row = [
            limits.logical_block_size.0,
            limits.physical_block_size.0,
            limits.io_min.0,
            limits.io_opt.0,
            largest.0,
        ];
        let [logical, physical, minimum, optimal, largest] = row;
        t.line(&format!("{name:<7}{logical:>8} {physical:>9} {minimum:>11} {optimal:>11} {largest:>12}"))?;
    }
    Ok(())
}

fn refused(t: &mut Teller) -> Result<(), Failure> {
    t.title("When the kernel says no");
    t.say("The kernel answers a bad table with an errno, mostly EINVAL, and with a line in its log that hardly anybody \
           reads. dmlab reads it:")?;
    t.create_refused("big", "0 1000000 linear /dev/ram7 0")?;
    t.create_refused("odd", "0 100 striped 3 8 /dev/ram5 0 /dev/ram6 0 /dev/ram7 0")?;
    t.create_refused("gone", "0 8 linear /dev/ram7 0\n8 8 linear /dev/rom7 0")
}

fn failing(t: &mut Teller) -> Result<(), Failure> {
    t.title("A disk that fails");
    t.say("The target `error` fails every IO. A stripe on it shows what a broken disk looks like:")?;
    t.create("broken", "0 16 error")?;
    t.create("hurt", "0 32 striped 2 8 /dev/ram7 0 /dev/mapper/broken 0")?;
    for start in [0, 8] {
        let read = t.lab().read("/dev/mapper/hurt", Sector(start), Sectors(8));
        t.line(&match read {
            Ok(_) => format!("sectors {start}+8 of hurt can be read"),
            Err(errno) => format!("sectors {start}+8 of hurt: {errno}"),
        })?;
    }
    t.lab().settle();
    t.status("hurt")?;
    let info = t.dm().info(&id("hurt")?, Query::default())?;
    t.say(&format!("D is for dead: that stripe had an error. It was also an event: the device's event number is {} now, and \
                    programs that wait for that (`dmlab wait`, `dmeventd`) wake up.", info.event_nr))
}

fn goodbye(t: &mut Teller) -> Result<(), Failure> {
    t.title("Taking it down");
    t.say("A device that another one stands on can't go:")?;
    t.remove("joined")?;
    t.say("From the top down it works:")?;
    for name in ["hurt", "broken", "top", "joined", "fast"] {
        t.remove(name)?;
    }
    t.command("ls")?;
    let left = t.dm().list()?;
    if left.is_empty() {
        t.line("No devices found")?;
    }
    for device in left {
        let info = t.dm().info(&DeviceId::Dev(device.dev), Query::default())?;
        t.line(&format!("{} ({})", String::from_utf8_lossy(&info.name), device.dev))?;
    }
    t.say("All the kernel logged about it, from first to last:")?;
    t.command("klog")?;
    for line in t.lab().machine().klog().since(0) {
        t.line(&line.to_string())?;
    }
    t.title("Now you");
    t.list(&[
        ("dmlab run -- sh", "a shell on a machine like this one: dmsetup, mkfs and the rest work in it"),
        ("dmlab boot lab", "a machine that stays; then dmlab --machine lab create …"),
        ("dmlab tour --chapter 10", "that chapter again"),
        ("dmlab --help", "everything else"),
    ])
}

#[cfg(test)]
mod tests;
