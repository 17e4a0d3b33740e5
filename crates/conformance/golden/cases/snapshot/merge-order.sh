# A merge goes from the last record backwards, in runs; where it fails shows how far it has come.
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
swap() { # NAME TABLE: another table in place of the one it has
  dmsetup suspend --noflush "$1"; dmsetup load "$1" --table "$2"; dmsetup resume "$1"; }
st() { # NAME: its status, a little later
  sleep 0.5; echo "$1: $(dmsetup status "$1" | maj) events $(dmsetup info -c --noheadings -o events "$1")"; }
real() { # CHUNKS...: the origin's device, in which these chunks of 4 KiB fail
  from=0 t=''
  for c in "$@"; do [ $((c * 8)) -gt $from ] && t="$t$from $((c * 8 - from)) linear /dev/ram0 $from
"; t="$t$((c * 8)) 8 error
"; from=$((c * 8 + 8)); done
  swap real "$t$from $((2048 - from)) linear /dev/ram0 $from"; }
cow() { # CHUNKS...: the same for the store's
  from=0 t=''
  for c in "$@"; do [ $((c * 8)) -gt $from ] && t="$t$from $((c * 8 - from)) linear /dev/ram1 $from
"; t="$t$((c * 8)) 8 error
"; from=$((c * 8 + 8)); done
  swap cow "$t$from $((4096 - from)) linear /dev/ram1 $from"; }
fresh() { # a real device with data, its origin and a snapshot of chunks of 4 KiB
  dmsetup remove orig 2>/dev/null; dmsetup remove snap 2>/dev/null; dmsetup remove real 2>/dev/null; dmsetup remove cow 2>/dev/null
  dd if=/dev/zero of=/dev/ram1 bs=64k count=4 oflag=direct conv=notrunc 2>/dev/null
  dmsetup create real --table '0 2048 linear /dev/ram0 0'; dmsetup create cow --table '0 4096 linear /dev/ram1 0'
  put $M/real 64 0 8 base
  dmsetup create orig --table '0 2048 snapshot-origin /dev/mapper/real'
  dmsetup create snap --table "0 2048 snapshot /dev/mapper/real /dev/mapper/cow ${1:-P} 8"; }
merge() { # the snapshot is merged from here on
  dmsetup suspend orig; dmsetup suspend snap; dmsetup load orig --table '0 2048 snapshot-merge /dev/mapper/real /dev/mapper/cow P 8'
  dm resume orig; }

for broken in 21 9 4; do
  echo "== chunk $broken of the origin cannot be written"
  fresh
  for c in 3 4 5 9 20 21; do put $M/snap 4 $c 1 c$c; done
  st snap; sec /dev/ram1 8 0 112
  real $broken; merge; st orig; sec /dev/ram1 8 0 112; sec /dev/ram1 0 0 16
  get $M/orig 4 0 3; get $M/orig 4 3 1; get $M/orig 4 20 1; get /dev/ram0 4 3 1; get /dev/ram0 4 20 1
  put $M/orig 4 $broken 1 more; put $M/orig 4 1 1 more; get $M/orig 4 $broken 1
  echo '== good again, suspended and resumed'
  real; dm suspend orig; dm resume orig; st orig; sec /dev/ram1 8 0 112
  dm status snap
  echo '== loaded anew'
  dmsetup remove snap; dmsetup remove orig
  dm create orig --table '0 2048 snapshot-merge /dev/mapper/real /dev/mapper/cow P 8'
  st orig; sec /dev/ram1 8 0 112; get $M/orig 4 0 32; get $M/real 4 0 32
done
