# A log whose regions have all been copied.
. ./lib.sh
mirror 11-mirror 2048 64
put m 4 9 1 nine; sleep 1
end_mirror
