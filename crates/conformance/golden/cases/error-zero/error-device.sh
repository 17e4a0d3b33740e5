# The error target with a device: checked against it, limited like it, and as bad as ever.
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
disc() { # DEV OFFSET_KIB LENGTH_KIB: discard
  blkdiscard -o $(($2 * 1024)) -l $(($3 * 1024)) "$1" >/dev/null 2>&1
  rc=$?; echo "disc ${1##*/} $2k+$3k rc=$rc"; }

lims() { for f in logical_block_size physical_block_size minimum_io_size optimal_io_size chunk_sectors discard_granularity discard_max_bytes write_zeroes_max_bytes max_sectors_kb max_segments fua write_cache; do
  echo "$f $(cat /sys/block/dm-0/queue/$f)"; done; }
for a in '/dev/ram0 x' '/dev/nope x' '/dev/ram0 -1' '/dev/ram0 524280' '/dev/ram0 18446744073709551616' '/dev/ram0 +0'; do
  dm create e --table "0 64 error $a" && { dm table e; dm deps e; dmsetup remove e; }; done
for t in 'error' 'error /dev/ram0 8'; do
  dm create e --table "0 64 $t"
  lims
  get $M/e 4 0 1
  put $M/e 4 0 1 x
  disc $M/e 0 4
  blkdiscard -s -o 0 -l 4096 $M/e >/dev/null 2>&1; echo secure rc=$?
  blkdiscard -z -o 0 -l 4096 $M/e >/dev/null 2>&1; echo zero rc=$?
  dd if=/dev/zero of=$M/e bs=4k count=0 conv=notrunc,fsync 2>/dev/null; echo flush rc=$?
  dd if=/dev/zero of=$M/e bs=4k count=1 conv=notrunc,fsync 2>/dev/null; echo buffered rc=$?
  dm message e 0 hello
  dm remove e
done
printf '0 64 log-writes /dev/ram0 /dev/ram1\n64 64 error\n' >t; dm create e t
cat /sys/block/dm-0/queue/write_cache
dd if=/dev/zero of=$M/e bs=4k count=0 conv=notrunc,fsync 2>/dev/null; echo flush rc=$?
put $M/e 4 7 2 x
dm status e
