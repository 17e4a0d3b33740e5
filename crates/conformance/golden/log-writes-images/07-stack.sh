# Devices above: their offsets, their flushes, a snapshot's store with its flush-and-force writes.
NAME=07-stack
. ./lib.sh
start
dmsetup create d --table "0 1024 delay $M/l 64 0 $M/l 64 4"
wr d 4096 0 1 0x41
flush d
forced d 4096 8192 1 0x42
dmsetup remove d
dmsetup create f --table "0 1024 flakey $M/l 1024 1 0"
wr f 4096 0 1 0x43
flush f
dmsetup remove f
dmsetup create n --table "0 1024 linear $M/l 2048"
wr n 4096 0 1 0x44
flush n
forced n 4096 8192 1 0x45
dmsetup remove n
printf "0 512 linear $M/l 4096\n512 512 linear $M/l 5120\n" >$T/table
dmsetup create c $T/table
wr c 8192 258048 1 0x46
flush c
dmsetup remove c
dmsetup create o --table "0 1024 linear $M/l 6144"
dmsetup create s --table "0 2048 snapshot /dev/ram2 $M/o P 8"
wr s 4096 4096 1 0x47
flush s
wr s 512 9216 1 0x48
dmsetup remove s
dmsetup remove o
status
finish
