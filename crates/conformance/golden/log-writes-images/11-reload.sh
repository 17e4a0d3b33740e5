# The table is loaded again: a new log from the front, when the old one has ended.
NAME=11-reload
. ./lib.sh
start
wr l 4096 0 3 0x41
mark old
dmsetup load l --table "0 $DS log-writes /dev/ram0 $M/log"
dmsetup suspend l
dmsetup resume l
status
wr l 4096 16384 1 0x42
finish
