# All lines, the limits and the refused messages of dust.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/(${DM_MAJOR:-254}, /(MAJ, /g"; }
shape() { # TABLE: what dmsetup and sysfs say of it
  echo "? $1"; type=${1#* * }; type=${type%% *}
  dmsetup create x --table "$1" || { dmsetup remove x 2>/dev/null; return; }
  dmsetup table x; dmsetup status --noflush x; dmsetup status --target $type x; dmsetup deps x; dmsetup measure x; dmsetup info -c --noheadings x
  dmsetup message x 0 foo; dmsetup message x 100000 a b
  for file in /sys/block/dm-0/queue/[a-hj-mo-z]*; do
    case $file in */scheduler|*/read_ahead_kb|*/rq_affinity|*/wbt_lat_usec|*/hw_sector_size|*/discard_zeroes_data|*/write_same*|*/atomic*|*/zone*|*/io_poll*) ;; *) [ ! -f $file ] || echo "${file##*/} $(cat $file)" ;; esac
  done
  dmsetup suspend x; dmsetup status x; dmsetup message x 0 foo bar; dmsetup remove x; }
{
shape '0 1024 dust /dev/ram0 0 512'
shape '0 1024 dust /dev/ram0 8 4096'
shape '0 1024 dust /dev/ram0 3 65536'
} 2>&1 | maj
