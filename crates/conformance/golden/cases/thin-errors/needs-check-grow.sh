# Metadata that grows by less than the growth itself needs: it fails, needs a check, and grows after that.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
dm create meta --table '0 130560 linear /dev/ram0 0'
dm create pool --table '0 8192 thin-pool /dev/mapper/meta /dev/ram1 128 0'
dm status pool
dm reload meta --table '0 130568 linear /dev/ram0 0'
dm suspend pool
dm resume meta
dm resume pool
dm resume pool
dm status pool
dm remove pool
thin_check -q --clear-needs-check-flag /dev/mapper/meta; echo "clear rc=$?"
dm reload meta --table '0 200000 linear /dev/ram0 0'
dm resume meta
dm create pool --table '0 8192 thin-pool /dev/mapper/meta /dev/ram1 128 0'
dm status pool
