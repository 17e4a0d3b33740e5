# Run in the reference machine with restored-0.9.img and restored-1.1.img in /job/in: a pool works on each, and on none.
cd /tmp
meta() { echo "0 $1 linear /dev/ram0 0"; }
work() { # NAME [IMAGE]: a pool works on what is there, grows, and its metadata is kept
  dd if=/dev/zero of=/dev/ram0 bs=1M count=8 2>/dev/null
  [ -z "$2" ] || dd if=/job/in/$2.img of=/dev/ram0 bs=1M 2>/dev/null
  sync; echo 3 >/proc/sys/vm/drop_caches
  dmsetup create meta --table "$(meta 4096)"
  dmsetup create data --table "0 $((2048 * 128)) zero"
  dmsetup create pool --table "0 $((2048 * 128)) thin-pool /dev/mapper/meta /dev/mapper/data 128 0"
  [ "$2" ] || dmsetup message pool 0 create_thin 0
  dmsetup message pool 0 create_thin 40
  for t in 0 40; do dmsetup create t$t --table "0 $((4096 * 128)) thin /dev/mapper/pool $t"; done
  for i in 5 1 9 300 77 2 600 601 602; do dd if=/dev/zero of=/dev/mapper/t0 bs=64k seek=$i count=1 oflag=direct conv=notrunc 2>/dev/null; dd if=/dev/zero of=/dev/mapper/t40 bs=64k seek=$i count=3 oflag=direct conv=notrunc,fsync 2>/dev/null; done
  dmsetup suspend t0; dmsetup message pool 0 create_snap 41 0; dmsetup resume t0
  dmsetup message pool 0 create_snap 42 41
  blkdiscard -o 65536 -l 655360 /dev/mapper/t0
  dd if=/dev/zero of=/dev/mapper/t0 bs=64k seek=299 count=4 oflag=direct conv=notrunc,fsync 2>/dev/null
  dmsetup load data --table "0 $((3000 * 128)) zero"; dmsetup resume data
  dmsetup load pool --table "0 $((3000 * 128)) thin-pool /dev/mapper/meta /dev/mapper/data 128 0"; dmsetup resume pool
  dmsetup load meta --table "$(meta 5600)"; dmsetup resume meta; dmsetup suspend pool; dmsetup resume pool
  dd if=/dev/zero of=/dev/mapper/t40 bs=64k seek=1000 count=700 oflag=direct conv=notrunc,fsync 2>/dev/null
  [ "$2" ] || dmsetup message pool 0 reserve_metadata_snap
  dmsetup message pool 0 delete 42
  dmsetup status pool
  dmsetup remove t0; dmsetup remove t40; dmsetup remove pool
  dd if=/dev/mapper/meta of=/job/out/$1.img bs=4096 count=700 iflag=direct 2>/dev/null || cat /dev/mapper/meta >/job/out/$1.img
  dmsetup remove meta; dmsetup remove data
}
work linux
for w in restored-0.9 restored-1.1; do work "linux-on-${w#*-}" "$w"; done
