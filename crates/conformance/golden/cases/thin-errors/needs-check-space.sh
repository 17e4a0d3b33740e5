# Metadata that runs full inside a commit needs a check, and can't grow before it.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
dm create meta --table '0 256 linear /dev/ram0 0'
dm create pool --table '0 8192 thin-pool /dev/mapper/meta /dev/ram1 128 0'
n=0
while [ $n -lt 24 ]; do dmsetup message pool 0 "create_thin $n" || break; n=$((n + 1)); done
echo "made $n"
dm status pool
dm reload meta --table '0 8192 linear /dev/ram0 0'
dm suspend pool
dm resume meta
dm resume pool
dm status pool
dm remove pool
od -An -tx4 -j4 -N4 /dev/ram0
thin_check -q --clear-needs-check-flag /dev/mapper/meta; echo "clear rc=$?"
dm create pool --table '0 8192 thin-pool /dev/mapper/meta /dev/ram1 128 0'
dm status pool
dm message pool 0 'create_thin 100'
dm status pool
