# Tables of every shape, and what /sys, /proc and dmsetup say of them. BLOCKS names the compiled blocks.c.
# The same script runs on Linux 6.12 (recorded beside it) and on the simulated kernel.
say_sys() {
  for f in alignment_offset discard_alignment ext_range hidden range removable ro size inflight \
    dm/name dm/uuid dm/suspended dm/use_blk_mq dm/rq_based_seq_io_merge_deadline; do
    [ -e /sys/block/$1/$f ] && echo "$1/$f: $(cat /sys/block/$1/$f)"
  done
  for f in $(cd /sys/block/$1/queue && ls); do
    [ -f /sys/block/$1/queue/$f ] && echo "$1/queue/$f: $(cat /sys/block/$1/queue/$f 2>/dev/null)"
  done
  echo "$1: $(cd /sys/block/$1 && ls | tr '\n' ' ')"
  echo "$1/slaves: $(ls /sys/block/$1/slaves | tr '\n' ' ')"
  echo "$1/holders: $(ls /sys/block/$1/holders | tr '\n' ' ')"
}
try() {
  echo "== $1"
  printf "$2\n" >table
  dmsetup create t <table 2>&1 || { dmsetup remove t 2>/dev/null; return; }
  dmsetup table t; dmsetup status t; dmsetup info -c --noheadings t; dmsetup deps t
  d=$(basename $(readlink -f /dev/mapper/t)); say_sys dm-0
  echo "ram0 holders: $(ls /sys/block/ram0/holders | tr '\n' ' ')"
  [ -n "$BLOCKS" ] && $BLOCKS /dev/mapper/t
  dmsetup remove t
}
sed -n '/^Block/,$p' /proc/devices | grep -v 'blkext\|fd\|sd\|virtblk\|md\|nvme\|mmc\|sr'
grep device-mapper /proc/misc
try linear '0 1024 linear /dev/ram0 0'
try 'linear, odd start' '0 1023 linear /dev/ram0 3'
try 'linear, two disks' '0 512 linear /dev/ram0 8\n512 1000 linear /dev/ram1 0'
try 'striped' '0 1024 striped 2 8 /dev/ram0 0 /dev/ram1 0'
try 'striped, chunks of 7' '0 1050 striped 2 7 /dev/ram0 0 /dev/ram1 0'
try 'striped, three of 128' '0 3072 striped 3 128 /dev/ram0 0 /dev/ram1 16 /dev/ram2 5'
try 'striped, chunks of 1' '0 1024 striped 4 1 /dev/ram0 0 /dev/ram1 0 /dev/ram2 0 /dev/ram3 0'
try 'striped, one' '0 1024 striped 1 32 /dev/ram0 0'
try 'striped, long chunks' '0 262144 striped 2 65536 /dev/ram0 0 /dev/ram1 0'
try 'striped, odd start of one' '0 1024 striped 2 8 /dev/ram0 1 /dev/ram1 0'
try 'zero' '0 1024 zero'
try 'error' '0 1024 error'
try 'error on a disk' '0 1024 error /dev/ram0 0'
try 'zero and linear' '0 512 zero\n512 512 linear /dev/ram0 0'
try 'linear and error' '0 512 linear /dev/ram0 0\n512 512 error'
try 'linear and striped' '0 512 linear /dev/ram0 0\n512 512 striped 2 16 /dev/ram1 0 /dev/ram2 0'
try 'striped of 8 and 24' '0 512 striped 2 8 /dev/ram0 0 /dev/ram1 0\n512 480 striped 2 24 /dev/ram2 0 /dev/ram3 0'
try 'origin' '0 1024 snapshot-origin /dev/ram0'
dd if=/dev/zero of=/dev/ram1 bs=64k count=16 2>/dev/null
try 'snapshot' '0 1024 snapshot /dev/ram0 /dev/ram1 P 8'
try 'snapshot, discards' '0 1024 snapshot /dev/ram0 /dev/ram2 N 16 2 discard_zeroes_cow discard_passdown_origin'
echo '== stacked'
dmsetup create low --table '0 1024 striped 2 8 /dev/ram0 0 /dev/ram1 0'
dmsetup create top --table '0 1000 linear /dev/mapper/low 4'
say_sys dm-0
say_sys dm-1
grep dm- /proc/partitions
blockdev --setro /dev/mapper/low
say_sys dm-0 | grep '/ro:'
say_sys dm-1 | grep '/ro:'
dmsetup suspend top
say_sys dm-1 | grep suspended
dmsetup resume top
dmsetup load low --readonly --table '0 2048 linear /dev/ram3 0'
ls /sys/block/dm-0/slaves | tr '\n' ' '; echo
dmsetup resume low
ls /sys/block/dm-0/slaves | tr '\n' ' '; echo
say_sys dm-0 | grep '/ro:\|size:'
grep dm- /proc/partitions
dmsetup create low2 -r --table '0 8 linear /dev/ram5 0'
say_sys dm-2 | grep '/ro:'
dmsetup remove_all
cat /proc/partitions | grep dm-
