# Legs that fail in one write are one event; where the first leg cannot be read, recovery writes even so, unless errors are handled.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
M=/dev/mapper
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
st() { sleep 1; echo "$(dmsetup status m | maj) events $(dmsetup info -c --noheadings -o events m)"; }
dm create e0 --table '0 2048 error'; dm create e1 --table '0 2048 error'
dm create m --table '0 2048 mirror core 2 512 nosync 3 /dev/ram0 0 /dev/mapper/e0 0 /dev/mapper/e1 0 2 handle_errors keep_log'
dd if=/dev/zero of=$M/m bs=4096 count=1 oflag=direct 2>/dev/null; echo "write rc=$?"; st
dm remove m
written() { awk '{ print "written to the second:", $7, "sectors" }' "/sys/block/$(dmsetup info -c --noheadings -o blkdevname second)/stat"; }
for features in '' '1 handle_errors'; do
  dm create second --table '0 2048 linear /dev/ram1 0'
  dm create m --table "0 2048 mirror core 1 512 2 /dev/mapper/e0 0 /dev/mapper/second 0 $features"; st; written
  dm remove m; dm remove second
done
