#!/bin/sh
# A shell test of a script that makes a volume: what it is to do, what happens when a disk fails, what it leaves behind.
# Run it as anybody: dmlab run -- sh docs/examples/volume-test.sh
set -eu

make_volume() { # what is tested: NAME DISK
    dmsetup create "$1" --table "0 $(blockdev --getsz "$2") linear $2 0"
    mkfs.ext4 -q "/dev/mapper/$1"
}

make_volume data /dev/ram0
fsck.ext4 -fn /dev/mapper/data >/dev/null 2>&1
echo "ok 1 - a new volume has a sound file system"

# From here on every write to ram1 fails.
dmlab fault add device=/dev/ram1 op=write fail=EIO >/dev/null
if make_volume broken /dev/ram1 2>/dev/null; then
    echo "not ok 2 - a disk that fails goes unnoticed"
    exit 1
fi
echo "ok 2 - a disk that fails is noticed"

dmsetup remove broken
dmsetup remove data
test -z "$(dmsetup ls | grep -v 'No devices found' || true)"
echo "ok 3 - nothing is left behind"
