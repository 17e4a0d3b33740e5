# The limits of mirrors: those of their legs, and nothing of regions.
export LC_ALL=C TZ=UTC DM_DISABLE_UDEV=1
maj() { sed "s/${DM_MAJOR:-254}\([:,]\)/MAJ\1/g; s/-j ${DM_MAJOR:-254}/-j MAJ/"; }
dm() { # run dmsetup, show the command, its output (dm major as MAJ) and a failing exit code
  out=$(dmsetup "$@" 2>&1); rc=$?
  case "$* $out" in *"${DM_MAJOR:-254}"*) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} | maj ;; *) printf '%s\n' "\$ dmsetup $*" ${out:+"$out"} ;; esac
  [ $rc -eq 0 ] || echo "rc=$rc"
  return $rc; }
lims() { for f in logical_block_size physical_block_size minimum_io_size optimal_io_size chunk_sectors discard_granularity discard_max_bytes write_zeroes_max_bytes max_sectors_kb fua write_cache dma_alignment; do
  echo "$f $(cat /sys/block/dm-0/queue/$f)"; done; }
for t in 'core 2 16 nosync 2 /dev/ram0 0 /dev/ram1 0' 'disk 3 /dev/ram2 16 nosync 2 /dev/ram0 0 /dev/ram1 0 1 handle_errors' 'core 2 16 nosync 3 /dev/ram0 8 /dev/ram1 8 /dev/ram2 16'; do
  dm create x --table "0 64 mirror $t"
  lims
  dm remove x
done
printf '0 64 mirror core 2 16 nosync 2 /dev/ram0 0 /dev/ram1 0\n64 64 linear /dev/ram0 0\n' | dmsetup create x; lims
