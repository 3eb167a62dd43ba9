cat >/etc/governd/policies/aider.yaml <<'YAML'
apiVersion: governd.dev/v1
kind: Agent
metadata: {name: aider}
spec:
  owner: {name: Dana Smith, mail: dana@acme.example}
  mode: enforce
  match:
    - exe: /opt/agents/aider
  egress:
    rules:
      - allow: [192.0.2.10]
YAML
governd policy check /etc/governd/policies
systemctl reload governd
await is_enforced
await sh -c "governd agents | grep -q 'Dana Smith'"
