# Discards have a length but no data.
NAME=04-discards
. ./lib.sh
start
wr l 65536 0 2 0x41
trim l 8192 65536
wr l 4096 12288 1 0x42
trim l 0 4096
flush l
trim l 0 4194304
status
finish
