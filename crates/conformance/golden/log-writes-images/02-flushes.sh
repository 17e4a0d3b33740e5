# Flushes bring what was completed before them into the log.
NAME=02-flushes
. ./lib.sh
start
flush l
wr l 4096 8192 2 0x41
status
flush l
status
flush l
wr l 4096 4096 1 0x42
wr l 4096 8192 1 0x43
status
finish
