//! Command lines of interpreters and launchers: what do they run?

use super::entry::Ecosystem;

/// A command line, taken apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Command<'a> {
    /// File name of the first word.
    pub program: &'a str,
    /// What it was told to run, if it is an interpreter or launcher.
    pub target: Option<Target<'a>>,
}

/// What an interpreter or launcher runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target<'a> {
    /// A file.
    Script(&'a str),
    /// A module of Python.
    Module(&'a str),
    /// A main class of Java, or the module that has one.
    Class(&'a str),
    /// A package.
    Package(Ecosystem, &'a str),
    /// Code in the command line.
    Inline,
}

/// Options of interpreters that take the next argument.
const PYTHON_VALUES: &[&str] = &["-W", "-X", "--check-hash-based-pycs"];
const NODE_VALUES: &[&str] =
    &["-r", "--require", "--import", "--loader", "--experimental-loader", "--env-file", "-C"];
const DENO_VALUES: &[&str] = &[
    "-c",
    "--config",
    "--import-map",
    "--cert",
    "--location",
    "--seed",
    "--ext",
    "-L",
    "--log-level",
    "--preload",
    "--import",
];
const BUN_VALUES: &[&str] = &[
    "-r",
    "--preload",
    "--require",
    "--import",
    "--cwd",
    "-c",
    "--config",
    "--env-file",
    "--conditions",
    "-d",
    "--define",
    "-l",
    "--loader",
    "-F",
    "--filter",
];
const JAVA_VALUES: &[&str] = &[
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "--add-modules",
    "--add-exports",
    "--add-opens",
    "--add-reads",
    "--limit-modules",
    "--patch-module",
    "--enable-native-access",
    "--source",
];
const DOTNET_VALUES: &[&str] = &[
    "--additionalprobingpath",
    "--additional-deps",
    "--depsfile",
    "--fx-version",
    "--roll-forward",
    "--runtimeconfig",
];
const LAUNCHER_VALUES: &[&str] = &[
    "-p",
    "--python",
    "--with",
    "--with-editable",
    "--index",
    "--index-url",
    "--directory",
    "--registry",
    "--cache",
    "--prefix",
    "--cwd",
];

/// Long options of container engines that take no value.
const CONTAINER_FLAGS: &[&str] = &[
    "--detach",
    "--init",
    "--interactive",
    "--no-healthcheck",
    "--oom-kill-disable",
    "--privileged",
    "--publish-all",
    "--quiet",
    "--read-only",
    "--replace",
    "--rm",
    "--rmi",
    "--tty",
];

impl<'a> Command<'a> {
    /// Takes a command line apart; the first word is the program.
    pub fn parse(args: &'a [String]) -> Self {
        let program = args.first().map_or("", |first| file_name(first));
        let rest = args.get(1..).unwrap_or_default();
        let target = target(program, rest);
        Self { program, target: target.map(|target| launched(target, rest)) }
    }

    /// The image that a command line starts a container of.
    pub fn container_image(args: &[String]) -> Option<&str> {
        let mut args = args.iter();
        let program = args.next().map_or("", |first| file_name(first));
        if !matches!(program, "docker" | "podman" | "nerdctl") {
            return None;
        }
        match args.next()?.as_str() {
            "run" => {}
            // The same verb by its noun.
            "container" if args.next()? == "run" => {}
            _ => return None,
        }
        while let Some(argument) = args.next() {
            if !argument.starts_with('-') {
                return Some(argument);
            }
            let is_short = !argument.starts_with("--");
            let is_alone = match is_short {
                // `-it`, and `-p8000:8000` with its value.
                true => argument.chars().last().is_some_and(|last| "itdPq".contains(last)),
                false => CONTAINER_FLAGS.contains(&argument.as_str()) || argument.contains('='),
            };
            if !is_alone && (!is_short || argument.len() == 2) {
                args.next();
            }
        }
        None
    }

    /// The npm package whose directory holds a file.
    pub fn npm_package_of(path: &str) -> Option<&str> {
        let (_, inside) = path.rsplit_once("/node_modules/")?;
        let mut ends = inside.match_indices('/').map(|(at, _)| at);
        let first = ends.next()?;
        let end = if inside.starts_with('@') { ends.next()? } else { first };
        inside.get(..end).filter(|name| !name.starts_with('.'))
    }
}

fn target<'a>(program: &str, args: &'a [String]) -> Option<Target<'a>> {
    let is_python = program.starts_with("python") || program.starts_with("pypy");
    match program {
        _ if is_python => python(args),
        "node" | "nodejs" | "electron" | "tsx" | "ts-node" => {
            script(args, NODE_VALUES, &["-e", "-p", "--eval"])
        }
        "bun" => match words(args).next() {
            Some("x") => package(args, 1, Ecosystem::Npm),
            Some("run") => script(after(args, "run")?, BUN_VALUES, BUN_INLINE),
            _ => script(args, BUN_VALUES, BUN_INLINE),
        },
        "deno" => match args.iter().map(String::as_str).find(|arg| !arg.starts_with('-')) {
            Some("x") => package(args, 1, Ecosystem::Npm),
            Some(verb @ ("run" | "serve" | "watch")) => {
                script(after(args, verb)?, DENO_VALUES, &[]).map(of_registry)
            }
            Some("eval") => Some(Target::Inline),
            // A file may stand for `run`; a task, a test or a tool of its own is none.
            Some(file) if file.contains(['.', ':']) => {
                script(args, DENO_VALUES, &[]).map(of_registry)
            }
            _ => None,
        },
        "java" => java(args),
        "dotnet" => dotnet(args),
        "npx" | "bunx" => package(args, 0, Ecosystem::Npm),
        "npm" | "pnpm" | "yarn" => match words(args).next() {
            Some("exec" | "x" | "dlx") => package(args, 1, Ecosystem::Npm),
            _ => None,
        },
        "uvx" => package(args, 0, Ecosystem::Pypi),
        "uv" => match (words(args).next(), words(args).nth(1)) {
            (Some("tool"), Some("run")) => package(args, 2, Ecosystem::Pypi),
            (Some("run"), Some(first)) if first.starts_with("python") => {
                let at = args.iter().position(|arg| arg == first)?;
                python(args.get(at + 1..)?)
            }
            (Some("run"), Some(first)) => Some(Target::Script(first)),
            _ => None,
        },
        "pipx" => match words(args).next() {
            Some("run") => package(args, 1, Ecosystem::Pypi),
            _ => None,
        },
        "sh" | "bash" | "dash" | "zsh" | "ruby" | "perl" => script(args, &[], &["-c", "-e"]),
        _ => None,
    }
}

/// What a launcher runs that is itself a script of an interpreter, such as `node /usr/bin/npx`.
fn launched<'a>(first: Target<'a>, args: &'a [String]) -> Target<'a> {
    let Target::Script(script) = first else { return first };
    let program = match file_name(script) {
        "npx-cli.js" => "npx",
        "npm-cli.js" => "npm",
        name @ ("npx" | "npm" | "pnpm" | "yarn" | "pipx" | "uvx") => name,
        _ => return first,
    };
    let at = args.iter().position(|argument| argument == script);
    at.and_then(|at| target(program, args.get(at + 1..)?)).unwrap_or(first)
}

fn python(args: &[String]) -> Option<Target<'_>> {
    let mut args = args.iter();
    while let Some(argument) = args.next() {
        if argument == "-m" {
            return args.next().map(|module| Target::Module(module));
        }
        // Options of one letter can be written together: `-um module`.
        if argument.starts_with('-') && !argument.starts_with("--") && argument.ends_with('m') {
            return args.next().map(|module| Target::Module(module));
        }
        if argument == "-c" || argument == "-" {
            return Some(Target::Inline);
        }
        if PYTHON_VALUES.contains(&argument.as_str()) {
            args.next();
        } else if !argument.starts_with('-') {
            return Some(Target::Script(argument));
        }
    }
    None
}

fn script<'a>(args: &'a [String], values: &[&str], inline: &[&str]) -> Option<Target<'a>> {
    let mut args = args.iter();
    while let Some(argument) = args.next() {
        if inline.contains(&argument.as_str()) {
            return Some(Target::Inline);
        }
        if values.contains(&argument.as_str()) {
            args.next();
        } else if !argument.starts_with('-') {
            return Some(Target::Script(argument));
        }
    }
    None
}

const BUN_INLINE: &[&str] = &["-e", "--eval", "-p", "--print"];

/// What stands behind a verb.
fn after<'a>(args: &'a [String], verb: &str) -> Option<&'a [String]> {
    let at = args.iter().position(|argument| argument == verb)?;
    args.get(at + 1..)
}

/// A program of Java (java(1)): a file, a class or a module that has one.
fn java(args: &[String]) -> Option<Target<'_>> {
    let mut args = args.iter();
    while let Some(argument) = args.next() {
        match argument.as_str() {
            "-jar" => return args.next().map(|jar| Target::Script(jar)),
            "-m" | "--module" => return args.next().map(|module| Target::Class(module)),
            option if JAVA_VALUES.contains(&option) => drop(args.next()),
            // Options may also stand in files.
            option if option.starts_with(['-', '@']) => {}
            file if file.ends_with(".java") => return Some(Target::Script(file)),
            class => return Some(Target::Class(class)),
        }
    }
    None
}

/// A program of .NET, by its file; what else the command does is its own.
fn dotnet(args: &[String]) -> Option<Target<'_>> {
    let mut args = args.iter();
    while let Some(argument) = args.next() {
        if DOTNET_VALUES.contains(&argument.as_str()) {
            args.next();
        } else if !argument.starts_with('-') && argument != "exec" {
            let is_program = [".dll", ".exe", ".cs"].iter().any(|end| argument.ends_with(end));
            return is_program.then_some(Target::Script(argument));
        }
    }
    None
}

/// Deno names what is no file by its registry.
fn of_registry(target: Target<'_>) -> Target<'_> {
    match target {
        Target::Script(script) => script
            .strip_prefix("npm:")
            .map_or(target, |package| Target::Package(Ecosystem::Npm, package)),
        _ => target,
    }
}

/// The package that a launcher runs, after `skip` words.
fn package(args: &[String], skip: usize, ecosystem: Ecosystem) -> Option<Target<'_>> {
    let is_package = |arg: &String| match arg.as_str() {
        "--from" | "--package" | "--spec" => true,
        // Of uvx it is the version of Python.
        "-p" => ecosystem == Ecosystem::Npm,
        _ => false,
    };
    // Behind the first word are the options of what is launched.
    let first = words(args).nth(skip);
    let is_first = |arg: &String| first.is_some_and(|first| std::ptr::eq(first, arg.as_str()));
    let end = args.iter().position(is_first).unwrap_or(args.len());
    let args = args.get(..=end).unwrap_or(args);
    let named = args.iter().position(is_package);
    let package = match named.and_then(|at| args.get(at + 1)) {
        Some(package) => package,
        None => args
            .iter()
            .find_map(|arg| arg.strip_prefix("--package=").or(arg.strip_prefix("--from=")))
            .or(first)?,
    };
    Some(Target::Package(ecosystem, package))
}

/// Arguments that are neither options nor their values.
fn words(args: &[String]) -> impl Iterator<Item = &str> {
    let mut is_value = false;
    args.iter().map(String::as_str).filter(move |argument| {
        let is_word = !is_value && !argument.starts_with('-');
        is_value = LAUNCHER_VALUES.contains(argument);
        is_word
    })
}

pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_name_what_they_run() {
        let npm = |name| Some(Target::Package(Ecosystem::Npm, name));
        let pypi = |name| Some(Target::Package(Ecosystem::Pypi, name));
        let rows: &[(&str, Option<Target<'_>>)] = &[
            ("python3 -u -m crewai run", Some(Target::Module("crewai"))),
            ("/usr/bin/python3.11 -um mcp_server_git", Some(Target::Module("mcp_server_git"))),
            ("python3 -X dev /srv/agent.py --x", Some(Target::Script("/srv/agent.py"))),
            ("python3 -c print", Some(Target::Inline)),
            ("python3", None),
            ("node --require x /usr/bin/claude", Some(Target::Script("/usr/bin/claude"))),
            (
                "npx -y @modelcontextprotocol/server-filesystem /tmp",
                npm("@modelcontextprotocol/server-filesystem"),
            ),
            ("npx --package=cowsay moo", npm("cowsay")),
            ("npx -y -p @openai/codex codex exec", npm("@openai/codex")),
            ("deno run -A npm:@acme/mcp --x", npm("@acme/mcp")),
            ("npx tsc -p x", npm("tsc")),
            ("deno run server.ts", Some(Target::Script("server.ts"))),
            ("node /usr/bin/npx -y @openai/codex", npm("@openai/codex")),
            ("node /x/npm-cli.js exec cowsay", npm("cowsay")),
            ("node /usr/bin/npm install x", Some(Target::Script("/usr/bin/npm"))),
            ("npm exec -y @playwright/mcp@latest", npm("@playwright/mcp@latest")),
            ("npm install x", None),
            ("bun x opencode-ai", npm("opencode-ai")),
            ("bun run /a/b.ts", Some(Target::Script("/a/b.ts"))),
            ("uvx --from git+https://x/y serena", pypi("git+https://x/y")),
            ("uvx --python 3.12 mcp-server-time", pypi("mcp-server-time")),
            ("uv tool run ruff", pypi("ruff")),
            ("uv run python -m agent", Some(Target::Module("agent"))),
            ("uv run agent.py", Some(Target::Script("agent.py"))),
            ("pipx run aider-chat", pypi("aider-chat")),
            ("bash /usr/local/bin/claude", Some(Target::Script("/usr/local/bin/claude"))),
            ("deno run --config d.json -r -A main.ts", Some(Target::Script("main.ts"))),
            ("deno serve --port=8000 main.ts", Some(Target::Script("main.ts"))),
            ("deno main.ts run", Some(Target::Script("main.ts"))),
            ("deno npm:@acme/mcp", npm("@acme/mcp")),
            ("deno task start", None),
            ("deno eval 1", Some(Target::Inline)),
            ("bun --cwd /srv run agent.ts", Some(Target::Script("agent.ts"))),
            ("bun agent.ts", Some(Target::Script("agent.ts"))),
            ("bun --print 1", Some(Target::Inline)),
            ("java -Xmx1g -cp a:b -jar /opt/bot.jar run", Some(Target::Script("/opt/bot.jar"))),
            ("/opt/jdk/bin/java -cp a.jar com.acme.Bot x", Some(Target::Class("com.acme.Bot"))),
            ("java --add-opens x/y=z @more -m acme/acme.Bot", Some(Target::Class("acme/acme.Bot"))),
            ("java Bot.java", Some(Target::Script("Bot.java"))),
            ("java -version", None),
            ("java -jar", None),
            ("dotnet Bot.dll -jar x", Some(Target::Script("Bot.dll"))),
            ("dotnet exec --depsfile x.json /srv/Bot.dll", Some(Target::Script("/srv/Bot.dll"))),
            ("dotnet build Bot.csproj", None),
            ("dotnet --info", None),
            ("nginx -g x", None),
            ("", None),
        ];
        for (line, expected) in rows {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(Command::parse(&args).target, *expected, "{line}");
        }
        assert_eq!(Command::parse(&[]), Command { program: "", target: None });
    }

    #[test]
    fn a_container_is_of_an_image() {
        let rows = [
            ("docker run mcp/fetch", Some("mcp/fetch")),
            ("/usr/bin/docker run -i --rm -e A=b mcp/fetch --x y", Some("mcp/fetch")),
            ("podman run -it --name web-mcp -v /opt/mcp/x:/x --env=A nginx", Some("nginx")),
            ("docker run -p8000:8000 --gpus all -d vllm/vllm-openai", Some("vllm/vllm-openai")),
            ("docker container run --rm vllm/vllm-openai", Some("vllm/vllm-openai")),
            ("docker container ls vllm/vllm-openai", None),
            ("docker run", None),
            ("docker run -v", None),
            ("docker ps mcp/fetch", None),
            ("run docker x", None),
            ("", None),
        ];
        for (line, expected) in rows {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(Command::container_image(&args), expected, "{line}");
        }
    }

    #[test]
    fn a_file_below_node_modules_has_a_package() {
        let rows = [
            (
                "/usr/lib/node_modules/@anthropic-ai/claude-code/cli.js",
                Some("@anthropic-ai/claude-code"),
            ),
            ("/x/node_modules/a/node_modules/b/bin/x", Some("b")),
            ("/x/node_modules/.bin/x", None),
            ("/x/node_modules/a", None),
            ("/x/y", None),
        ];
        for (path, expected) in rows {
            assert_eq!(Command::npm_package_of(path), expected, "{path}");
        }
    }
}
