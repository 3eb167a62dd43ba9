# A daemon that hangs is killed by systemd and started again; what it enforces goes on.
hung=$(main_pid)
kill -STOP "$hung"
is_enforced || fail "not enforced while the daemon hangs"
await runs_instead_of "$hung"
is_enforced || fail "not enforced after the restart"
[ "$(systemctl show --property NRestarts --value governd)" -ge 1 ] || fail "no restart counted"
