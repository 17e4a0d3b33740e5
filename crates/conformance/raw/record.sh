# Records what Linux says to the programs and scripts of this folder. From here, with a C compiler that links statically:
#
#     mkdir in; for c in blocks ioctls listen; do musl-gcc -static -O1 -o in/$c $c.c; done; cp *.sh in/
#     cargo xtask oracle run record.sh -i in -o out -t 500; cp out/*.out out/*.klog .
cp /job/in/blocks /job/in/ioctls /job/in/listen /tmp/
chmod +x /tmp/blocks /tmp/ioctls /tmp/listen
cd /tmp
export BLOCKS=/tmp/blocks
/tmp/listen >/tmp/heard &
export EVENTS='sleep 0.3; cat /tmp/heard'
for name in ioctls attributes suspend uevents; do
  dmesg -c >/dev/null
  case $name in
    ioctls) /tmp/ioctls ;;
    *) sh /job/in/$name.sh ;;
  esac >/job/out/$name.out 2>&1
  dmesg -s 1000000 | sed 's/^\[ *[0-9.]*\] //' >/job/out/$name.klog
  # How many of these are logged is a matter of speed.
  [ $name = attributes ] && sed -i '/^[Bb]uffer.[Ii]/d' /job/out/$name.klog
done
