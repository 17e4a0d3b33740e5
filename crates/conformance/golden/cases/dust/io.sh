# Dust fails reads of bad blocks, and a write makes one good, after as many failures as were asked for.
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

put /dev/ram0 4 0 40 base
dm create d --table '0 512 dust /dev/ram0 0 4096'
get $M/d 4 0 8
dm message d 0 addbadblock 3; dm message d 0 addbadblock 5 2
get $M/d 4 0 8
dm message d 0 enable
get $M/d 4 0 8; get $M/d 4 2 1; get $M/d 4 3 1; get $M/d 4 4 1; get $M/d 8 1 1; get $M/d 32 0 1; get $M/d 32 1 1
put $M/d 4 3 1 new; get $M/d 4 3 1
for n in 1 2 3 4; do put $M/d 4 5 1 again; done; get $M/d 4 5 1
dm message d 0 listbadblocks
dm message d 0 addbadblock 10; dm message d 0 addbadblock 12 1
put $M/d 32 1 1 wide; get $M/d 32 1 1; dm message d 0 listbadblocks
put $M/d 32 1 1 wide; get $M/d 32 1 1; dm message d 0 listbadblocks
dm message d 0 addbadblock 20; dm message d 0 quiet; put $M/d 4 20 1 still; dm message d 0 listbadblocks; get $M/d 4 20 1
dm message d 0 addbadblock 21; dm message d 0 disable; get $M/d 4 21 1; put $M/d 4 21 1 off; dm message d 0 listbadblocks
get /dev/ram0 4 0 24
