# Each target in a read-only table, on disks that are writable and on disks that are not.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/(${DM_MAJOR:-254}, /(MAJ, /g"; }
one() {
  echo "? $*"
  for mode in '' -r; do
    dmsetup create x $mode --table "0 1024 $*" || continue
    dmsetup table x; dmsetup status x; dmsetup info -c --noheadings -o attr,read_only x; cat /sys/block/dm-0/ro
    dd if=/dev/zero of=/dev/mapper/x bs=4k count=1 oflag=direct conv=notrunc 2>/dev/null; echo rc=$?
    case $1 in mirror|*merge) sleep 0.1 ;; esac
    dmsetup status x; dmsetup remove x
  done; }
each() {
  one delay /dev/ram0 0 5
  one flakey /dev/ram0 0 100 1
  one log-writes /dev/ram0 /dev/ram1
  one unstriped 2 8 0 /dev/ram0 0
  one switch 2 8 0 /dev/ram0 0 /dev/ram1 0
  one mirror core 1 512 2 /dev/ram0 0 /dev/ram1 0
  one mirror disk 2 /dev/ram3 512 2 /dev/ram0 0 /dev/ram1 0 1 handle_errors
  one multipath 2 queue_mode bio 0 1 1 round-robin 0 1 1 /dev/ram0 1
  one snapshot /dev/ram0 /dev/ram4 P 8
  one snapshot /dev/ram0 /dev/ram4 N 8
  one snapshot-merge /dev/ram0 /dev/ram4 P 8
  one snapshot-origin /dev/ram0
  one error /dev/ram0 0; }
{
each
dmsetup remove_all
for n in 0 1 3 4; do /usr/sbin/blockdev --setro /dev/ram$n; done
one linear /dev/ram0 0
one log-writes /dev/ram0 /dev/ram1
one mirror disk 2 /dev/ram3 512 2 /dev/ram0 0 /dev/ram1 0 1 handle_errors
one snapshot /dev/ram0 /dev/ram4 P 8
for n in 0 1 3 4; do /usr/sbin/blockdev --setrw /dev/ram$n; done; } 2>&1 | maj
