//! Three examples of where a cache can be: `tls`, `sentinel` and `cluster`. They share what all examples share.
