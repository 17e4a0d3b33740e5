# A metadata device that fails all of a sudden: the pool fails, and stays so until it is made anew; nothing on it asks for a check.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
put() { dd if=/dev/zero of="$1" bs=64k seek="$2" count=1 oflag=direct conv=notrunc,fsync 2>/dev/null; echo "put $1 $2 rc=$?"; }
dm create meta --table '0 8192 linear /dev/ram0 0'
dm create pool --table '0 8192 thin-pool /dev/mapper/meta /dev/ram1 128 0'
dm message pool 0 'create_thin 0'
dm create thin --table '0 8192 thin /dev/mapper/pool 0'
put /dev/mapper/thin 0
dm reload meta --table '0 8192 error'
dm suspend meta --noflush
dm resume meta
put /dev/mapper/thin 1
dm status pool
dm status thin
dm table pool
dm table thin
put /dev/mapper/thin 0
dm message pool 0 'create_thin 1'
dm reload meta --table '0 8192 linear /dev/ram0 0'
dm suspend meta --noflush
dm resume meta
dm status pool
dm suspend pool
dm resume pool
dm status pool
dm remove thin
dm remove pool
od -An -tx4 -j4 -N4 /dev/ram0
dm create pool --table '0 8192 thin-pool /dev/mapper/meta /dev/ram1 128 0'
dm status pool
