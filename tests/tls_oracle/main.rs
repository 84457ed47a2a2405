//! TLS against programs that were not written here: what Envoy 1.40 says to a configuration, and whether OpenSSL's client
//! and server can talk to sessions of ours.

mod configurations;
mod openssl;
