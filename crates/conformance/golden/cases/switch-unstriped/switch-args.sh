# Switch arguments at their limits.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }

for a in '' 'x 8 0' '0 8 0' '262141 8 0' '262142 8 0' '2 x 0' '2 4294967296 0 /dev/ram0 0 /dev/ram1 0' '2 8 x' '2 8 0 /dev/ram0 0 /dev/ram1 0 1' '2 8 0 /dev/ram0 18446744073709551616 /dev/ram1 0' \
  '2 8 0 /dev/ram0 +8 /dev/ram1 0' '1 7 0 /dev/ram0 0' '2 4294967295 0 /dev/ram0 0 /dev/ram1 0' '2 8 0 /dev/nope x /dev/ram1 0' '2 8 0 /dev/ram0 524280 /dev/ram1 0'; do
  dm create s --table "0 64 switch $a" && { dm table s; dm status s; dmsetup remove s; }; done
