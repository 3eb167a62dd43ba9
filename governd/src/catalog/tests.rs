use super::*;

fn catalog() -> &'static Catalog {
    static CATALOG: std::sync::LazyLock<Catalog> = std::sync::LazyLock::new(Catalog::built_in);
    &CATALOG
}

fn host(name: &str) -> String {
    catalog().lookup_host(name).map_or("-".to_owned(), |entry| {
        let shared = if entry.is_shared { " shared" } else { "" };
        format!("{} {}{shared}", entry.provider, entry.kind.word())
    })
}

fn names(found: Vec<&Runtime>) -> Vec<String> {
    let mut names: Vec<String> = found.iter().map(|entry| entry.name.to_string()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn args(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn the_built_in_files_have_no_errors_and_are_large_enough() {
    let (entries, errors) = parse::files(&BUILT_IN);
    assert_eq!(errors, []);
    let providers: std::collections::HashSet<_> =
        entries.endpoints.iter().map(|entry| &entry.provider).collect();
    let products: std::collections::HashSet<_> =
        entries.runtimes.iter().map(|entry| &entry.name).collect();
    assert!(entries.endpoints.len() >= 1_000 && providers.len() >= 300);
    assert!(entries.runtimes.len() >= 1_000 && products.len() >= 300);
    let mut keys: Vec<_> =
        entries.endpoints.iter().map(|entry| (&entry.domain, entry.matching)).collect();
    keys.sort_unstable();
    let before = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), before, "a domain is listed twice");
}

#[test]
fn hosts_match_exact_then_pattern_then_the_longest_suffix() {
    let rows = [
        ("api.openai.com", "openai model-api"),
        ("API.OpenAI.com.", "openai model-api"),
        ("api.anthropic.com", "anthropic model-api"),
        ("anything.anthropic.com", "anthropic agent-saas"),
        ("statsig.anthropic.com", "anthropic telemetry"),
        ("xapi.openai.com.evil.example", "-"),
        ("notopenai.com", "-"),
        ("api.mistral.ai", "mistral model-api"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "aws-bedrock model-api"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "aws-bedrock model-api"),
        ("bedrock-runtime.amazonaws.com", "-"),
        ("s3.us-east-1.amazonaws.com", "-"),
        ("vpce-1a-2b.bedrock-runtime.eu-west-1.vpce.amazonaws.com", "aws-bedrock model-api"),
        ("us-central1-aiplatform.googleapis.com", "google-vertex model-api"),
        ("aiplatform.googleapis.com", "google-vertex model-api"),
        // The same service by its names for mutual TLS, private access and dedicated endpoints.
        ("us-central1-aiplatform.mtls.googleapis.com", "google-vertex model-api"),
        ("aiplatform.us-central1.p.rep.googleapis.com", "google-vertex model-api"),
        ("7.us-central1-42.prediction.vertexai.goog", "google-vertex model-api"),
        ("private.us-south.ml.cloud.ibm.com", "ibm-watsonx model-api"),
        ("api.ap-south-1.aws.wxai.ibm.com", "ibm-watsonx model-api"),
        ("vpce-1-a.runtime.sagemaker.us-east-1.vpce.amazonaws.com", "aws-sagemaker model-api"),
        ("vpce-1-a.gateway.bedrock-agentcore.us-east-1.vpce.amazonaws.com", "aws-bedrock tool-mcp"),
        ("vpce-1-a.s3.us-east-1.vpce.amazonaws.com", "-"),
        ("eastus.dynamicsessions.io", "azure-container-apps code-exec-sandbox"),
        ("westus2.voice.speech.microsoft.com", "azure-speech model-api shared"),
        ("mcp.us5.datadoghq.com", "datadoghq tool-mcp"),
        ("gmailmcp.googleapis.com", "google tool-mcp"),
        ("family.dot.dns.yandex.net", "yandex doh-resolver"),
        ("storage.googleapis.com", "-"),
        ("my-resource.openai.azure.com", "azure-openai model-api"),
        ("my-resource.cognitiveservices.azure.com", "azure-ai-foundry model-api shared"),
        ("api2.cursor.sh", "cursor agent-saas"),
        ("chatgpt.com", "openai agent-saas"),
        ("huggingface.co", "huggingface model-hub shared"),
        ("mcp.notion.com", "notion tool-mcp"),
        ("mcp.some-company.com", "generic-mcp tool-mcp shared"),
        ("dns.google", "google doh-resolver"),
        ("rest.runpod.io", "runpod model-api shared"),
        ("api.lovo.ai", "lovo model-api"),
        ("s3vectors.eu-west-1.amazonaws.com", "amazon-s3-vectors vector-db"),
        ("1.1.1.1", "cloudflare doh-resolver"),
        ("a..b", "-"),
        ("", "-"),
        ("exa mple.com", "-"),
    ];
    for (name, expected) in rows {
        assert_eq!(host(name), expected, "{name}");
    }
}

/// Hosts that everybody's software contacts.
#[test]
fn ordinary_hosts_are_no_endpoints() {
    for name in [
        "github.com",
        "api.github.com",
        "raw.githubusercontent.com",
        "gitlab.com",
        "www.debian.org",
        "mirrors.fedoraproject.org",
        "download.docker.com",
        "ghcr.io",
        "quay.io",
        "gcr.io",
        "www.google.com",
        "fonts.googleapis.com",
        "storage.googleapis.com",
        "maps.googleapis.com",
        "oauth2.googleapis.com",
        "s3.amazonaws.com",
        "sts.us-east-1.amazonaws.com",
        "ec2.us-east-1.amazonaws.com",
        "dynamodb.eu-west-1.amazonaws.com",
        "login.microsoftonline.com",
        "graph.microsoft.com",
        "management.azure.com",
        "mystore.blob.core.windows.net",
        "api.cloudflare.com.example.org",
        "cdnjs.cloudflare.com",
        "slack.com",
        "hooks.slack.com",
        "api.stripe.com",
        "sentry.io",
        "api.datadoghq.com",
        "time.google.com",
        "ntp.ubuntu.com",
        "example.com",
        "notopenai.com",
        "api.openai.com.example.org",
        "openai.com.evil.example",
        "wikipedia.org",
        "news.ycombinator.com",
        "www.bbc.co.uk",
        "smtp.gmail.com",
        "localhost",
    ] {
        assert_eq!(host(name), "-", "{name}");
    }
}

/// Packages that much software is made of.
#[test]
fn ordinary_packages_and_programs_are_no_runtimes() {
    let catalog = catalog();
    for name in [
        "react",
        "express",
        "lodash",
        "typescript",
        "webpack",
        "eslint",
        "vite",
        "next",
        "axios",
        "chalk",
        "jest",
        "@types/node",
        "@babel/core",
        "@angular/core",
        "@aws-sdk/client-s3",
        "@google-cloud/storage",
        "@azure/identity",
        "vue",
        "svelte",
        "prettier",
        "modal",
    ] {
        let found = names(catalog.lookup_package(Ecosystem::Npm, name));
        assert_eq!(found, Vec::<String>::new(), "{name}");
    }
    for name in [
        "requests",
        "numpy",
        "pandas",
        "flask",
        "django",
        "fastapi",
        "urllib3",
        "certifi",
        "setuptools",
        "pip",
        "wheel",
        "pytest",
        "boto3-stubs",
        "pydantic",
        "sqlalchemy",
        "scipy",
        "matplotlib",
        "scikit-learn",
        "pillow",
        "cryptography",
        "jinja2",
        "pyyaml",
        "click",
        "black",
        "ruff",
        // Programs of other people that have the name of a product.
        "fireworks",
        "pyston",
    ] {
        let found = names(catalog.lookup_package(Ecosystem::Pypi, name));
        assert_eq!(found, Vec::<String>::new(), "{name}");
    }
    for path in [
        "/usr/bin/bash",
        "/usr/bin/python3.11",
        "/usr/bin/node",
        "/usr/bin/git",
        "/usr/bin/curl",
        "/usr/sbin/sshd",
        "/usr/lib/systemd/systemd",
        "/usr/bin/vim",
        "/usr/bin/tmux",
        "/usr/bin/make",
        "/usr/bin/gcc",
        "/usr/sbin/nginx",
        "/usr/bin/postgres",
        "/usr/bin/redis-server",
        "/usr/bin/dockerd",
        "/usr/bin/containerd",
        "/usr/lib/firefox/firefox",
        "/usr/bin/rsync",
        "/usr/bin/java",
        "/usr/bin/perl",
        "/usr/bin/ruby",
        "/usr/bin/tar",
        "/usr/bin/top",
        "/home/kiro/bin/server",
        "/home/windsurf/bin/server",
        "/usr/bin/code",
        "/usr/bin/xcursorgen",
        "/usr/bin/goosefs",
    ] {
        assert_eq!(names(catalog.lookup_exe(path)), Vec::<String>::new(), "{path}");
    }
    for name in ["PATH", "HOME", "LANG", "DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "API_KEY"] {
        assert!(catalog.lookup_env(name).is_empty(), "{name}");
    }
}

#[test]
fn runtimes_match_by_each_trait() {
    let catalog = catalog();
    let exe = |path: &str| names(catalog.lookup_exe(path));
    assert_eq!(exe("/home/me/.local/share/claude/versions/2.1.0"), ["claude-code"]);
    assert_eq!(exe("/usr/local/bin/ollama"), ["ollama"]);
    assert_eq!(exe("/usr/bin/nginx"), Vec::<String>::new());
    assert_eq!(exe("codex"), ["codex"]);
    let argv = |line: &str| names(catalog.lookup_argv(&args(line)));
    assert_eq!(
        argv("node /usr/lib/node_modules/@anthropic-ai/claude-code/cli.js"),
        ["claude-code"]
    );
    assert_eq!(argv("/usr/bin/node /usr/local/bin/claude --print"), ["claude-code"]);
    assert!(argv("/opt/venv/bin/python3 -m crewai run").contains(&"crewai".to_owned()));
    assert!(argv("/usr/bin/python3 /opt/venv/bin/aider --model x").contains(&"aider".to_owned()));
    assert!(
        argv("npx -y @modelcontextprotocol/server-filesystem@2025.1 /tmp")
            .contains(&"mcp-reference-servers".to_owned())
    );
    assert!(argv("uvx mcp-server-time").contains(&"mcp-reference-servers".to_owned()));
    assert_eq!(argv("node /srv/node_modules/.bin/codex"), ["codex"]);
    assert_eq!(argv("opencode"), ["opencode"]);
    assert!(argv("/usr/bin/ollama serve").contains(&"ollama".to_owned()));
    for ordinary in [
        "python3 -m pip install openai",
        "pip install langchain",
        "git clone https://example.com/aider",
        "apt-get install ollama",
        "curl https://example.com/",
        "/usr/sbin/nginx -g daemon off;",
        "/usr/sbin/sshd -D",
        "/usr/sbin/cron -f",
        "node /srv/shop/server.js",
        "python3 /srv/shop/manage.py runserver",
        "bash -c claude",
        "vim claude",
        "npm install @openai/codex",
        "/lib/systemd/systemd --user",
        "docker run -v /opt/mcp/data:/data nginx",
        "docker run -e X=a-mcp nginx",
        "docker run myorg/web-mcpherson",
        "npx create-next-app my-mcp",
        "npx tsc -p mcp-server",
        "npm exec eslint mcp.js",
        "uvx ruff check mcp-server",
        "uv run pytest mcp",
        "pipx run black mcp.py",
        "node /opt/app/bin/gemini-sync.js",
        "bun /home/me/opencode-notes/x.ts",
        "tail -f /var/log/ollama serve.log",
        "docker run -d pytorch/pytorch",
        "docker run -d searxng/searxng",
        "java -jar /opt/jenkins.war --httpPort=8080",
    ] {
        assert_eq!(argv(ordinary), Vec::<String>::new(), "{ordinary}");
    }
    let tool_servers = [
        "docker run -i --rm mcp/fetch",
        "podman run -i --rm -e TOKEN ghcr.io/github/github-mcp-server",
        "npx -y foo-mcp@latest",
        "npx -y @acme/foo-mcp-stdio",
        "npm exec @playwright/mcp",
        "pnpm dlx mcp-remote https://mcp.acme.example",
        "bunx firecrawl-mcp",
        "uvx --from git+https://git.example/acme/foo-mcp foo",
        "uvx mcp-server-git --repository /srv",
        "uv tool run mcp-server-fetch",
        "uv run mcp dev server.py",
        "pipx run mcp-server-time",
        "deno run -A npm:@acme/mcp",
    ];
    for line in tool_servers {
        let found = catalog.lookup_argv(&args(line));
        let is_server =
            |entry: &&Runtime| entry.kind == RuntimeKind::McpServer && entry.weight > Weight::Weak;
        assert!(found.iter().any(is_server), "{line}: {:?}", names(found));
    }
    for (image, product) in [
        ("vllm/vllm-openai:latest", "vllm"),
        ("ghcr.io/ggml-org/llama.cpp:server", "llama.cpp"),
        ("ghcr.io/open-webui/open-webui:main", "open-webui"),
        ("ghcr.io/berriai/litellm:main-stable", "litellm"),
        ("nvcr.io/nvidia/tritonserver:25.01-py3", "triton"),
        ("mcr.microsoft.com/playwright/mcp", "mcp-generic"),
    ] {
        let found = argv(&format!("docker run -d --gpus all -p 8000:8000 --name web {image}"));
        assert_eq!(found, [product], "{image}");
    }
    for (module, product) in
        [("google.adk.cli web", "google-adk"), ("camel.serve", "camel-ai"), ("strands", "strands")]
    {
        let found = argv(&format!("python3 -m {module}"));
        assert!(found.contains(&product.to_owned()), "{module}: {found:?}");
    }
    assert_eq!(argv("python3 -m google.cloud.storage"), Vec::<String>::new());
    assert_eq!(argv("python3 -m camelot x.pdf"), Vec::<String>::new());
    assert_eq!(argv("java -Xmx1g -jar /opt/weather-mcp-server-1.0.jar"), ["mcp-generic"]);
    // Names that other software has, too, say little by themselves.
    for shared in ["goose", "amp", "pi", "q", "forge", "zed", "srt", "lemonade", "model-runner"] {
        let found = catalog.lookup_exe(&format!("/usr/bin/{shared}"));
        assert!(found.iter().all(|entry| entry.weight == Weight::Weak), "{shared}");
    }
    for shared in ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "SNOWFLAKE_ACCOUNT"] {
        let found = catalog.lookup_env(shared);
        assert!(found.iter().all(|entry| entry.weight == Weight::Weak), "{shared}");
    }
    assert_eq!(names(catalog.lookup_port(11434)), ["ollama"]);
    assert_eq!(names(catalog.lookup_port(443)), Vec::<String>::new());
    assert!(!catalog.lookup_env("OPENAI_API_KEY").is_empty());
    assert!(catalog.lookup_env("PATH").is_empty());
    // A variable's own entry stands before those of its family.
    let kinds = |name: &str| -> Vec<_> {
        catalog.lookup_env(name).iter().map(|entry| entry.kind).collect()
    };
    assert_eq!(kinds("OPENAI_API_KEY"), [RuntimeKind::ApiKeyEnv]);
    assert_eq!(kinds("BATCH_OPENAI_API_KEY"), [RuntimeKind::ApiKeyEnv]);
    assert_eq!(kinds("OPENAI_API_KEY_2").first(), Some(&RuntimeKind::ApiKeyEnv));
    assert_eq!(kinds("NOTOPENAI_API_KEY"), []);
    let package = |kind, name: &str| names(catalog.lookup_package(kind, name));
    assert_eq!(package(Ecosystem::Npm, "@openai/codex@0.1.2"), ["codex"]);
    assert_eq!(package(Ecosystem::Pypi, "Pydantic_AI[openai]>=1"), ["pydantic-ai"]);
    assert_eq!(package(Ecosystem::Pypi, "requests"), Vec::<String>::new());
    assert_eq!(package(Ecosystem::Npm, "express"), Vec::<String>::new());
}

#[test]
fn policy_patterns_are_exact_or_wildcards_and_spell_out_regions() {
    let patterns = catalog().endpoint_patterns();
    let has = |pattern: &str| patterns.iter().any(|known| known.pattern == pattern);
    assert!(has("*.openai.com") && has("openai.com") && !has("api.openai.com"));
    assert!(has("bedrock-runtime.eu-central-1.amazonaws.com"));
    assert!(has("bedrock-runtime.cn-north-1.amazonaws.com.cn"));
    assert!(!has("bedrock-runtime.cn-north-1.amazonaws.com"));
    assert!(has("us-central1-aiplatform.googleapis.com"));
    assert!(has("*.bedrock-runtime.us-east-1.vpce.amazonaws.com"));
    assert!(!has("api.cloudflare.com") && !has("huggingface.co") && !has("dns.google"));
    for EndpointPattern { pattern, provider, kind: _ } in &patterns {
        let name = pattern.strip_prefix("*.").unwrap_or(pattern);
        assert_eq!(normal_host(name).as_deref(), Some(name), "{pattern}");
        assert!(!provider.is_empty() && name.contains('.'), "{pattern}");
        crate::policy::value::name::HostPattern::parse(pattern).unwrap();
    }
    assert!(patterns.len() < 10_000, "{}", patterns.len());
}

#[test]
fn additions_extend_and_replace() {
    let text = "# ours\ndomain,match,provider,kind,use,source\n\
                llm.acme.example,suffix,acme,model-api,dedicated,intranet\n\
                api.openai.com,exact,acme-proxy,llm-gateway,dedicated,intranet\n";
    let runtimes = "name,kind,match,pattern,weight,source\n\
                    acme-agent,general-agent,exe,acme-agentd,strong,intranet\n";
    let sources = [Source { path: "a.csv", text }, Source { path: "b.csv", text: runtimes }];
    let catalog = Catalog::with_additions(&sources).unwrap();
    let found = catalog.lookup_host("eu.llm.acme.example").unwrap();
    assert_eq!((&*found.provider, &*found.origin.file, found.origin.line), ("acme", "a.csv", 3));
    assert_eq!(&*catalog.lookup_host("api.openai.com").unwrap().provider, "acme-proxy");
    assert_eq!(names(catalog.lookup_exe("/opt/acme-agentd")), ["acme-agent"]);
}

#[test]
fn errors_name_the_file_the_line_and_what_to_write() {
    let rows = [
        ("x,y", "a.csv:1: the first line is no header; begin the file with"),
        ("E\na,exact,p", "a.csv:2: 3 fields instead of 6; write `domain,"),
        (
            "E\n\na.b,like,p,model-api,dedicated,s",
            "a.csv:3: `like` is unknown; write one of exact,",
        ),
        ("E\na.b,exact,p,toaster,dedicated,s", "a.csv:2: `toaster` is unknown; write one of"),
        ("E\na.b,exact,p,model-api,maybe,s", "a.csv:2: use `maybe` is unknown; write dedicated"),
        (
            "E\na.*,exact,p,model-api,shared,s",
            "a.csv:2: `a.*` is no domain for exact; write a host",
        ),
        ("E\na..b,suffix,p,model-api,shared,s", "a.csv:2: `a..b` is no domain for suffix;"),
        ("E\na.b,pattern,p,model-api,shared,s", "a.csv:2: `a.b` is no domain for pattern;"),
        ("E\na.b,exact,,model-api,shared,s", "a.csv:2: provider is empty or too long; write 1 to"),
        ("R\nn,mcp-server,port,70000,weak,s", "a.csv:2: `70000` is no port; write 1 to 65535"),
        ("R\nn,mcp-server,exe,**,weak,s", "a.csv:2: the pattern matches everything; write at"),
        ("R\nn,mcp-server,exe,x,huge,s", "a.csv:2: `huge` is unknown; write one of weak, medium"),
    ];
    for (text, expected) in rows {
        let text = text.replacen("E\n", "domain,match,provider,kind,use,source\n", 1).replacen(
            "R\n",
            "name,kind,match,pattern,weight,source\n",
            1,
        );
        let errors = Catalog::with_additions(&[Source { path: "a.csv", text: &text }]).unwrap_err();
        assert_eq!(errors.len(), 1, "{text}");
        assert!(errors[0].to_string().starts_with(expected), "{}", errors[0]);
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_looked_up_and_parsed(text in ".{0,80}", line in "[a-z0-9 ,.*@/-]{0,80}") {
        let catalog = catalog();
        catalog.lookup_host(&text);
        catalog.lookup_exe(&text);
        catalog.lookup_argv(&args(&line));
        catalog.lookup_env(&text);
        catalog.lookup_package(Ecosystem::Npm, &text);
        catalog.lookup_package(Ecosystem::Pypi, &line);
        let file = format!("domain,match,provider,kind,use,source\n{line}\n{text}");
        let (entries, errors) = parse::files(&[Source { path: "p", text: &file }]);
        proptest::prop_assert!(entries.endpoints.len() + errors.len() <= 2);
    }
}
