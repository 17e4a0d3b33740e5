# What the disk log holds: while a write is under way, after a crash, grown, shrunk, forced, of an unknown version.
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
leg() { # NAME RAM: 8 MiB of ram0, ram1, ram2 or ram3 as a linear device, new or in place of what NAME was
  swap "$1" "0 16384 linear /dev/ram$2 0"; }
bad() { swap "$1" '0 16384 error'; } # NAME: fails everything from here on
swap() { # NAME TABLE
  dmsetup info "$1" >/dev/null 2>&1 || dmsetup create "$1" --notable
  dmsetup suspend --noflush "$1"; dmsetup load "$1" --table "$2"; dmsetup resume "$1"; }
st() { # how the mirror stands, a little later
  sleep 1; echo "$(dmsetup status m | maj) events $(dmsetup info -c --noheadings -o events m)"; }
later() { "$@" >>later.log & } # a write that may be held: answered shows it
answered() { wait; [ -f later.log ] && sort later.log; rm -f later.log; }
gone() { dmsetup remove m; for d in "$@"; do dmsetup remove "$d"; done; }

bits() { sec /dev/ram3 0 0 24; sec /dev/ram3 2 0 16; }
mirror() { dm create m --table "0 $1 mirror disk $2 /dev/mapper/l 1024 $3 2 /dev/mapper/a 0 /dev/mapper/b 0"; st; bits; }
pat 8 old | dd of=/dev/ram3 bs=4k oflag=direct conv=notrunc 2>/dev/null
leg a 0; leg b 1; leg l 3
mirror 16384 3 nosync
put $M/m 4 200 1 one; sleep 1; bits
echo '== two writes under way'
dmsetup suspend --noflush b
later put $M/m 4 200 1 two; later put $M/m 4 500 1 three; sleep 1; bits
dd if=/dev/ram3 of=log bs=4k count=1 iflag=direct 2>/dev/null
dmsetup resume b; answered; sleep 1; bits
echo '== the same, found after a crash: the two regions are copied'
dmsetup remove m
dd if=log of=/dev/ram3 bs=4k count=1 oflag=direct 2>/dev/null
put /dev/ram1 4 200 1 lost; put /dev/ram1 4 201 1 lost; put /dev/ram1 4 600 1 kept
mirror 16384 2 ''
get $M/a 4 200 2; get $M/b 4 200 2; get $M/b 4 600 1; get $M/a 4 600 1
echo '== resumed again, and a write'
dmsetup suspend m; dmsetup resume m; st; bits
put $M/m 4 0 1 four; sleep 1; bits
echo '== shrunk and grown'
dmsetup remove m; mirror 8192 2 ''
dmsetup remove m; mirror 15360 2 ''
get $M/b 4 600 1; get $M/b 4 1500 1
echo '== forced in sync and out of sync'
dmsetup remove m; put /dev/ram1 4 0 1 five; mirror 16384 3 nosync; get $M/b 4 0 1
dmsetup suspend m; dmsetup resume m; st; bits
dmsetup remove m; mirror 16384 3 sync; get $M/b 4 0 1
put /dev/ram1 4 0 1 six; dmsetup suspend m; dmsetup resume m; st; get $M/b 4 0 1
echo '== versions'
dmsetup remove m; printf '\001' | dd of=head bs=1 2>/dev/null
dd if=/dev/ram3 of=log bs=4k count=1 iflag=direct 2>/dev/null
printf '\001' | dd of=log bs=1 seek=4 conv=notrunc 2>/dev/null
dd if=log of=/dev/ram3 bs=4k count=1 oflag=direct 2>/dev/null
mirror 16384 2 ''
dmsetup remove m; printf '\011' | dd of=log bs=1 seek=4 conv=notrunc 2>/dev/null
dd if=log of=/dev/ram3 bs=4k count=1 oflag=direct 2>/dev/null
mirror 16384 2 ''
put $M/m 4 0 1 seven; dmsetup suspend m; dmsetup resume m; st; bits
