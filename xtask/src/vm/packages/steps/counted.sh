rm /run/load
ended() { [ -s /run/load.txt ] && ! systemctl is-active --quiet load; }
await ended
cat /run/load.txt
read -r _ tried _ passed _ refused </run/load.txt
[ "$tried" -gt 100 ] || fail "no load"
[ "$passed" -eq 0 ] || fail "something got through"
[ "$refused" -eq 0 ] || fail "something allowed was refused"
rm /run/load.txt
