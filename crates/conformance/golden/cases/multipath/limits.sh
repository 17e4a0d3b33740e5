# The limits of multipath devices in bio mode.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
lims() { for f in logical_block_size physical_block_size minimum_io_size optimal_io_size chunk_sectors discard_granularity discard_max_bytes write_zeroes_max_bytes max_sectors_kb fua write_cache dma_alignment; do
  echo "$f $(cat /sys/block/dm-0/queue/$f)"; done; }
for t in '0 0 0 0' '2 queue_mode bio 0 1 1 round-robin 0 1 1 /dev/ram0 1' '2 queue_mode bio 0 1 1 service-time 0 2 2 /dev/ram0 1 1 /dev/ram1 1 1' '3 queue_if_no_path queue_mode bio 0 2 1 round-robin 0 1 1 /dev/ram0 1 round-robin 0 1 1 /dev/ram1 1'; do
  dm create x --table "0 64 multipath $t"
  lims
  dm remove x
done
