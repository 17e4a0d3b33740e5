# The low water mark is told of once between two resumes of the pool.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
put() { dd if=/dev/zero of=/dev/mapper/t bs=64k seek="$1" count=1 oflag=direct conv=notrunc,fsync 2>/dev/null; echo "put $1 rc=$? $(dmsetup info -c --noheadings -o events pool) events"; }
dm create meta --table '0 8192 linear /dev/ram0 0'
dm create data --table '0 2048 linear /dev/ram1 0'
dm create pool --table '0 2048 thin-pool /dev/mapper/meta /dev/mapper/data 128 12'
dm message pool 0 'create_thin 0'
dm create t --table '0 8192 thin /dev/mapper/pool 0'
put 0; put 1; put 2; put 3; put 4; put 5; put 6
dm suspend pool
dm resume pool
put 7; put 8; put 9
