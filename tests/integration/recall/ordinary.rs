//! Programs that are no agents: what runs on every server, each at its work, with names of agents
//! in its arguments and API keys in its environment.
//!
//! In each line `$1` is a directory of its own and `$2` the lab's Python.

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use governd_tests::{
    Lab,
    client::{Client, Family},
    command::Running,
};

/// A program that does something and ends, as a shell's line.
pub(super) struct Passing {
    pub(super) name: &'static str,
    line: &'static str,
}

const fn passing(name: &'static str, line: &'static str) -> Passing {
    Passing { name, line }
}

/// What fails because no registry is in the lab ends with `true`: it has asked, which is what
/// counts.
pub(super) const PASSING: &[Passing] = &[
    passing("apt-get", "apt-get --simulate --yes install nginx"),
    passing(
        "apt-get update",
        "echo 'deb [trusted=yes] http://left.example/debian ./' > $1/list
        mkdir -p $1/lists/partial $1/cache/archives/partial
        apt-get -o Dir::Etc::SourceList=$1/list -o Dir::Etc::SourceParts=- \
            -o Dir::State::Lists=$1/lists -o Dir::Cache=$1/cache update; true",
    ),
    passing("apt-cache", "apt-cache policy nginx"),
    passing("dpkg", "dpkg --list"),
    passing("rpm", "rpm --showrc"),
    passing("python venv", "$2 -m venv --without-pip $1/venv"),
    passing("pip list", "$2 -m pip list --disable-pip-version-check"),
    passing(
        "pip download",
        "$2 -m pip download --no-deps --quiet --retries 0 --index-url https://left.example/simple \
            --dest $1 openai; true",
    ),
    passing("uv", "$(dirname $2)/uv pip list --python $2"),
    passing("npm", "npm --version"),
    passing("npm install", "npm install --offline --prefix $1 @anthropic-ai/claude-code; true"),
    passing("npm view", "npm view codex --registry https://left.example --fetch-retries 0; true"),
    passing("npx", "npx --version"),
    passing("git clone", "git clone --quiet https://left.example/codex $1/codex; true"),
    passing(
        "git",
        "git init --quiet $1/claude && cd $1/claude && echo x > aider && git add aider
        git -c user.name=a -c user.email=b@c commit --quiet --message goose
        git clone --quiet $1/claude $1/cursor && git -C $1/cursor log",
    ),
    passing("curl", "curl --silent --show-error --max-time 9 https://left.example/"),
    passing("curl http", "curl --silent --max-time 9 http://right.example/anthropic/claude"),
    passing("wget", "busybox wget -q -O /dev/null http://left.example/"),
    passing("bash /dev/tcp", "bash -c 'exec 3<> /dev/tcp/left.example/7; echo codex >&3'"),
    passing("openssl", "openssl s_client -connect left.example:443 < /dev/null"),
    passing(
        "python script",
        "echo 'import urllib.request as r; r.urlopen(\"https://left.example/\").read()' > $1/job.py
        $2 $1/job.py",
    ),
    passing("python -c", "timeout 9 $2 -c 'import json; json.dumps(1)'"),
    passing(
        "node script",
        "echo 'require(\"https\").get(\"https://left.example/\", a => a.destroy())' > $1/job.js
        node $1/job.js",
    ),
    passing(
        "perl",
        "perl -MIO::Socket::INET -e 'IO::Socket::INET->new(\"left.example:80\") or die'",
    ),
    passing("getent", "getent ahosts left.example"),
    passing(
        "cc",
        "echo 'int main(void) { return 0; }' > $1/goose.c && cc -o $1/x $1/goose.c && $1/x",
    ),
    passing("ip", "ip address show"),
    passing("nft", "nft --version"),
    passing("bpftool", "bpftool version"),
    passing("tshark", "tshark --version"),
    passing("systemd-analyze", "systemd-analyze calendar daily"),
    passing("jq", "echo '{\"claude\": 1}' | jq .claude"),
    passing("tar", "tar --create --file $1/ollama.tar --directory /etc hostname"),
    passing("gzip", "echo gemini > $1/gemini && gzip $1/gemini"),
    passing("find", "find $1 -name opencode"),
    passing("grep", "grep -r langchain $1; true"),
    passing("sed", "sed -n 1p /etc/hostname"),
    passing("awk", "awk 'END {}' /etc/hostname"),
    passing("sort", "sort /etc/passwd"),
    passing("cat", "cat /etc/hostname codex; true"),
    passing("bash", "bash -c 'echo gemini'"),
    passing("date", "date"),
    passing("ssh-keygen", "ssh-keygen -q -t ed25519 -N '' -f $1/claude"),
    passing("logger", "logger --server 127.0.0.1 --port 9 --udp crewai"),
];

impl Passing {
    /// Runs it to its end, which must be a good one.
    pub(super) fn run(&self, lab: &Lab) -> Result<()> {
        let finished = client(lab, &lab.directory("passing")?, self.line).run()?;
        ensure!(finished.code == Some(0), "{}: {finished}", self.name);
        Ok(())
    }
}

/// A program that stays: how it is started, and what shows that it does its work.
pub(super) struct Staying {
    pub(super) name: &'static str,
    line: &'static str,
    proof: &'static str,
}

/// Some listen where model servers and agents' pages do, too.
pub(super) const STAYING: &[Staying] = &[
    Staying {
        name: "nginx",
        line: "echo 'events {} http { access_log off; server { listen 127.0.0.1:8080; } }' > $1/conf
            exec nginx -p $1 -c $1/conf -g 'daemon off; pid nginx.pid; error_log stderr;'",
        proof: "curl --silent http://127.0.0.1:8080/",
    },
    Staying {
        name: "python -m http.server",
        line: "exec $2 -m http.server --directory $1 8000",
        proof: "curl --silent --fail http://127.0.0.1:8000/",
    },
    Staying {
        name: "node server",
        line: "exec node -e 'require(\"http\").createServer((_, a) => a.end(\"x\")).listen(3000)'",
        proof: "curl --silent --fail http://127.0.0.1:3000/",
    },
    Staying {
        name: "busybox httpd",
        line: "echo x > $1/index.html; exec busybox httpd -f -p 127.0.0.1:5000 -h $1",
        proof: "curl --silent --fail http://127.0.0.1:5000/",
    },
    Staying {
        name: "dnsmasq",
        line: "exec dnsmasq --keep-in-foreground --no-resolv --no-hosts --port=18053 \
            --listen-address=127.0.0.1 --bind-interfaces --conf-file=/dev/null --pid-file=",
        proof: "bash -c ': < /dev/tcp/127.0.0.1/18053'",
    },
    Staying {
        name: "nats-server",
        line: "exec nats-server --addr 127.0.0.1 --port 18222",
        proof: "bash -c 'read -t 2 line < /dev/tcp/127.0.0.1/18222 && [ \"${line%% *}\" = INFO ]'",
    },
    Staying {
        name: "rsyslogd",
        line: "printf '%s\\n' 'module(load=\"imudp\")' \
            'input(type=\"imudp\" address=\"127.0.0.1\" port=\"18514\")' \
            \"*.* action(type=\\\"omfile\\\" file=\\\"$1/log\\\")\" > $1/conf
            exec rsyslogd -n -f $1/conf -i $1/pid",
        proof: "logger --server 127.0.0.1 --port 18514 --udp hello; grep -q hello $1/log",
    },
    // What the host's own crontabs say is not run.
    Staying {
        name: "cron",
        line: "mount -t tmpfs none /run && mount -t tmpfs none /var/spool/cron || exit 1
            mount -t tmpfs -o mode=755 none /etc/cron.d || exit 1
            mkdir /var/spool/cron/crontabs; : > $1/none; mount --bind $1/none /etc/crontab
            echo \"@reboot root curl --silent http://left.example/ > $1/ran\" > /etc/cron.d/lab
            exec cron -f",
        proof: "[ -s $1/ran ]",
    },
    Staying {
        name: "sshd",
        line: "mount -t tmpfs -o mode=755 none /run && mkdir /run/sshd || exit 1
            ssh-keygen -q -t ed25519 -N '' -f $1/host && ssh-keygen -q -t ed25519 -N '' -f $1/user
            exec /usr/sbin/sshd -D -f /dev/null -h $1/host -o Port=18122 -o UsePAM=no \
                -o ListenAddress=127.0.0.1 -o PidFile=none -o StrictModes=no \
                -o AuthorizedKeysFile=$1/user.pub",
        proof: "ssh -i $1/user -p 18122 -o BatchMode=yes -o StrictHostKeyChecking=no \
            -o UserKnownHostsFile=/dev/null root@127.0.0.1 \
            curl --silent --fail --max-time 9 http://left.example/",
    },
    Staying { name: "tail", line: "exec tail -f /etc/hostname", proof: "true" },
    Staying {
        name: BROWSER,
        // Debian's start script goes by `HOME`. The lab's authority is not among the browser's.
        line: "exec chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
            --disable-background-networking --disable-component-update --disable-sync \
            --disable-dev-shm-usage --ignore-certificate-errors --remote-debugging-port=0 \
            --user-data-dir=$1/profile https://chatgpt.com/",
        proof: "read port < $1/profile/DevToolsActivePort
            curl --silent http://127.0.0.1:$port/json/list | grep -q '\"url\": \"https://chatgpt.com'",
    },
];

/// Visits a chat page; reported as what it is.
pub(super) const BROWSER: &str = "chromium";

impl Staying {
    /// Starts it, and waits until it has done something.
    pub(super) fn start(&self, lab: &Lab) -> Result<Running> {
        let directory = lab.directory("staying")?;
        let mut running = client(lab, &directory, self.line).start()?;
        let proof = format!("until {{ {}\n}} > $1/said 2>&1; do sleep 0.1; done", self.proof);
        let finished = client(lab, &directory, &proof).run();
        if finished.is_ok_and(|finished| finished.code == Some(0)) {
            return Ok(running);
        }
        let Err(said) = running.line(Duration::ZERO, |_| false) else { return Ok(running) };
        Err(said.context(format!("{} does not do its work", self.name)))
    }
}

fn client(lab: &Lab, directory: &Path, line: &str) -> Client {
    lab.client(Family::V4, "sh")
        .args(["-c", line, "sh"])
        .args([directory.to_owned(), lab.tools().agent()])
        .variable("HOME", directory)
}
