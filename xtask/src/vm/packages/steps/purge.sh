# Installed once more, it goes on with the policy that stayed; then it is purged in one step.
dpkg --install /packages/old.deb </dev/null
await is_active
await is_enforced
dpkg --purge governd
reaches "$FORBIDDEN" || fail "something of governd is left in the kernel"
if getent group governd; then fail "the group is left"; fi
left=$(find / -xdev -name '*governd*' -not -path '/proc/*' -not -path '/governd-vm*' -not -path '/var/log/*' \
    -not -path '/sys/*' -not -path '/packages/*' -not -name 'governd-vm.service' -not -name governd.service.d)
[ -z "$left" ] || fail "left: $left"
[ ! -e "$PINS" ] || fail "pins are left"
[ ! -e /etc/governd ] || fail "policies are left"
[ ! -e /var/lib/governd ] || fail "the log is left"
if dpkg-query --show governd 2>/dev/null; then fail "dpkg still knows it"; fi
