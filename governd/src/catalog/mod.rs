//! What is known of AI endpoints and runtimes: data files and their index.
