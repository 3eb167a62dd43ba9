# 3.0 of 10, in tenths; systemd-analyze fails above it.
systemd-analyze security --no-pager --threshold=30 governd.service | tail -n 3
[ "$(systemctl show --property Type --value governd)" = notify ] || fail "no notification"
[ "$(systemctl show --property WatchdogUSec --value governd)" = 1min ] || fail "no watchdog"
