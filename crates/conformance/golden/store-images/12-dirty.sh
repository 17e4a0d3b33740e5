# A log as it is while two regions are being written.
. ./lib.sh
mirror 12-dirty 2048 64
dmsetup suspend --noflush leg1
put m 4 9 1 nine & put m 4 200 1 more & sleep 1
save log
dmsetup resume leg1; wait; sleep 1
say m leg0 leg1; dmsetup remove m; dmsetup remove log; dmsetup remove leg0; dmsetup remove leg1
