# What the tables of both sides say before and after a handover between stores of different kinds.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/(${DM_MAJOR:-254}, /(MAJ, /g"; }
say() { for d in s o; do echo "$d: $(dmsetup table $d) | $(dmsetup table --inactive $d) | $(dmsetup status $d) | $(dmsetup status --inactive $d)"; done; }
for source in 'P 8' 'PO 8' 'N 8'; do
  for target in 'snapshot P 0' 'snapshot PO 16' 'snapshot N 16' 'snapshot-merge N 8' 'snapshot-merge PO 8 1 discard_zeroes_cow'; do
    echo "== $source -> $target"
    dd if=/dev/zero of=/dev/ram1 bs=64k count=2 oflag=direct 2>/dev/null
    dmsetup create s --table "0 1024 snapshot /dev/ram0 /dev/ram1 $source"
    dd if=/dev/zero of=/dev/mapper/s bs=4k seek=5 count=1 oflag=direct conv=notrunc 2>/dev/null
    dmsetup create o --notable; set -- $target; type=$1; shift
    dmsetup load o --table "0 1024 $type /dev/ram0 /dev/ram1 $*" || { dmsetup remove s; dmsetup remove o; continue; }
    say; dmsetup suspend s; dmsetup resume o; [ $type = snapshot ] || sleep 0.2
    say; dmsetup resume s; say; dmsetup remove s; dmsetup remove o
  done
done 2>&1 | maj
