# Dust's table lines: those that are refused, in which order, and odd ones that are taken.
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

for a in '' '0' '0 512 1' 'x 512' '0 x' '0 0' '0 -1' '0 256' '0 511' '0 513' '0 1536' '0 4096' '0 65536' '0 131072' '0 2147483648' '0 4294967296' '0 4294967808' \
  '0 +512' '0 0512' '0 512x' '18446744073709551615 512' '18446744073709551616 512' '524200 512' '524160 512' 'x 100' 'x x'; do
  dm create d --table "0 128 dust /dev/ram0 $a" && { dm table d; dm status d; dmsetup remove d; }; done
dm create d --table '0 128 dust /dev/nope 0 512'
dm create d --table '0 128 dust /dev/nope x 100'
dm create d --table '0 128 dust 77:7 0 512'
dm create d --table '0 128 dust 1:0 0 65536' && { dm table d; dmsetup remove d; }
dm create d --table '0 127 dust 1:0 0 65536'
dm create d --table '0 100 dust 1:0 3 4096' && { dm table d; dm deps d; dmsetup remove d; }
