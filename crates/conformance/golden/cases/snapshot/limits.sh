# The limits of snapshots, merges and origins.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
lims() { for f in logical_block_size physical_block_size minimum_io_size optimal_io_size chunk_sectors discard_granularity discard_max_bytes write_zeroes_max_bytes max_sectors_kb fua write_cache dma_alignment; do
  echo "$f $(cat /sys/block/dm-0/queue/$f)"; done; }
for t in 'snapshot /dev/ram0 /dev/ram1 P 8' 'snapshot /dev/ram0 /dev/ram1 N 16 1 discard_zeroes_cow' 'snapshot /dev/ram0 /dev/ram1 P 1024 2 discard_zeroes_cow discard_passdown_origin' 'snapshot-merge /dev/ram0 /dev/ram1 P 8' 'snapshot-merge /dev/ram0 /dev/ram2 P 16 1 discard_zeroes_cow' 'snapshot-origin /dev/ram0'; do
  dm create x --table "0 64 $t"
  lims
  dm remove x
  dd if=/dev/zero of=/dev/ram1 bs=64k count=1 oflag=direct 2>/dev/null
done
