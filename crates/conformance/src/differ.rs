//! Random scripts, to run on a machine of ours and on a real Linux and to compare what they print and what the kernels log.
//!
//! A script is a recorded case made by chance: it carries the same shell functions, so what differs becomes a case as
//! it is. It follows from its seed alone. Scripts are made so that most of what they do works, and the rest fails in
//! many ways.

mod generate;
mod tables;

use std::fmt;

pub use generate::generate;

/// The shell functions of recorded cases (`golden/cases`).
const PROLOGUE: &str = r#"export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
M=/dev/mapper
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
pat() { # SECTORS SEED: numbered 64-byte lines, 8 to a sector
  awk -v n="$1" -v s="$2" 'BEGIN { for (i = 0; i < n * 8; i++) printf "%-5s%058d\n", s, i }'; }
put() { # DEV BS SEEK COUNT SEED: direct writes of BS KiB each, at SEEK*BS KiB
  pat $(($2 * $4 * 2)) "$5" | dd of="$1" bs="$2"k seek="$3" count="$4" iflag=fullblock oflag=direct conv=notrunc,nocreat 2>/dev/null
  rc=$?; echo "put ${1##*/} $2k@$3+$4 $5 rc=$rc"; }
get() { # DEV BS SKIP COUNT: direct reads of BS KiB each, at SKIP*BS KiB
  : >buf; dd if="$1" bs="$2"k skip="$3" count="$4" iflag=direct of=buf 2>/dev/null; rc=$?
  n=$(($(wc -c <buf))) s=$(sha256sum <buf)
  s=${s%"${s#????????????????}"}; if [ $n -eq 0 ]; then s=-; elif cmp -s -n $n buf /dev/zero; then s=zeros; fi
  echo "get ${1##*/} $2k@$3+$4 rc=$rc bytes=$n $s"; }
disc() { # DEV OFFSET_KIB LENGTH_KIB: discard
  blkdiscard -o $(($2 * 1024)) -l $(($3 * 1024)) "$1" >/dev/null 2>&1
  rc=$?; echo "disc ${1##*/} $2k+$3k rc=$rc"; }
limits() { # DEV: what its queue says of itself
  minor=$(dmsetup info -c --noheadings -o minor "$1" 2>/dev/null) || return
  for f in logical_block_size physical_block_size minimum_io_size optimal_io_size max_sectors_kb discard_granularity discard_max_bytes max_segments write_cache rotational dax; do
    printf '%s=%s ' $f "$(cat "/sys/block/dm-$minor/queue/$f" 2>/dev/null)"; done; echo "ro=$(cat "/sys/block/dm-$minor/ro")"; }
calm() { # COMMAND: does it, unless a device is suspended, on which it would wait
  case $(dmsetup info -c --noheadings -o suspended 2>/dev/null) in *Suspended*) echo "suspended: $*" ;; *) "$@" ;; esac; }
live() { # NAME COMMAND: does it if the device has a table: to one without, point releases of Linux answer differently
  case $(dmsetup info -c --noheadings -o tables_loaded "$1" 2>/dev/null) in *Live*) shift; "$@" ;; *) echo "no table: $*" ;; esac; }
synced() { # NAME: waits until a mirror says that all its regions are
  n=0; while [ $n -lt 100 ]; do
    case $(dmsetup status "$1" 2>/dev/null) in *" mirror "*) ;; *) return ;; esac
    dmsetup status "$1" | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^[0-9]+\/[0-9]+$/) { split($i, a, "/"); exit a[1] != a[2] } }' && return
    n=$((n + 1)); sleep 0.05; done; }
"#;

/// A random script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// What it follows from.
    pub seed: u64,
    /// One after the other; any of them can be left out.
    pub steps: Vec<String>,
}

impl Script {
    /// The script without the steps from `from` to `to`.
    pub fn without(&self, from: usize, to: usize) -> Script {
        let kept = self.steps.iter().enumerate().filter(|(at, _)| !(from..to).contains(at));
        Script { seed: self.seed, steps: kept.map(|(_, step)| step.clone()).collect() }
    }

    /// Shorter scripts to try in its place, the shortest first: without a half, a quarter and so on down to a single step.
    pub fn shorter(&self) -> Vec<Script> {
        let len = self.steps.len();
        let mut tried = Vec::new();
        let mut size = len.div_ceil(2);
        while size > 0 {
            tried.extend((0..len).step_by(size).map(|from| self.without(from, (from + size).min(len))));
            size /= 2;
        }
        tried.retain(|script| !script.steps.is_empty() && script.steps.len() < len);
        tried
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Random steps (seed {}).", self.seed)?;
        writeln!(f, "{PROLOGUE}")?;
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_follows_from_its_seed() {
        for seed in 0..200 {
            let script = generate(seed);
            assert_eq!(script, generate(seed));
            assert!(script.steps.len() > 5, "{script}");
            assert!(script.steps.iter().all(|step| !step.contains('\n')), "{script}");
        }
        assert_ne!(generate(1).steps, generate(2).steps);
    }

    #[test]
    fn shorter_scripts_lack_something_and_have_the_rest_in_order() {
        let script = Script { seed: 1, steps: (0..9).map(|n| n.to_string()).collect() };
        let shorter = script.shorter();
        assert_eq!(shorter[0].steps, ["5", "6", "7", "8"]);
        assert_eq!(shorter.last().unwrap().steps, ["0", "1", "2", "3", "4", "5", "6", "7"]);
        for script in shorter {
            assert!(script.steps.len() < 9 && script.steps.is_sorted());
        }
    }
}
