# Forced writes (FUA) pass those that wait for a flush.
NAME=03-forced
. ./lib.sh
start
wr l 4096 8192 2 0x41
forced l 4096 32768 1 0x46
status
wr l 4096 40960 1 0x42
forced l 8192 0 2 0x47
status
finish
