# Wrong log-writes arguments and messages.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }

for a in '' '/dev/ram0' '/dev/nope /dev/ram1' '/dev/ram0 /dev/nope' '/dev/ram0 /dev/ram1 x y' '/dev/ram0 /dev/ram0'; do
  dm create l --table "0 64 log-writes $a" && { dm table l; dm status l; dmsetup remove l; }; done
dm create l --table '0 524296 log-writes /dev/ram0 /dev/ram1'
dm create l --table '0 2048 log-writes /dev/ram0 /dev/ram1'
dm message l 0 mark
dm message l 0 mark a b
dm message l 0 MARK a
dm message l 0 foo bar
dm deps l
