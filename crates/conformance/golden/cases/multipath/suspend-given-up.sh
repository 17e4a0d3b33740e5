# A suspend that is given up, with IO in flight: queueing is off until the next one, which does not take that for what is to be kept.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
M=/dev/mapper
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
give_up() { # a suspend that is killed while it waits
  dmsetup suspend m & s=$!
  sleep 1; kill $s; wait $s 2>/dev/null; echo "given up rc=$?"; }
dm create slow --table '0 2048 delay /dev/ram0 0 0 /dev/ram0 0 6000'
dm create m --table '0 2048 multipath 3 queue_if_no_path queue_mode bio 0 1 1 round-robin 0 1 1 /dev/mapper/slow 1'
dd if=/dev/zero of=$M/slow bs=4096 count=1 oflag=direct 2>/dev/null &
dd if=/dev/zero of=$M/m bs=4096 count=1 oflag=direct 2>/dev/null; echo "write rc=$?"
dd if=/dev/zero of=$M/m bs=4096 count=1 oflag=direct 2>/dev/null &
sleep 0.5
give_up
dm info -c --noheadings -o attr m; dm table m
give_up
dm table m
wait
dm suspend m; dm table m
dm resume m; dm table m
