# What the service-time selector shows and chooses with 2 GiB and more on their way.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
G=1073741824
dmsetup create big --table '0 67108864 zero'
run() { # THROUGHPUTS SIZES: discards of these sizes, none of which ends before the last has begun
  for d in a b; do dmsetup create $d --table '0 67108864 delay /dev/mapper/big 0 0 /dev/mapper/big 0 60000'; done
  set -- $1 $2 $3
  dm create mp --table "0 67108864 multipath 2 queue_mode bio 0 1 1 service-time 0 2 2 $M/a 1 $1 $M/b 1 $2"
  shift 2; n=0
  for size in $*; do
    # Each through a device of its own: a discard has the device that it discards for itself.
    n=$((n + 1)); dmsetup create l$n --table "0 67108864 linear $M/mp 0"
    blkdiscard -f -o 0 -l $size $M/l$n 2>/dev/null &
    sleep 0.3; echo "$size: $(dmsetup status mp | maj)"
  done
  for d in a b; do dmsetup suspend $d; dmsetup resume $d; done
  wait; echo "ended: $(dmsetup status mp | maj)"
  while [ $n -gt 0 ]; do dmsetup remove l$n; n=$((n - 1)); done
  for d in mp a b; do dmsetup remove $d; done; }
M=/dev/mapper
run 1 1 "$((2 * G)) 4096 8192 $((2 * G - 4096)) 4096"
run 1 2 "$((2 * G)) $((2 * G)) $((2 * G)) $((2 * G))"
run 1 2 "$G $G $G $G"
run 1 100 "$((2 * G - 4096)) 8192 $G 4096 $((2 * G)) 4096"
