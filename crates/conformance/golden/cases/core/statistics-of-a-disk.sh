# What the statistics of a mapped device count: flushes, discards, and IO that a target refuses, takes and fails, or drops.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
M=/dev/mapper
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
io() { # NAME: two reads, two writes of which one is large, a discard, a flush
  dd if=$M/$1 of=/dev/null bs=4096 count=1 iflag=direct; dd if=$M/$1 of=/dev/null bs=4096 count=1 skip=64 iflag=direct
  dd if=/dev/zero of=$M/$1 bs=4096 count=1 oflag=direct; dd if=/dev/zero of=$M/$1 bs=65536 count=1 seek=1 oflag=direct
  blkdiscard -f -o 131072 -l 65536 $M/$1; dd if=/dev/null of=$M/$1 conv=notrunc,fsync; }
show() { # NAME: reads, their sectors, writes, theirs, discards, theirs, flushes
  awk -v n="$1" '{ print n, $1, $3, $5, $7, $12, $14, $16 }' "/sys/block/$(dmsetup info -c --noheadings -o blkdevname "$1")/stat"; }

dm create cached --table '0 1024 log-writes /dev/ram0 /dev/ram1'
dm create linear --table '0 1024 linear /dev/mapper/cached 0'
dm create plain --table '0 1024 linear /dev/ram2 0'
dm create error --table '0 1024 error'
dm create above --table '0 1024 linear /dev/mapper/error 0'
dm create reads --table '0 1024 flakey /dev/ram3 0 0 100 1 error_reads'
dm create writes --table '0 1024 flakey /dev/ram4 0 0 100 1 error_writes'
dm create drops --table '0 1024 flakey /dev/ram5 0 0 100 1 drop_writes'
for d in linear plain above reads writes drops; do io $d 2>/dev/null; show $d; done
show error
