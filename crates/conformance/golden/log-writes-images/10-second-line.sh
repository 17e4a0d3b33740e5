# Sectors in the log are those of the mapped device, whatever the line it is in; so is where the data go.
NAME=10-second-line
. ./lib.sh
dmsetup create log --table "0 $LS linear /dev/ram1 0"
printf "0 64 linear /dev/ram2 0\n64 1024 log-writes /dev/ram0 $M/log\n" >$T/table
dmsetup create l $T/table
wr l 4096 0 10 0x41
flush l
status
finish
