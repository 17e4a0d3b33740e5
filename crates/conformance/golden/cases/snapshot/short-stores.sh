# Stores on devices that are shorter than a chunk, or that end or fail within one.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/(${DM_MAJOR:-254}, /(MAJ, /g"; }
try() { echo "? $1"; if dmsetup create s --table "0 1024 snapshot /dev/ram0 /dev/mapper/c $1"; then dmsetup status s; dmsetup table s; dmsetup remove s; fi; }
clear() { dd if=/dev/zero of=/dev/ram1 bs=64k count=1 oflag=direct 2>/dev/null; }
{
for size in 1 7 8 9 15 16 17 31 63; do
  dmsetup create c --table "0 $size linear /dev/ram1 0"
  for store in 'P 8' 'PO 1' 'P 0' 'N 16'; do clear; try "$store"; done
  dmsetup remove c
done
# A store of chunks of 2, with only its beginning readable.
clear
dmsetup create c --table '0 4096 linear /dev/ram1 0'; dmsetup create s --table '0 1024 snapshot /dev/ram0 /dev/mapper/c P 2'; dmsetup remove s; dmsetup remove c
for good in 2 4 6 16 31 32; do
  printf '0 %d linear /dev/ram1 0\n%d 4000 error\n' $good $good >table; dmsetup create c <table
  for chunk in 0 1 2 8 32; do try "P $chunk"; done
  dmsetup remove c
done
# New ones that can't be written.
for good in 1 8 12 16 20; do
  clear
  printf '0 %d linear /dev/ram1 0\n%d 4000 error\n' $good $good >table; dmsetup create c <table
  try 'P 8'; try 'P 1'
  dmsetup remove c
done
for what in error_writes error_reads; do
  clear
  dmsetup create c --table "0 8192 flakey /dev/ram1 0 0 1 1 $what"; try 'P 8'; dmsetup remove c
done; } 2>&1 | maj
