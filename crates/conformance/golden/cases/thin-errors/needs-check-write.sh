# A metadata device that fails writes: the pool goes read-only and needs a check, what was committed stays; a check that clears the flag ends it.
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
dm reload meta --table '0 8192 flakey /dev/ram0 0 0 100 1 error_writes'
dm suspend meta --noflush
dm resume meta
put /dev/mapper/thin 1
dm status pool
dm status thin
put /dev/mapper/thin 0
put /dev/mapper/thin 2
dm message pool 0 'create_thin 1'
dm reload meta --table '0 8192 linear /dev/ram0 0'
dm suspend meta --noflush
dm resume meta
dm remove thin
dm remove pool
od -An -tx4 -j4 -N4 /dev/ram0
thin_check -q /dev/mapper/meta; echo "thin_check rc=$?"
dm create pool --table '0 8192 thin-pool /dev/mapper/meta /dev/ram1 128 0'
dm status pool
dm create thin --table '0 8192 thin /dev/mapper/pool 0'
dm status thin
put /dev/mapper/thin 0
put /dev/mapper/thin 1
dm remove thin
dm remove pool
thin_check -q --clear-needs-check-flag /dev/mapper/meta; echo "clear rc=$?"
dm create pool --table '0 8192 thin-pool /dev/mapper/meta /dev/ram1 128 0'
dm create thin --table '0 8192 thin /dev/mapper/pool 0'
put /dev/mapper/thin 1
dm status pool
dm status thin
