# What error inherits of the limits of its device, and that it takes discards of any length.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/(${DM_MAJOR:-254}, /(MAJ, /g"; }
for low in 'linear /dev/ram0 0' 'snapshot /dev/ram0 /dev/ram1 N 8 1 discard_zeroes_cow' 'striped 2 8 /dev/ram0 0 /dev/ram1 0' 'unstriped 2 8 0 /dev/ram0 0' 'log-writes /dev/ram0 /dev/ram1' zero; do
  dmsetup create low --table "0 1024 $low"; dmsetup create x --table '0 1000 error /dev/mapper/low 8'
  echo "? $low"
  for file in alignment_offset chunk_sectors discard_granularity discard_max_bytes discard_max_hw_bytes fua logical_block_size max_sectors_kb minimum_io_size optimal_io_size physical_block_size write_cache write_zeroes_max_bytes; do
    for dm in dm-0 dm-1; do [ ! -f /sys/block/$dm/queue/$file ] || echo "$dm $file $(cat /sys/block/$dm/queue/$file)"; done
  done
  dmsetup table x; dmsetup deps x; dmsetup remove x; dmsetup remove low
done 2>&1 | maj
dmsetup create pool --table '0 65536 thin-pool /dev/ram2 /dev/ram3 128 0 0'; dmsetup message pool 0 'create_thin 0'
dmsetup create low --table '0 4096 thin /dev/mapper/pool 0'; dmsetup create x --table '0 1000 error /dev/mapper/low 3'
for dm in dm-1 dm-2; do for file in discard_granularity discard_max_bytes minimum_io_size; do echo "$dm $file $(cat /sys/block/$dm/queue/$file)"; done; cat /sys/block/$dm/discard_alignment; done
