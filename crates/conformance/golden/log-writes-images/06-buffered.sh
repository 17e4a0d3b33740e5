# What the page cache writes, and its flushes.
NAME=06-buffered
. ./lib.sh
start
buffered l 16 64 p
mark one
buffered l 3 2 q
buffered l 100 1 r
status
finish
