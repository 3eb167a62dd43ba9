//! As much HTTP/1.1 as the official clients need: a request with `Content-Length`, a JSON answer,
//! and the connection stays open for the next one.

use std::io::{BufRead as _, BufReader, Read, Result, Write};

use serde_json::{Value, json};

/// Longest request body that the lab reads.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What every answer's text says.
pub const ANSWER: &str = "greetings from the lab";

/// Serves requests until the client closes.
///
/// # Errors
///
/// Fails if the stream does.
pub fn serve(stream: impl Read + Write) -> Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if stream.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut body_bytes = 0;
        loop {
            let mut header = String::new();
            stream.read_line(&mut header)?;
            let Some((name, value)) = header.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                body_bytes = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; BODY_BYTES_MAX.min(body_bytes)];
        stream.read_exact(&mut body)?;
        let path = request.split(' ').nth(1).unwrap_or("/");
        let answer = answer(path).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        stream.get_mut().write_all(format!("{head}{answer}").as_bytes())?;
        stream.get_mut().flush()?;
    }
}

fn answer(path: &str) -> Value {
    match path {
        // OpenAI and Mistral.
        "/v1/chat/completions" => json!({
            "id": "chatcmpl-lab",
            "object": "chat.completion",
            "created": 0,
            "model": "lab",
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": ANSWER},
                "finish_reason": "stop",
            }],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }),
        // Anthropic.
        "/v1/messages" => json!({
            "id": "msg_lab",
            "type": "message",
            "role": "assistant",
            "model": "lab",
            "content": [{"type": "text", "text": ANSWER}],
            "stop_reason": "end_turn",
            "stop_sequence": null,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }),
        _ => json!({"path": path, "text": ANSWER}),
    }
}
