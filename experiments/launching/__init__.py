"""What `launch` writes: the TPUs that can be rented, a checked request for them, and templates of scripts and manifests."""
