# Which flags the bios of each kind of io carry.
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

for bit in 11 12 15 17 18 19; do
  dm create f --table "0 2048 flakey /dev/ram0 0 0 1 5 corrupt_bio_byte 1 w 90 $((1 << bit))"
  put $M/f 4 0 1 dir
  pat 8 buf | dd of=$M/f bs=4k seek=1 count=1 iflag=fullblock conv=notrunc,fsync 2>/dev/null
  sec /dev/ram0 0 0 4
  sec /dev/ram0 8 0 4
  dm remove f
  dm create f --table "0 2048 flakey /dev/ram0 0 0 1 5 corrupt_bio_byte 1 r 89 $((1 << bit))"
  sec $M/f 0 0 4
  echo "buffered $(dd if=$M/f bs=4k count=1 2>/dev/null | od -A n -t x1 -N 4)"
  dm remove f
done
for mask in 0 1 2 8; do
  dm create f --table "0 2048 flakey /dev/ram0 0 0 1 5 corrupt_bio_byte 2 r 88 $mask"
  sec $M/f 0 0 4
  dm remove f
done
