# Grows a pool's metadata over the ends of bitmaps to the largest that Linux uses, and past it, with snapshots and a held metadata
# snapshot. Recorded on Linux 6.12.113 (User Mode Linux, one RAM disk of 20100000 KiB); the test thin_sequences has what it printed.
O=${O:-/job/out}
meta() { echo "0 $(($1 * 8)) linear /dev/ram0 0"; }
dmsetup create meta --table "$(meta 300)"
dmsetup create data --table "0 $((2048 * 128)) zero"
dmsetup create pool --table "0 $((2048 * 128)) thin-pool /dev/mapper/meta /dev/mapper/data 128 0"
dmsetup message pool 0 create_thin 0
dmsetup create t0 --table "0 $((4096 * 128)) thin /dev/mapper/pool 0"
b=0
for n in 16320 16323 16340 65536 65540 1000000 1000001 4161599 4161600 5000000; do
  b=$((b + 1))
  dd if=/dev/zero of=/dev/mapper/t0 bs=64k seek=$((b * 31)) count=1 oflag=direct conv=notrunc,fsync 2>/dev/null
  dmsetup load meta --table "$(meta $n)"; dmsetup resume meta; dmsetup suspend pool; dmsetup resume pool || dmsetup resume pool
  dmsetup status pool
  dmsetup message pool 0 create_snap $b 0
  [ $b != 4 ] || dmsetup message pool 0 reserve_metadata_snap
  [ $b != 7 ] || dmsetup message pool 0 release_metadata_snap
done
dmsetup remove t0; dmsetup remove pool
sync; echo 3 >/proc/sys/vm/drop_caches 2>/dev/null
for n in 0 16320 16323 16340 65536 65540 1000000 1000001 4161440; do dd if=/dev/mapper/meta bs=4096 skip=$n count=160 2>/dev/null; done >$O/meta.img
sha256sum <$O/meta.img
dmsetup remove meta
