//! nearcache
