# Partitions made one by one, on each kind of disk. $BLKPG is blkpg.c, $TMP a folder.
dmsetup create l --table "0 65536 linear /dev/ram0 0"
truncate -s 64M $TMP/f $TMP/g
losetup /dev/loop0 $TMP/f
losetup -P /dev/loop1 $TMP/g
for d in /dev/ram1 /dev/mapper/l /dev/loop0 /dev/loop1; do
	echo "## $d"
	for n in 1 0 -1 70000; do $BLKPG $d del $n; done
	$BLKPG $d rrpart
	$BLKPG $d add 1 1048576 8388608
	$BLKPG $d add 1 16777216 1048576
	$BLKPG $d add 2 2097152 8388608
	$BLKPG $d add 2 16777216 4194304
	for range in "100 4096" "33554432 100" "33554432 0" "-512 512" "33554432 -512" "1000000000000 512"; do
		$BLKPG $d add 3 $range
	done
	for n in 0 256 300 65535 65536; do $BLKPG $d add $n 33554432 512; done
	$BLKPG $d op 0
	$BLKPG $d op 4
	for range in "1 1048576 4194304" "1 0 4194304" "1 1048576 16777216" "9 1048576 4194304" "1 1048576 100" \
		"1 1048576 0" "2 16777216 999999999999"; do
		$BLKPG $d resize $range
	done
	$BLKPG $d fault
done
grep -v -e ram[02-9] -e loop[2-9] /proc/partitions
echo "## a partition of a partition"
$BLKPG /dev/ram1p1 add 1 0 4096
$BLKPG /dev/ram1p1 del 1
$BLKPG /dev/ram1p1 rrpart
$BLKPG /dev/ram1p1 resize 1 0 4096
echo "## sysfs"
for f in alignment_offset dev discard_alignment partition ro size start uevent; do
	echo "$f: $(cat /sys/block/ram1/ram1p1/$f | tr '\n' ' ' | sed 's/DISKSEQ=[0-9]* //')"
done
(cd /sys/class/block && ls -d ram1*)
(cd /sys/block && ls -d ram1*)
for l in /sys/class/block/ram1p1 /sys/dev/block/259:0; do readlink $l; done
echo "## in use"
sleep 100 </dev/ram1p1 & user=$!; until [ "$(readlink /proc/$user/exe)" = "$(readlink -f "$(command -v sleep)")" ]; do :; done
$BLKPG /dev/ram1 del 1
$BLKPG /dev/ram1 rrpart
$BLKPG /dev/ram1 resize 1 1048576 2097152
blockdev --getsize64 /dev/ram1p1
kill $user
wait $user 2>/dev/null
$BLKPG /dev/ram1 del 1
$BLKPG /dev/ram1 del 1
$BLKPG /dev/ram1 rrpart
echo "## claims"
$BLKPG /dev/ram2 add 1 1048576 1048576
$BLKPG /dev/ram2 add 2 2097152 1048576
dmsetup create whole --table "0 524288 linear /dev/ram2 0"
dmsetup create part --table "0 2048 linear /dev/ram2p1 0" 2>/dev/null || echo "part $?"
$BLKPG /dev/ram2 rrpart
$BLKPG /dev/ram2 del 2
dmsetup remove whole
dmsetup create part --table "0 2048 linear /dev/ram2p1 0"
dmsetup table part
readlink /sys/block/dm-1/slaves/ram2p1
ls /sys/block/ram2/ram2p1/holders
dmsetup create whole --table "0 524288 linear /dev/ram2 0" 2>/dev/null || echo "whole $?"
$BLKPG /dev/ram2 rrpart
$BLKPG /dev/ram2 del 1
dmsetup remove part
dmsetup create long --table "0 2056 linear /dev/ram2p1 0" 2>/dev/null || echo "long $?"
echo "## bounds"
printf 0123456789abcdef | dd of=/dev/ram2p1 bs=16 seek=3 conv=notrunc 2>/dev/null
dd if=/dev/ram2 bs=16 skip=65539 count=1 2>/dev/null; echo
dd if=/dev/zero of=/dev/ram2p1 bs=65536 oflag=direct 2>/dev/null || echo "end $?"
blockdev --setro /dev/ram2; cat /sys/block/ram2/ram2p1/ro; blockdev --setrw /dev/ram2
blockdev --setro /dev/ram2p1; cat /sys/block/ram2/ro /sys/block/ram2/ram2p1/ro
