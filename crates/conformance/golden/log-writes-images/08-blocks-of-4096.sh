# A device with logical blocks of 4096 bytes: so are the log's.
NAME=08-blocks-of-4096
. ./lib.sh
dd if=/dev/zero of=$T/disk bs=4096 count=1024 2>/dev/null
/usr/sbin/losetup -b 4096 /dev/loop0 $T/disk
start /dev/loop0
status
wr l 8192 8192 1 0x41
mark $(head -c 3500 /dev/zero | tr '\0' m)
trim l 4096 8192
forced l 4096 0 1 0x42
finish /dev/loop0
/usr/sbin/losetup -d /dev/loop0
