# Snapshots, an origin and merges made, loaded, suspended, resumed, written and removed in an order of chance.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/(${DM_MAJOR:-254}, /(MAJ, /g"; }
random() { # 101 COUNT: lines of stdin in any order, a number for each #
  awk -v s="$1" -v count="$2" '
    function draw(n) { s = (s * 16807) % 2147483647; return int(s / 7) % n }
    { base[nb++] = $0 }
    END { while (count-- > 0) { line = base[draw(nb)]; gsub(/#/, draw(20), line); print line } }'; }
live() { case $(dmsetup info -c --noheadings -o suspended,attr $1 2>/dev/null) in Active:L*) ;; *) false ;; esac; }
put() { # TEXT DEV BYTES PLACE: one direct write
  printf "%$3s" "$1" | dd of=/dev/mapper/$2 bs=$3 seek=$4 oflag=direct iflag=fullblock conv=notrunc 2>/dev/null; echo rc=$?; }
random 101 55 <<'EOT' |
new o snapshot-origin /dev/ram0
new s snapshot /dev/ram0 /dev/ram1 P 8
new t snapshot /dev/ram0 /dev/ram2 N 16
new o snapshot-origin /dev/ram0
new s snapshot /dev/ram0 /dev/ram1 P 8
new s snapshot /dev/ram0 /dev/ram1 PO 16 2 discard_zeroes_cow discard_passdown_origin
new t snapshot /dev/ram0 /dev/ram2 N 16 1 discard_zeroes_cow
load s snapshot /dev/ram0 /dev/ram1 P 8
load s snapshot /dev/ram0 /dev/ram1 PO 8
load s snapshot-merge /dev/ram0 /dev/ram1 P 8
load o snapshot-merge /dev/ram0 /dev/ram1 P 8
load o snapshot-merge /dev/ram0 /dev/ram1 PO 8
load o snapshot-origin /dev/ram0
load s error
load t snapshot /dev/ram0 /dev/ram2 N 8
load t snapshot /dev/ram0 /dev/ram1 P 8
load o linear /dev/ram0 0
suspend o
suspend s
suspend s
suspend t
suspend --noflush s
resume o
resume s
resume s
resume t
resume o
remove s
remove t
remove o
clear s
w o #
w o #
w s #
w s #
w t #
half o #
half s #
half t #
disc s #
disc t #
sum
sum
EOT
while read -r line; do
  echo "> $line"
  set -- $line
  case $1 in
    new) name=$2; shift 2; dmsetup create $name --table "0 1024 $*" ;;
    load) name=$2; shift 2; dmsetup load $name --table "0 1024 $*" ;;
    w) ! live $2 || put "$line" $2 4096 $3 ;;
    half) ! live $2 || put "$line" $2 512 $(($3 * 8 + 3)) ;;
    disc) ! live $2 || { blkdiscard -o $(($3 * 4096)) -l 8192 /dev/mapper/$2 2>/dev/null; echo rc=$?; } ;;
    sum) for d in o s t; do ! live $d || dd if=/dev/mapper/$d bs=64k count=8 iflag=direct 2>/dev/null | sha256sum; done ;;
    resume) dmsetup resume $2; case $(dmsetup table $2) in *merge*) sleep 0.3 ;; esac ;; # a merge has come to its end
    *) dmsetup $line ;;
  esac
  dmsetup status; dmsetup table; dmsetup info -c --noheadings -o name,attr,events
done 2>&1 | maj
