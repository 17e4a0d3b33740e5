# A merge that met an error: the last runs are gone from the store.
. ./lib.sh
snapshot 07-half-merged P 8 4096
for c in 3 4 5 9 20 21 40 41 42; do put snap 4 $c 1 c$c; done
swap real '0 72 linear /dev/ram0 0
72 8 error
80 1968 linear /dev/ram0 80'
merge 8
swap real '0 2048 linear /dev/ram0 0'
say orig; gone
