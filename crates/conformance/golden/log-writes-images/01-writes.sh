# Writes of many sizes that are never flushed: the end of the table does it.
NAME=01-writes
. ./lib.sh
start
wr l 512 2560 3 0x11
wr l 4096 65536 2 0x22
wr l 65536 131072 1 0x33
wr l 1048576 1048576 1 0x44
wr l 4096 0 1 0x55
wr l 512 2560 1 0x66
status
finish
