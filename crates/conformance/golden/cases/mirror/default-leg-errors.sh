# Writes to a set in sync whose legs fail one after the other, the default leg first, with each set of features.
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

for features in '' '1 handle_errors' '2 handle_errors keep_log'; do
  echo "== [$features]"
  leg a 0; leg b 1; leg c 2
  dm create m --table "0 16384 mirror core 2 4096 nosync 3 /dev/mapper/a 0 /dev/mapper/b 0 /dev/mapper/c 0 $features"
  bad a; later put $M/m 4 0 1 four; st
  get $M/m 4 0 1
  bad b; later put $M/m 4 1 1 five; st
  later put $M/m 4 600 1 six; st
  bad c; later put $M/m 4 2 1 seven; st
  later put $M/m 4 601 1 eight; st
  get $M/m 4 0 1
  dmsetup suspend m; answered; dmsetup resume m; st
  gone a b c
done
