# Marks don't wait for anybody.
NAME=05-marks
. ./lib.sh
start
mark first
wr l 4096 4096 1 0x41
mark 'not\ flushed'
flush l
mark flushed
mark $(head -c 600 /dev/zero | tr '\0' m)
wr l 4096 0 1 0x42
mark x
status
finish
