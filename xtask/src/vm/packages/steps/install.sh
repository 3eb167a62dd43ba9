dpkg --install /packages/old.deb
[ "$(systemctl is-enabled governd)" = enabled ] || fail "the service is not enabled"
await is_active
getent group governd >/dev/null || fail "no group"
[ "$(stat -c %a /var/lib/governd)" = 700 ] || fail "others may read the log"
[ -f /usr/share/man/man1/governd.1.gz ] || fail "no manual"
dpkg-query --show --showformat '${Conffiles}\n' governd | grep -q default.yaml || fail "no conffile"
governd status
governd policy check /etc/governd/policies
# The host as it was: monitor mode stops nothing.
ip address add "$ALLOWED/32" dev lo
ip address add "$FORBIDDEN/32" dev lo
mkdir -p "$(dirname "$AGENT")"
cp -L /usr/bin/python3 "$AGENT"
reaches "$FORBIDDEN" || fail "something is stopped by an installation"
