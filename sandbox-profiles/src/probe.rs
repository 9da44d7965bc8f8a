//! probe (next commit)
