# A log that runs out: what doesn't fit is lost, and all that comes after.
NAME=09-full
LS=64
. ./lib.sh
start
wr l 4096 0 3 0x41
mark room
status
forced l 16384 16384 1 0x42
status
forced l 4096 4096 1 0x43
mark lost
status
finish
