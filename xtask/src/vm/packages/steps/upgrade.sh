echo '# changed by an administrator' >>/etc/governd/policies/default.yaml
dpkg --install /packages/new.deb </dev/null
await runs_version "$(dpkg-query --show --showformat '${Version}' governd)"
is_enforced || fail "not enforced after the upgrade"
tail -n 1 /etc/governd/policies/default.yaml | grep -q administrator || fail "a change is lost"
governd audit verify
# Of the layouts of the tables only the new one is left.
ls "$PINS"/*
[ "$(ls -d "$PINS"/*/v* | wc -l)" -eq 1 ] || fail "two layouts are pinned"
ls -d "$PINS"/*/v2-* >/dev/null || fail "not the new layout"
