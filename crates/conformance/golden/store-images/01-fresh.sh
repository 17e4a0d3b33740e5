# A new store of 8 KiB chunks, nothing in it.
. ./lib.sh
snapshot 01-fresh P 16 4096
end_snapshot
