# A leg that failed: the regions written since are out of sync.
. ./lib.sh
mirror 14-out-of-sync 2048 64 '2 handle_errors keep_log'
swap leg1 '0 2048 error'
put m 4 9 1 nine; put m 4 100 1 more; sleep 1
{ dmsetup status m; } >>$OUT/$N.status
swap leg1 '0 2048 linear /dev/ram1 0'
end_mirror
