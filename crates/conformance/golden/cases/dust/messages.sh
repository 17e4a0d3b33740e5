# Dust's messages: answers, refusals and what the log says of them.
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

m() { dm message d 0 "$@"; }
dm create d --table '0 1024 dust /dev/ram0 8 4096'
m listbadblocks; m clearbadblocks; m AddBadBlock 60; m addbadblock 60; m addbadblock 7 2; m countbadblocks; m listbadblocks
m queryblock 7; m queryblock 8; m removebadblock 8; m removebadblock 60; dm status d
m quiet; dm status d; m removebadblock 60; m addbadblock 61; m addbadblock 61; m quiet
m addbadblock 65537; m queryblock 65536; m queryblock 65535; m addbadblock 65536; m listbadblocks; m removebadblock 65536
m addbadblock 5 256; m addbadblock 5 255; m addbadblock 6 -1; m addbadblock x; m bogus x; m addbadblock 5 x; m addbadblock 65537 x; m addbadblock 65537 256
m addbadblock; m QueryBlock; m removebadblock; m bogus; m enable 5; m queryblock 5 1; m removebadblock 5 1; m a b c d; m addbadblock 1 2 3
m addbadblock 18446744073709551616; m addbadblock 18446744073709551617; m queryblock 1; m addbadblock 0; m listbadblocks
m enable; dm status d; m ENABLE; m disable; dm status d; m Disable; m clearbadblocks; m clearbadblocks; m countbadblocks; m listbadblocks
dm suspend d; m addbadblock 3; m listbadblocks; dm resume d; m queryblock 3
dm reload d --table '0 1024 dust /dev/ram0 8 4096'; dm resume d; m listbadblocks; dm status d
