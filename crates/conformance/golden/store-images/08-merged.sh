# A merge over several areas that came to its end.
. ./lib.sh
snapshot 08-merged P 1 4096
for c in 3 60 9 10 11 40 2 63 31 30 29; do put snap 4 $c 1 c$c; done
merge 1
say orig real; gone
