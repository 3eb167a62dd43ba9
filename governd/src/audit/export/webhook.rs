//! Records posted to any HTTPS receiver, as they stand in the log.

use super::{
    Batch, Delivered, Destination, Fault, SetUpError,
    config::{self, Format},
    http::Client,
};

pub(super) struct Webhook {
    client: Client,
    format: Format,
}

impl Webhook {
    pub(super) fn new(spec: &config::Webhook) -> Result<Self, SetUpError> {
        let config::Webhook { name, from: _, url, token_file, tls, format } = spec;
        let client = Client::new(name, url, token_file.as_ref(), tls)?;
        Ok(Self { client, format: *format })
    }
}

impl Destination for Webhook {
    fn deliver(&mut self, batch: Batch<'_>) -> Result<Delivered, Fault> {
        let (content_type, body) = body(self.format, batch);
        let headers = [("Governd-Log", batch.origin)];
        self.client.post(content_type, &batch.key(), &headers, body.as_bytes())?;
        Ok(Delivered::default())
    }
}

fn body(format: Format, batch: Batch<'_>) -> (&'static str, String) {
    let lines: Vec<&str> = batch.items.iter().map(|item| item.line.as_str()).collect();
    match format {
        Format::Ndjson => ("application/x-ndjson", format!("{}\n", lines.join("\n"))),
        Format::Json => ("application/json", format!("[{}]", lines.join(","))),
    }
}
