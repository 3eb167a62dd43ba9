// openai_chat.cjs HOST: one chat completion with the official OpenAI client for Node.js.
const { OpenAI } = require("openai");

function causes(error) {
  const names = [];
  for (let each = error; each; each = each.cause) {
    names.push(each.code ?? each.name);
    for (const inner of each.errors ?? []) names.push(inner.code ?? inner.name);
  }
  return names;
}

async function main() {
  const client = new OpenAI({
    baseURL: `https://${process.argv[2]}/v1`,
    maxRetries: 0,
    timeout: 10_000,
  });
  const result = { pid: process.pid, answer: null, causes: [] };
  const began = process.hrtime.bigint();
  try {
    const answer = await client.chat.completions.create({
      model: "lab",
      messages: [{ role: "user", content: "hello" }],
    });
    result.answer = answer.choices[0].message.content;
  } catch (error) {
    result.causes = causes(error);
    result.error = String(error);
  }
  result.microseconds = Number(process.hrtime.bigint() - began) / 1000;
  console.log(JSON.stringify(result));
  process.exitCode = result.answer === null ? 1 : 0;
}

main();
