# A store that was too small.
. ./lib.sh
snapshot 04-invalid P 8 64
for c in 1 3 5 7 9 11; do put snap 4 $c 1 c$c; done
put snap 4 13 1 over
say orig; { dmsetup status snap; } >>$OUT/$N.status
dmsetup remove snap; gone
