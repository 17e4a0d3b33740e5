# Flushes: one that fails on a leg is as a write that fails, also of a mirror without a log; how often the log on disk is written.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
M=/dev/mapper
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
st() { sleep 1; echo "$(dmsetup status m | maj) events $(dmsetup info -c --noheadings -o events m)"; }
flush() { dd if=/dev/null of=$M/m conv=notrunc,fsync 2>/dev/null; echo "flush rc=$?"; }
written() { # how often the log was written: each time 8 sectors, and one for the entry of the log of writes
  echo "log: $(dmsetup status log | cut -d ' ' -f 4)"; }
swap() { dmsetup suspend --noflush "$1"; dmsetup load "$1" --table "$2"; dmsetup resume "$1"; }

# A leg with a cache that fails flushes and writes while it is down, and nothing before.
dm create cached --table '0 2048 log-writes /dev/ram1 /dev/ram2'
for features in '' '1 handle_errors' '2 handle_errors keep_log'; do
  dmsetup create leg --table '0 2048 linear /dev/mapper/cached 0'
  dm create m --table "0 2048 mirror core 2 512 nosync 2 /dev/ram0 0 /dev/mapper/leg 0 $features"
  flush; st
  swap leg '0 2048 flakey /dev/mapper/cached 0 0 100 1 error_writes'
  flush >later & st
  dm suspend m; wait; cat later; dm resume m; st
  dm remove m; dmsetup remove leg
done
dm remove cached

dm create log --table '0 64 log-writes /dev/ram3 /dev/ram4'
dm create bad --table '0 2048 linear /dev/ram1 0'
dm create m --table '0 2048 mirror disk 2 /dev/mapper/log 512 2 /dev/ram0 0 /dev/mapper/bad 0'
st; written
dm suspend m; dm resume m; st; written
dd if=/dev/zero of=$M/m bs=4096 count=1 oflag=direct 2>/dev/null; st; written
swap bad '0 2048 error'
dd if=/dev/zero of=$M/m bs=4096 count=1 seek=64 oflag=direct 2>/dev/null; st; written
