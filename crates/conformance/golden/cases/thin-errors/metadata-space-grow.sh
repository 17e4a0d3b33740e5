# A pool that comes near the end of its metadata goes read-only without a mark, and works again after growing.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
put() { dd if=/dev/zero of=/dev/mapper/t bs=64k seek="$1" count=1 oflag=direct conv=notrunc,fsync 2>/dev/null; echo "put $1 rc=$?"; }
dm create meta --table '0 1024 linear /dev/ram0 0'
dm create pool --table '0 131072 thin-pool /dev/mapper/meta /dev/ram1 128 0'
n=0
while [ $n -lt 100 ]; do dmsetup message pool 0 "create_thin $n"; n=$((n + 1)); done
dm status pool
dm create t --table '0 8192 thin /dev/mapper/pool 0'
put 0
dm status pool
while [ $n -lt 112 ]; do dmsetup message pool 0 "create_thin $n" 2>/dev/null || break; n=$((n + 1)); done
echo "made $n"
dm status pool
put 1
dm status pool
put 0
put 2
dm message pool 0 'create_thin 1000'
dm load meta --table '0 8192 linear /dev/ram0 0'
dm suspend pool
dm resume meta
dm resume pool
dm status pool
put 2
dm message pool 0 'create_thin 1000'
dm status pool
dm status t
