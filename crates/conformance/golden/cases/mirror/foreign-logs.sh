# Headers and bits of all kinds on a log device: how the mirror stands then, and what is left there.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/(${DM_MAJOR:-254}, /(MAJ, /g"; }
le() { # BYTES NUMBER...: numbers, the lowest byte first
  bytes=$1; shift
  for number; do i=0; while [ $i -lt $bytes ]; do printf "\\$(printf %03o $((number >> (8 * i) & 255)))"; i=$((i + 1)); done; done; }
log() { # MAGIC VERSION REGIONS, and four words of bits
  { le 4 $1 $2; le 8 $3; dd if=/dev/zero bs=1008 count=1 2>/dev/null; le 4 $4 $5 $6 $7; dd if=/dev/zero bs=4096 count=1 2>/dev/null; } >image
  dd if=image of=/dev/ram3 bs=4096 count=1 iflag=fullblock oflag=direct 2>/dev/null; }
R=1298747986
for header in '0 0 0' "$R 2 20" "$R 1 20" "$R 0 20" "$R 3 20" "$R 2 0" "$R 2 7" "$R 2 21" "$R 2 9223372036854775807"; do
  for kind in '2 /dev/ram3 64' '3 /dev/ram3 64 sync' '3 /dev/ram3 64 nosync'; do
    case "$kind $header" in *sync*) case $header in "$R 2 20"|"$R 3 20") ;; *) continue ;; esac ;; esac
    echo "? $header, $kind"; log $header 65519 0 1 4294967295
    dmsetup create m --notable; dmsetup load m --table "0 1280 mirror disk $kind 2 /dev/ram0 0 /dev/ram1 0 2 handle_errors keep_log"
    dmsetup status --inactive m; dmsetup resume m; sleep 0.2; dmsetup status m; dmsetup info -c --noheadings -o events m; dmsetup suspend m
    dd if=/dev/ram3 bs=4096 count=1 iflag=direct 2>/dev/null | od -A d -t x1 | sed '/^[0-9]*$/d'
    dmsetup remove m
  done
done 2>&1 | maj
