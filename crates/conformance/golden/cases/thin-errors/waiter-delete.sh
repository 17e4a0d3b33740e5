# A write that waits for space goes on when a delete and a commit free some.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
put() { dd if=/dev/zero of="$1" bs=64k seek="$2" count="$3" oflag=direct conv=notrunc,fsync 2>/dev/null; echo "put $1 $2+$3 rc=$?"; }
dm create meta --table '0 8192 linear /dev/ram0 0'
dm create data --table '0 1024 linear /dev/ram1 0'
dm create pool --table '0 1024 thin-pool /dev/mapper/meta /dev/mapper/data 128 0'
dm message pool 0 'create_thin 0'
dm message pool 0 'create_thin 1'
dm create a --table '0 8192 thin /dev/mapper/pool 0'
dm create b --table '0 8192 thin /dev/mapper/pool 1'
put /dev/mapper/a 0 4
put /dev/mapper/b 0 4
dm remove b
put /dev/mapper/a 10 1 >waited &
sleep 1
dm status pool
dm message pool 0 'delete 1'
wait
cat waited
dm status pool
dm status a
