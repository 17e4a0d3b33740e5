# Run in the reference machine with metadata of a pool of 100 data blocks, restored by thin_restore 0.9 (m09) and 1.1 (m11), in /job/in.
for m in m09 m11; do
  dd if=/job/in/$m of=/dev/ram0 bs=1M 2>/dev/null; sync; echo 3 >/proc/sys/vm/drop_caches
  dmsetup create meta --table "0 4096 linear /dev/ram0 0"
  dmsetup create data --table "0 $((200 * 128)) zero"
  dmsetup create pool --table "0 $((100 * 128)) thin-pool /dev/mapper/meta /dev/mapper/data 128 0 1 error_if_no_space"
  dmsetup load pool --table "0 $((200 * 128)) thin-pool /dev/mapper/meta /dev/mapper/data 128 0 1 error_if_no_space"; dmsetup resume pool
  dmsetup create t0 --table "0 $((4096 * 128)) thin /dev/mapper/pool 0"
  echo $m; dmsetup status pool
  dd if=/dev/zero of=/dev/mapper/t0 bs=64k count=190 oflag=direct conv=notrunc,fsync 2>&1
  dmsetup status pool
  dmsetup remove t0; dmsetup remove pool; dd if=/dev/mapper/meta of=/job/out/$m bs=1M 2>/dev/null;  dmsetup remove meta; dmsetup remove data
done
