# A discard of whole blocks of 192 KiB: it is cut where a power of two would be, and the block across a cut stays.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
M=/dev/mapper
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
dm create pool --table '0 16384 thin-pool /dev/ram0 /dev/ram1 384 0'
dm message pool 0 'create_thin 0'
dm create t --table '0 15360 thin /dev/mapper/pool 0'
for from in 0 1 2 3 5; do
  dd if=/dev/zero of=$M/t bs=192k count=40 oflag=direct 2>/dev/null; dm status t
  blkdiscard -f -o $((from * 196608)) -l $((4 * 196608)) $M/t 2>/dev/null; echo "discard from block $from rc=$?"; dm status t
done
