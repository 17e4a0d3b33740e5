# A device that nobody writes to.
NAME=00-fresh
. ./lib.sh
start
finish
