//! Responses that are cached by RFC 9111.
