# A metadata device that fails altogether, before there is a pool and after.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
dm create meta --table '0 8192 error'
dm create pool --table '0 8192 thin-pool /dev/mapper/meta /dev/ram1 128 0'
dm load meta --table '0 8192 linear /dev/ram0 0'
dm resume meta
dm create pool --table '0 8192 thin-pool /dev/mapper/meta /dev/ram1 128 0'
dm remove pool
dm load meta --table '0 8192 error'
dm resume meta
dm create pool --table '0 8192 thin-pool /dev/mapper/meta /dev/ram1 128 0'
