//! The one cryptographic provider.

/// Makes aws-lc-rs the process's TLS provider. Call it first in `main`; later calls do nothing.
pub fn install_crypto() {
    // The error says only that a provider stands already, which is what we want.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
