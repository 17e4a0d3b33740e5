# Wrong delay arguments, in the order of the checks.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }

for a in '' '/dev/ram0 0' '/dev/ram0 x 10' '/dev/ram0 0 x' '/dev/ram0 0 -1' '/dev/nope 0 10' '/dev/nope x y' '/dev/nope 0 y' '/dev/ram0 0 10 /dev/ram1' \
  '/dev/ram0 0 10 /dev/ram1 x 10' '/dev/ram0 0 10 /dev/ram1 0 x' '/dev/ram0 0 10 /dev/nope 0 10' '/dev/ram0 0 1 /dev/ram1 0 2 /dev/ram2 x 3' \
  '/dev/ram0 0 1 /dev/ram1 0 2 /dev/ram2 0 x' '/dev/ram0 0 1 /dev/ram1 0 2 /dev/nope 0 3' '/dev/ram0 0 1 /dev/ram1 0 2 /dev/ram2 0 3 4' \
  '/dev/ram0 0 4294967296' '/dev/ram0 18446744073709551616 5' '/dev/ram0 524287 5'; do
  dm create d --table "0 64 delay $a" && { dm table d; dm status d; dmsetup remove d; }; done
