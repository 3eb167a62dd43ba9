//! What is recorded (pure), and the log that keeps it.
