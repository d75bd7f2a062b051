//! Kafka's wire protocol: frames, headers, messages, error codes.
