# The same for a store that tells an overflow: on disk it is as good as before.
. ./lib.sh
snapshot 05-overflow PO 8 64
for c in 1 3 5 7 9 11; do put snap 4 $c 1 c$c; done
put snap 4 13 1 over
end_snapshot
