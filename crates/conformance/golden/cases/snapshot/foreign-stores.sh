# Headers and records of all kinds on a COW device: what is taken, what is said, what is left there.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/(${DM_MAJOR:-254}, /(MAJ, /g"; }
le() { # BYTES NUMBER...: numbers, the lowest byte first
  bytes=$1; shift
  for number; do i=0; while [ $i -lt $bytes ]; do printf "\\$(printf %03o $((number >> (8 * i) & 255)))"; i=$((i + 1)); done; done; }
cow() { # MAGIC VALID VERSION CHUNK OLD NEW...
  { le 4 $1 $2 $3 $4; dd if=/dev/zero bs=16 count=255 2>/dev/null; shift 4; le 8 "$@"; dd if=/dev/zero bs=4096 count=16 2>/dev/null; } >image
  dd if=image of=/dev/ram1 bs=4096 count=16 iflag=fullblock oflag=direct 2>/dev/null; }
try() {
  for store in "snapshot /dev/ram0 /dev/ram1 P ${1:-8}" "snapshot-merge /dev/ram0 /dev/ram1 PO ${1:-8}"; do
    echo "? $store"; ! dmsetup create s --table "0 1024 $store" || { case $store in *merge*) sleep 0.1 ;; esac; dmsetup status s; dmsetup table s; dmsetup remove s; }
  done
  dd if=/dev/ram1 bs=4096 count=2 iflag=direct 2>/dev/null | od -A d -t x8 | sed '/^[0-9]*$/d'; }
S=1886477139
{
for header in '0 1 1 8' '1 1 1 8' "$S 0 1 8" "$S 2 1 8" "$S 256 1 8" "$S 1 0 8" "$S 1 2 8" "$S 1 1 0" "$S 1 1 7" "$S 1 1 1" "$S 1 1 16" "$S 1 1 4194304" "$S 1 1 2147483648" "$S 0 2 7" "$S 1 2 7" '0 0 9 9'; do
  echo "== $header"; cow $header; try; done
for records in '5 2 9 3 20 4' '5 2 5 3' '5 100 6 3' '0 1' '200 2' '5 65536' '5 4294967296' '0 0 5 2' '5 258' '5 257 6 259' '1 2 2 3 3 4 4 5 10 6 9 7' '72057594037927941 2'; do
  echo "== $records"; cow $S 1 1 8 $records; try; done
cow $S 1 1 16 5 2; try 0; cow 0 0 0 0; try 0
} 2>&1 | maj
