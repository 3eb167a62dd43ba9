# Shadow agents on a host that was never prepared for it: one is older than the daemon and one younger,
# and an ordinary program is neither.
set -eu
GOVERND=$1
PATIENCE=1800

mkdir -p /opt/agents /opt/policies
for name in aider opencode ordinary; do cp -L /usr/bin/python3 "/opt/agents/$name"; done
printf '%s\n' 'apiVersion: governd.dev/v1' 'kind: HostPolicy' 'metadata: {name: default}' 'spec: {mode: monitor}' \
    > /opt/policies/host.yaml

begin() {
    OPENAI_API_KEY=none "/opt/agents/$1" -c 'import time; time.sleep(100000)' &
}

listed() {
    "$GOVERND" agents --state shadow | grep -q "$1"
}

begin aider
older=$!
/opt/agents/ordinary -c 'import time; time.sleep(100000)' &
ordinary=$!
"$GOVERND" run --policy /opt/policies --state-dir /opt/state > /opt/daemon.log 2>&1 &
daemon=$!
deadline=$(($(date +%s) + PATIENCE))
until "$GOVERND" status > /dev/null 2>&1; do
    [ "$(date +%s)" -lt "$deadline" ] || { cat /opt/daemon.log; exit 1; }
    sleep 0.5
done
begin opencode
younger=$!
for name in aider opencode; do
    begun=$(date +%s)
    until listed "$name"; do
        if [ "$(date +%s)" -ge "$deadline" ]; then
            "$GOVERND" agents --candidates
            cat /opt/daemon.log
            exit 1
        fi
        sleep 0.2
    done
    echo "found $name after $(($(date +%s) - begun)) s"
done
if listed ordinary; then
    echo "an ordinary program is called an agent"
    exit 1
fi
kill "$older" "$younger" "$ordinary" "$daemon"
wait || true
