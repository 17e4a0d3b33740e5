# A flush that goes through a target counts once in the statistics of its device, as a write of no sectors.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
M=/dev/mapper
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
show() { # NAME: reads, their sectors, writes, theirs, flushes
  awk -v n="$1" '{ print n, $1, $3, $5, $7, $16 }' "/sys/block/$(dmsetup info -c --noheadings -o blkdevname "$1")/stat"; }

dm create cached --table '0 1024 log-writes /dev/ram0 /dev/ram1'
dm create delayed --table '0 1024 delay /dev/mapper/cached 0 0'
dm create legs --table '0 1024 mirror core 2 512 nosync 2 /dev/mapper/cached 0 /dev/ram2 0'
for d in cached delayed legs; do dd if=/dev/null of=$M/$d conv=notrunc,fsync 2>/dev/null; show $d; done
show cached
