# A delay on a flaky device on a log of writes on stripes.
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

dm create str --table '0 2048 striped 2 8 /dev/ram0 0 /dev/ram1 0'
dm create l --table '0 2048 log-writes /dev/mapper/str /dev/ram2'
dm create f --table '0 1024 flakey /dev/mapper/l 512 0 1 5 corrupt_bio_byte 2 w 88 0'
dm create d --table '0 1024 delay /dev/mapper/f 0 0 /dev/mapper/f 0 40'
put $M/d 16 1 1 deep
get $M/d 16 1 1
sec $M/d 32 0 8
sec $M/l 544 0 8
dm status d
dm remove d
dm remove f
dm remove l
walk /dev/ram2
dm table str
