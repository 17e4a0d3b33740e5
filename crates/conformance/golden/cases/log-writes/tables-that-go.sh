# Every table that goes writes a last mark, also one that never ran or was refused.
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
sec() { # DEV SECTOR OFFSET LENGTH: bytes of one sector in hex
  dd if="$1" bs=512 skip="$2" count=1 iflag=direct 2>/dev/null | od -A n -t x1 -v | tr -d ' \n' |
    awk -v d="${1##*/}" -v s="$2" -v o="$3" -v l="$4" '{ print "sec " d " " s "+" o ": " substr($0, o * 2 + 1, l * 2) }'; }
walk() { # DEV: superblock and entries of a log
  sec $1 0 0 32
  n=$(dd if=$1 bs=512 count=1 iflag=direct 2>/dev/null | od -A n -t u4 -j 16 -N 4 | tr -d ' ') d=$1 s=1
  while [ "$n" -gt 0 ]; do
    set -- $(dd if=$d bs=512 skip=$s count=1 iflag=direct 2>/dev/null | od -A n -t u4 -v -N 32)
    echo "entry at $s: sector=$1 nr=$3 flags=$5 len=$7"
    n=$((n - 1)); s=$((s + 1))
    [ $(($5 & 4)) -ne 0 ] || s=$((s + $3))
  done; }

dm create l --notable
dm load l --table '0 2048 log-writes /dev/ram0 /dev/ram1'
walk /dev/ram1
dm clear l
walk /dev/ram1
printf '0 2048 log-writes /dev/ram0 /dev/ram2\n2048 8 linear /dev/nope 0\n' | dmsetup load l 2>/dev/null; echo rc=$?
walk /dev/ram2
dm load l --table '0 2048 log-writes /dev/ram0 /dev/ram3'
dm load l --table '0 2048 log-writes /dev/ram0 /dev/ram4'
walk /dev/ram3
dm resume l
put $M/l 4 0 2 x
dm load l --table '0 2048 log-writes /dev/ram0 /dev/ram5'
dm suspend l
walk /dev/ram4
dm resume l
walk /dev/ram4
put $M/l 4 0 1 y
dm status l
dm remove l
walk /dev/ram5
