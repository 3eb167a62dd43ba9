OPENAI_API_KEY=none "$AGENT" -c 'import time; time.sleep(1000)' &
agent=$!
begun=$(date +%s)
while [ $(($(date +%s) - begun)) -lt "$PATIENCE" ]; do
    if governd agents --state shadow | grep aider; then
        took=$(($(date +%s) - begun))
        echo "listed after $took s"
        kill "$agent"
        [ "$took" -le 10 ] || fail "listed too late"
        exit 0
    fi
    sleep 0.2
done
governd agents --candidates
fail "not listed"
