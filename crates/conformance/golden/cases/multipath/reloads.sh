# Tables of other targets in place of a multipath table and the other way round, in an order of chance.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/(${DM_MAJOR:-254}, /(MAJ, /g"; }
awk -v s=77 'function draw(n) { s = (s * 16807) % 2147483647; return int(s / 7) % n } { line[n++] = $0 } END { for (i = 0; i < 90; i++) print line[draw(n)] }' <<EOT |
linear /dev/ram0 0
delay /dev/ram0 0 5
multipath 2 queue_mode bio 0 1 1 round-robin 0 1 1 /dev/ram0 1
multipath 2 queue_mode bio 0 1 1 round-robin 0 1 1 /dev/ram0 1
multipath 0 0 1 1 round-robin 0 1 1 /dev/ram0 1
error
error /dev/ram0 0
zero
snapshot-origin /dev/ram0
snapshot /dev/ram0 /dev/ram2 N 8
snapshot-merge /dev/ram0 /dev/ram3 P 8
mirror core 2 64 nosync 2 /dev/ram0 0 /dev/ram1 0
switch 2 8 0 /dev/ram0 0 /dev/ram1 0
log-writes /dev/ram0 /dev/ram1
flakey /dev/ram0 0 5 5
unstriped 2 8 0 /dev/ram0 0
new
new
EOT
while read -r target; do
  dmsetup info x >/dev/null 2>&1 || dmsetup create x --notable
  echo "? $target"
  case $target in
    new) dmsetup remove x ;;
    *) ! dmsetup load x --table "0 1024 $target" || { dmsetup resume x; dmsetup table x; }
       dmsetup info -c --noheadings -o attr x ;;
  esac
done 2>&1 | maj
