# Writes to the origin and to the snapshot in no order, of parts of chunks and of whole ones.
. ./lib.sh
snapshot 02-scattered P 8 4096
i=0; for c in 37 5 200 6 7 8 91 255 0 128 127 64; do
  if [ $((i % 2)) = 0 ]; then put orig 4 $c 1 o$i; else put snap 4 $c 1 s$i; fi; i=$((i + 1)); done
put snap 64 3 2 big; put orig 64 4 1 big
end_snapshot
