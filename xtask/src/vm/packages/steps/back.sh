dpkg --install /packages/old.deb </dev/null
await runs_version "$(dpkg-query --show --showformat '${Version}' governd)"
is_enforced || fail "not enforced after the way back"
ls -d "$PINS"/*/v1-* >/dev/null || fail "not the old layout"
[ "$(ls -d "$PINS"/*/v* | wc -l)" -eq 1 ] || fail "two layouts are pinned"
