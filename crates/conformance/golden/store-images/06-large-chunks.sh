# Chunks of 128 KiB, written in part, across and as a whole.
. ./lib.sh
snapshot 06-large-chunks P 256 4096
put snap 4 255 1 last; put orig 64 1 1 one; put snap 64 6 2 whole
end_snapshot
