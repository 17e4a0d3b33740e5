//! Which programs the preload library can stand in front of, judged by their files.

/// What a program's file says.
#[allow(clippy::large_enum_variant, reason = "the preload library asks for no memory")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it lives on the stack, where the library may not allocate")]
pub enum Program {
    /// The library can stand in front of it, or it is nothing that this function knows.
    Served,
    /// A script: its interpreter is started, whose path has so many bytes of the array.
    Script([u8; Program::INTERPRETER_LEN], usize),
    /// It cannot, for this reason.
    Unserved(Unserved),
}

impl Program {
    /// Bytes of the longest interpreter's path that is looked at, as on Linux.
    pub const INTERPRETER_LEN: usize = 256;
}

/// Why the preload library cannot stand in front of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unserved {
    /// No C library is loaded into it.
    Static,
    /// Go calls the kernel itself, even where a C library is loaded.
    Go,
    /// Its loader is not glibc's.
    OtherLibrary,
    /// It is for another kind of processor, or for 32 bits.
    OtherMachine,
    /// The kernel drops preloaded libraries as it changes the user.
    Setuid,
    /// Behind another root, the loader does not find the library.
    OutOfReach,
}

impl Unserved {
    /// The reason, as the words that follow the program's name.
    pub const fn reason(self) -> &'static str {
        match self {
            Unserved::Static => "is statically linked",
            Unserved::Go => "is a Go program, which calls the kernel past the C library",
            Unserved::OtherLibrary => "is built for another C library than glibc",
            Unserved::OtherMachine => "is not a 64-bit program of this machine's kind",
            Unserved::Setuid => "is setuid, so the kernel drops preloaded libraries",
            Unserved::OutOfReach => {
                "is started behind a root directory that lacks the machine's own directory"
            }
        }
    }

    /// What follows the reason: what would happen, and how to have it.
    pub const CONSEQUENCE: &'static str =
        "it would see the host's devices, not the simulated ones; `--allow-host` lets such programs run";
}

#[cfg(target_arch = "x86_64")]
const MACHINE: u64 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u64 = 183;

const PT_INTERP: u64 = 3;
const PT_NOTE: u64 = 4;
/// How much of a table of section names is looked at.
const MAX_NAMES: u64 = 1 << 20;

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
}

/// Reads exactly as many bytes, or says no.
fn read<const N: usize>(read_at: &mut impl FnMut(u64, &mut [u8]) -> usize, at: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (read_at(at, &mut bytes) == N).then_some(bytes)
}

/// Judges a program's file. `read_at` reads from an offset of it, and says how much it got.
pub fn judge(mut read_at: impl FnMut(u64, &mut [u8]) -> usize) -> Program {
    let mut head = [0; 2 + Program::INTERPRETER_LEN];
    let len = read_at(0, &mut head);
    let head = &head[..len.min(head.len())];
    if let Some(line) = head.strip_prefix(b"#!") {
        return script(line);
    }
    if !head.starts_with(b"\x7fELF") || head.len() < 64 {
        return Program::Served;
    }
    if head[4] != 2 || head[5] != 1 || number(&head[18..20]) != MACHINE {
        return Program::Unserved(Unserved::OtherMachine);
    }
    match elf(head, &mut read_at) {
        Some(why) => Program::Unserved(why),
        None => Program::Served,
    }
}

fn script(line: &[u8]) -> Program {
    let line = line.split(|&b| b == b'\n').next().unwrap_or_default().trim_ascii();
    let path = line.split(|&b| b == b' ' || b == b'\t').next().unwrap_or_default();
    if path.is_empty() || path.len() >= Program::INTERPRETER_LEN {
        return Program::Served;
    }
    let mut copy = [0; Program::INTERPRETER_LEN];
    copy[..path.len()].copy_from_slice(path);
    Program::Script(copy, path.len())
}

fn elf(head: &[u8], read_at: &mut impl FnMut(u64, &mut [u8]) -> usize) -> Option<Unserved> {
    let (start, size, count) = (number(&head[32..40]), number(&head[54..56]), number(&head[56..58]));
    let mut loader = None;
    for i in 0..count {
        let Some(segment) = read::<56>(read_at, start.saturating_add(i * size)) else { break };
        let (offset, len) = (number(&segment[8..16]), number(&segment[32..40]));
        match number(&segment[..4]) {
            PT_INTERP => loader = Some((offset, len)),
            PT_NOTE if is_gos_note(read_at, offset) => return Some(Unserved::Go),
            _ => {}
        }
    }
    if has_gos_section(head, read_at) {
        return Some(Unserved::Go);
    }
    let Some((offset, len)) = loader else { return Some(Unserved::Static) };
    let mut path = [0; Program::INTERPRETER_LEN];
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(path.len());
    let got = read_at(offset, &mut path[..len]).min(len);
    let path = path[..got].split(|&b| b == 0).next().unwrap_or_default();
    let name = path.rsplit(|&b| b == b'/').next().unwrap_or_default();
    (!name.starts_with(b"ld-linux")).then_some(Unserved::OtherLibrary)
}

/// Whether a note is the one that Go's linker leaves: four bytes of name, `Go`.
fn is_gos_note(read_at: &mut impl FnMut(u64, &mut [u8]) -> usize, at: u64) -> bool {
    read::<16>(read_at, at).is_some_and(|note| number(&note[..4]) == 4 && &note[12..16] == b"Go\0\0")
}

/// Whether a section has one of the names that only Go's linker gives.
fn has_gos_section(head: &[u8], read_at: &mut impl FnMut(u64, &mut [u8]) -> usize) -> bool {
    let (start, size, names) = (number(&head[40..48]), number(&head[58..60]), number(&head[62..64]));
    if start == 0 {
        return false;
    }
    let Some(section) = read::<64>(read_at, start.saturating_add(names * size)) else { return false };
    let (mut at, len) = (number(&section[24..32]), number(&section[32..40]).min(MAX_NAMES));
    let end = at.saturating_add(len);
    const NAMES: [&[u8]; 2] = [b"\0.go.buildinfo\0", b"\0.note.go.buildid\0"];
    /// One less than the longest of them: what a name may have in the piece before.
    const OVERLAP: usize = 18;
    let mut piece = [0; 1024];
    while at < end {
        let room = usize::try_from(end - at).unwrap_or(usize::MAX).min(piece.len());
        let got = read_at(at, &mut piece[..room]).min(room);
        let found = |name: &&[u8]| piece[..got].windows(name.len()).any(|window| window == *name);
        if NAMES.iter().any(found) {
            return true;
        }
        if got <= OVERLAP {
            return false;
        }
        at += (got - OVERLAP) as u64;
        if at + OVERLAP as u64 >= end {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(bytes: &[u8]) -> Program {
        judge(|at, into| {
            let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
            let n = rest.len().min(into.len());
            into[..n].copy_from_slice(&rest[..n]);
            n
        })
    }

    /// A program with these segments (type, what it holds) and section names.
    fn program(segments: &[(u32, &[u8])], names: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18..20].copy_from_slice(&(MACHINE as u16).to_le_bytes());
        bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&(segments.len() as u16).to_le_bytes());
        let mut at = 64 + 56 * segments.len() as u64;
        for (kind, held) in segments {
            let mut segment = [0; 56];
            segment[..4].copy_from_slice(&kind.to_le_bytes());
            segment[8..16].copy_from_slice(&at.to_le_bytes());
            segment[32..40].copy_from_slice(&(held.len() as u64).to_le_bytes());
            bytes.extend_from_slice(&segment);
            at += held.len() as u64;
        }
        for (_, held) in segments {
            bytes.extend_from_slice(held);
        }
        if !names.is_empty() {
            let mut section = [0; 64];
            section[24..32].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
            section[32..40].copy_from_slice(&(names.len() as u64).to_le_bytes());
            bytes.extend_from_slice(names);
            let start = bytes.len() as u64;
            bytes[40..48].copy_from_slice(&start.to_le_bytes());
            bytes[58..60].copy_from_slice(&64u16.to_le_bytes());
            bytes[60..62].copy_from_slice(&1u16.to_le_bytes());
            bytes.extend_from_slice(&section);
        }
        bytes
    }

    const GLIBC: (u32, &[u8]) = (3, b"/lib64/ld-linux-x86-64.so.2\0");

    #[test]
    fn programs_are_told_apart() {
        assert_eq!(judged(&program(&[(1, b""), GLIBC], b"\0.text\0")), Program::Served);
        assert_eq!(judged(&program(&[(1, b"")], b"")), Program::Unserved(Unserved::Static));
        let musl: (u32, &[u8]) = (3, b"/lib/ld-musl-x86_64.so.1\0");
        assert_eq!(judged(&program(&[musl], b"")), Program::Unserved(Unserved::OtherLibrary));
        let note: (u32, &[u8]) = (4, b"\x04\0\0\0\x02\0\0\0\x04\0\0\0Go\0\0id");
        assert_eq!(judged(&program(&[note, GLIBC], b"")), Program::Unserved(Unserved::Go));
        let gnu: (u32, &[u8]) = (4, b"\x04\0\0\0\x02\0\0\0\x03\0\0\0GNU\0id");
        assert_eq!(judged(&program(&[gnu, GLIBC], b"")), Program::Served);
        let mut other = program(&[GLIBC], b"");
        other[4] = 1;
        assert_eq!(judged(&other), Program::Unserved(Unserved::OtherMachine));
    }

    #[test]
    fn a_section_name_is_found_wherever_it_lies() {
        for before in [0, 1, 990, 1005, 1006, 1007, 1008, 1010, 1023, 1024, 2040, 5000] {
            for name in [&b"\0.go.buildinfo\0"[..], b"\0.note.go.buildid\0"] {
                let names = [vec![b'x'; before], name.to_vec(), vec![b'y'; 100]].concat();
                let program = program(&[GLIBC], &names);
                assert_eq!(judged(&program), Program::Unserved(Unserved::Go), "{before} bytes before it");
            }
            let names = [vec![b'x'; before], b"\0.go.buildinf0\0".to_vec()].concat();
            assert_eq!(judged(&program(&[GLIBC], &names)), Program::Served);
        }
    }

    #[test]
    fn a_script_names_its_interpreter() {
        let Program::Script(path, len) = judged(b"#! /bin/sh -e\nexit\n") else { panic!("no script") };
        assert_eq!(&path[..len], b"/bin/sh");
        assert_eq!(judged(b"#!\n"), Program::Served);
        assert_eq!(judged(b"echo\n"), Program::Served);
        assert_eq!(judged(b""), Program::Served);
    }

    #[test]
    fn damage_is_no_program_of_ours() {
        let whole = program(&[(1, b""), GLIBC], b"\0.note.go.buildid\0");
        for len in 0..whole.len() {
            let _ = judged(&whole[..len]);
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] = 0xff;
            let _ = judged(&damaged);
        }
    }
}
