# What a suspend does with buffered writes, and what new limits do with read-ahead.
# The same script runs on Linux 6.12 (recorded beside it) and on the simulated kernel.
striped='0 3072 striped 3 128 /dev/ram0 0 /dev/ram1 16 /dev/ram2 5'
on_disk() {
  echo "$1 holds '$(dd if=/dev/$1 iflag=direct bs=4096 count=1 2>/dev/null | tr '\0\n' ' ')'" | tr -s ' '
}
for disk in ram3 ram4 ram5 ram6; do dd if=/dev/zero of=/dev/$disk bs=4096 count=1 2>/dev/null; done
dmsetup create a --table "$striped"
blockdev --getra /dev/mapper/a
blockdev --setra 64 /dev/mapper/a
dmsetup load a --table "$striped"
blockdev --getra /dev/mapper/a
dmsetup resume a
blockdev --getra /dev/mapper/a
dmsetup load a --table '0 3072 zero'
dmsetup resume a
blockdev --getra /dev/mapper/a
cat /sys/block/dm-0/bdi/read_ahead_kb
blockdev --setra 64 /dev/mapper/a
dmsetup load a --table '0 3072 error'
dmsetup resume a
blockdev --getra /dev/mapper/a

dmsetup create b --table '0 8192 linear /dev/ram3 0'
exec 4<>/dev/mapper/b
printf one, >&4; on_disk ram3
dmsetup suspend b; on_disk ram3; dmsetup resume b
printf two, >&4
dmsetup suspend --noflush b; on_disk ram3; dmsetup resume b
printf three, >&4
dmsetup suspend --nolockfs b; on_disk ram3; dmsetup resume b
printf four, >&4
dmsetup load b --table '0 8192 linear /dev/ram4 0'
dmsetup resume b; on_disk ram3; on_disk ram4
printf five, >&4
dmsetup load b --table '0 8192 linear /dev/ram5 0'
dmsetup resume --noflush b; on_disk ram4; on_disk ram5
exec 4>&-
on_disk ram4; on_disk ram5

# Buffered writes that cannot be written back: the suspend fails and changes nothing.
dmsetup create e --table '0 8 error'
exec 4<>/dev/mapper/e
head -c 4096 /dev/zero >&4
dmsetup suspend e; echo "suspend: $?"
dmsetup info -c --noheadings e
dmsetup suspend e; echo "suspend again: $?"
dmsetup resume e
exec 4<>/dev/mapper/e
head -c 4096 /dev/zero >&4
dmsetup load e --table '0 8 linear /dev/ram6 0'
dmsetup resume e; echo "resume: $?"
dmsetup info -c --noheadings e
dmsetup table e
dmsetup table --inactive e
dmsetup resume --noflush e; echo "resume: $?"
dmsetup table e
exec 4>&-
dmsetup remove_all
