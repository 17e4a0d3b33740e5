# What is held shows in the status, class by class; a suspend sends it off.
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

dm create lw --table '0 2048 log-writes /dev/ram2 /dev/ram3'
dm create d --table "0 2048 delay $M/lw 0 20000 $M/lw 0 20000 $M/lw 0 20000"
( put $M/d 4 0 1 w ) >w &
( get $M/d 4 1 1 ) >r &
sleep 1
dm status d
dm suspend d
wait
cat w r
dm status d
( put $M/d 4 2 1 x ) >w &
sleep 1
dm resume d
wait
cat w
dm remove d
dm create d --table "0 2048 delay $M/lw 0 0 $M/lw 0 0 $M/lw 0 20000"
( dd if=/dev/zero of=$M/d bs=4k count=0 conv=notrunc,fsync 2>/dev/null; echo fsync rc=$? ) >f &
sleep 1
dm status d
dm suspend d
wait
cat f
