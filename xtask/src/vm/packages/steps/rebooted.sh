# Nothing was asked of the daemon since the host came up, and no policy was in the kernel before.
await is_active
# It may ask only now.
await grep -q "^$FORBIDDEN" /run/early.txt
cat /run/early.txt
grep -q "^$ALLOWED refused" /run/early.txt || fail "the agent was not in quarantine when the network came"
grep -q "^$FORBIDDEN refused" /run/early.txt || fail "not enforced when the network came"
since() { systemctl show --property "$2" --value "$1"; }
ready=$(since governd.service ActiveEnterTimestampMonotonic)
network=$(since network-pre.target ActiveEnterTimestampMonotonic)
echo "ready at $ready us, the network not before $network us"
[ "$ready" -gt 0 ] && [ "$ready" -le "$network" ] || fail "the network does not wait for the policy"
governd status
