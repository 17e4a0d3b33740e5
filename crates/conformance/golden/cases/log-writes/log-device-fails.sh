# A log device that fails ends the logging, not the io.
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

dm create bad --table '0 2048 error'
dm create l --table '0 2048 log-writes /dev/ram0 /dev/mapper/bad'
dm message l 0 mark a
sleep 1
dm status l
put $M/l 4 0 1 w
dm message l 0 mark b
dm status l
get /dev/ram0 4 0 1
dm remove l
printf '0 1 linear /dev/ram1 0\n1 2047 error\n' | dmsetup load bad
dm resume bad
dm create l --table '0 2048 log-writes /dev/ram0 /dev/mapper/bad'
dm message l 0 mark a
sleep 1
dm status l
dm remove l
sec /dev/ram1 0 0 32
printf '0 1 error\n1 2047 linear /dev/ram1 1\n' | dmsetup load bad
dm resume bad
dm create l --table '0 2048 log-writes /dev/ram0 /dev/mapper/bad'
dm message l 0 mark x
sleep 1
dm message l 0 mark y
dm status l
dm remove l
sec /dev/ram1 1 0 48
sec /dev/ram1 2 0 48
