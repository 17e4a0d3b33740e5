# Chunks of one sector: 32 records an area, and four areas.
. ./lib.sh
snapshot 03-areas P 1 4096
for c in 3 60 9 10 11 40 2 63 31 30 29; do put orig 4 $c 1 c$c; put snap 4 $((c + 64)) 1 d$c; done
end_snapshot
