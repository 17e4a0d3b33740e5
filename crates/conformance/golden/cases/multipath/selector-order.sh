# Which path comes next, and after paths have failed and come back.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
M=/dev/mapper
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
pat() { # SECTORS SEED: numbered 64-byte lines, 8 to a sector
  awk -v n="$1" -v s="$2" 'BEGIN { for (i = 0; i < n * 8; i++) printf "%-5s%058d\n", s, i }'; }
put() { # DEV BS SEEK COUNT SEED: direct writes of BS KiB each, at SEEK*BS KiB
  pat $(($2 * $4 * 2)) "$5" | dd of="$1" bs="$2"k seek="$3" count="$4" iflag=fullblock oflag=direct conv=notrunc 2>/dev/null
  rc=$?; echo "put ${1##*/} $2k@$3+$4 $5 rc=$rc"; }
get() { # DEV BS SKIP COUNT: direct reads of BS KiB each, at SKIP*BS KiB
  : >buf; dd if="$1" bs="$2"k skip="$3" count="$4" iflag=direct of=buf 2>/dev/null; rc=$?
  n=$(($(wc -c <buf))) s=$(sha256sum <buf)
  s=${s%"${s#????????????????}"}; if [ $n -eq 0 ]; then s=-; elif cmp -s -n $n buf /dev/zero; then s=zeros; fi
  echo "get ${1##*/} $2k@$3+$4 rc=$rc bytes=$n $s"; }

count() { # reads of each path so far
  for i in 0 1 2 3; do set -- $(cat /sys/block/dm-$i/stat); printf '%s ' "$1"; done; echo; }
for i in 0 1 2 3; do dm create p$i --table "0 2048 linear /dev/ram$i 0"; done
for s in round-robin queue-length service-time; do
  dm create m --table "0 2048 multipath 2 queue_mode bio 0 1 1 $s 0 4 1 /dev/mapper/p0 1 /dev/mapper/p1 1 /dev/mapper/p2 1 /dev/mapper/p3 1"
  count
  for k in '' fail_path\ /dev/mapper/p0 fail_path\ /dev/mapper/p3 reinstate_path\ /dev/mapper/p0 reinstate_path\ /dev/mapper/p3; do
    [ -z "$k" ] || dm message m 0 $k
    for j in 1 2 3 4 5; do get $M/m 4 0 1 >/dev/null; count; done
  done
  dm status m
  dm remove m
done
dm create m --table '0 2048 multipath 2 queue_mode bio 0 1 1 service-time 0 4 2 /dev/mapper/p0 1 1 /dev/mapper/p1 1 50 /dev/mapper/p2 1 50 /dev/mapper/p3 1 0'
dm suspend p1
for i in 1 2; do get $M/m 4 0 1 >/dev/null & sleep 1; done
dm status m
count
for i in 1 2; do get $M/m 4 0 1 >/dev/null; count; done
dm resume p1
sleep 1
dm status m
