# The default mode: paths must have request queues, and what may follow such a table.
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

for i in 0 1; do : >f$i; dd if=/dev/zero of=f$i bs=1M seek=8 count=0 2>/dev/null; losetup /dev/loop$i f$i; done
T='0 2048 multipath 0 0 1 1 round-robin 0 2 1 /dev/loop0 1 /dev/loop1 1'
B='0 2048 multipath 2 queue_mode bio 0 1 1 round-robin 0 2 1 /dev/loop0 1 /dev/loop1 1'
dm create x --table '0 2048 multipath 0 0 1 1 round-robin 0 2 1 /dev/loop0 1 /dev/ram1 1'
dm create x --table '0 2048 multipath 0 1 alua 1 1 round-robin 0 1 1 /dev/loop0 1'
dm create m --table "$T"
dm table m
dm status m
put $M/m 4 0 2 rq
get /dev/loop0 4 0 2
get /dev/loop1 4 0 2
dm reload m --table "$B"
dm reload m --table '0 2048 linear /dev/loop0 0'
dm reload m --table '0 2048 error /dev/loop0 0'
printf '0 8 error\n8 8 error\n' >two; dm reload m two
dm reload m --table '0 2048 error'
dm resume m
get $M/m 4 0 1
dm reload m --table '0 2048 linear /dev/loop0 0'
dm reload m --table '0 2048 multipath 2 queue_mode mq 0 0 0'
dm resume m
dm table m
dm status m
get $M/m 4 0 1
dm status m
dm reload m --table "$T"
dm resume m
dm create y --table '0 2048 multipath 0 0 1 1 round-robin 0 1 1 /dev/mapper/m 1'
get $M/y 4 0 1
dm create b --table "$B"
dm reload b --table "$T"
dm reload b --table '0 2048 zero'
dm reload b --table '0 2048 error'
dm resume b
dm reload b --table "$T"
dm reload b --table '0 2048 zero'
dm create l --table '0 2048 linear /dev/mapper/y 0'
dm create z --table '0 2048 multipath 0 0 1 1 round-robin 0 1 1 /dev/mapper/l 1'
