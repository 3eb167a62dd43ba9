dpkg --remove governd
reaches "$FORBIDDEN" || fail "something of governd is left in the kernel"
[ ! -e "$PINS" ] || fail "pins are left: $(ls -R "$PINS")"
[ ! -e /run/governd ] || fail "the socket is left"
[ ! -e /usr/bin/governd ] || fail "the program is left"
[ -f /etc/governd/policies/default.yaml ] || fail "a policy is gone"
[ -d /var/lib/governd ] || fail "the log is gone"
[ "$(systemctl show --property LoadState --value governd)" = not-found ] || fail "the unit is left"
